use std::sync::Arc;

use bytes::Bytes;
use rustix::fd::OwnedFd;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::{pread, pwrite};
use schemas::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use schemas::inference::infer_parameter::ParameterChoice::{Int64Param, StringParam};
use schemas::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use schemas::inference::{InferParameter, ModelInferRequest};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use super::*;
use crate::api::front_end::{HttpLimits, HttpOptions};
use crate::api::test_server::{Script, TestServer, entry, run, spec};
use crate::client_shm::registry::{Bounds, Names, Registry};

type Client = GrpcInferenceServiceClient<Channel>;

async fn client(server: &TestServer) -> Client {
    let address = format!("http://{}", server.grpc);
    Client::new(Endpoint::from_shared(address).unwrap().connect().await.unwrap())
}

/// A server of model `m` and one region `r`.
fn shared() -> (TestServer, OwnedFd) {
    let bounds = Bounds { regions_max: 8, bytes_max: 1 << 20 };
    let registry = Arc::new(Registry::new(bounds, Names::Allowed));
    let memory = memfd_create("test", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&memory, 4096).unwrap();
    fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL).unwrap();
    registry.register_passed("r", memory.try_clone().unwrap(), 1).unwrap();
    let models = vec![entry(spec("m", false), 1, Script::Echo)];
    let (limits, options) = (HttpLimits::default(), HttpOptions::default());
    (TestServer::start_sharing(models, limits, options, Some(registry)), memory)
}

fn place(offset: i64) -> std::collections::BTreeMap<String, InferParameter> {
    let of = |(name, value): (&str, _)| {
        (name.to_owned(), InferParameter { parameter_choice: Some(value) })
    };
    let region = ("shared_memory_region", StringParam("r".into()));
    let numbers = [("shared_memory_offset", offset), ("shared_memory_byte_size", 8)];
    let numbers = numbers.map(|(name, number)| (name, Int64Param(number)));
    [region].into_iter().chain(numbers).map(of).collect()
}

fn question(output_at: i64) -> ModelInferRequest {
    let input = InferInputTensor {
        name: "x".into(),
        datatype: "FP32".into(),
        shape: vec![1, 2],
        parameters: place(16),
        ..Default::default()
    };
    let output = InferRequestedOutputTensor { name: "x".into(), parameters: place(output_at) };
    let (inputs, outputs) = (vec![input], vec![output]);
    ModelInferRequest { model_name: "m".into(), inputs, outputs, ..Default::default() }
}

#[test]
fn tensors_go_both_ways_and_the_answer_keeps_an_empty_place_for_each() {
    run(async {
        let (server, memory) = shared();
        let row = [1.5f32, -2.0].map(f32::to_le_bytes).concat();
        pwrite(&memory, &row, 16).unwrap();
        let answer = client(&server).await.model_infer(question(64)).await.unwrap().into_inner();
        assert_eq!(answer.raw_output_contents, [Bytes::new()]);
        assert_eq!(answer.outputs[0].parameters, place(64));
        let mut found = [0; 8];
        pread(&memory, &mut found, 64).unwrap();
        assert_eq!(found.to_vec(), row);
    });
}

#[test]
fn a_place_that_can_not_be_is_an_invalid_argument() {
    run(async {
        let (server, _memory) = shared();
        let status = client(&server).await.model_infer(question(4090)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("leave"), "{status}");
        let off = TestServer::one(Script::Echo);
        let status = client(&off).await.model_infer(question(0)).await.unwrap_err();
        assert!(status.message().contains("--client-shm"), "{status}");
    });
}

#[test]
fn the_calls_answer_as_the_pages_do() {
    run(async {
        let (server, _memory) = shared();
        let mut on = client(&server).await;
        let all = on.system_shared_memory_status(SystemSharedMemoryStatusRequest::default()).await;
        assert!(all.unwrap().into_inner().regions.is_empty(), "a passed region has no key");
        let one = SystemSharedMemoryStatusRequest { name: "r".into() };
        let one = on.system_shared_memory_status(one).await.unwrap_err();
        assert_eq!(one.code(), Code::NotFound);
        let register = SystemSharedMemoryRegisterRequest {
            name: "a".into(),
            key: "/no-such-object-anywhere".into(),
            offset: 0,
            byte_size: 8,
        };
        let status = on.system_shared_memory_register(register.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        let everything = SystemSharedMemoryUnregisterRequest::default();
        on.system_shared_memory_unregister(everything.clone()).await.unwrap();
        let mut off = client(&TestServer::one(Script::Echo)).await;
        for status in [
            off.system_shared_memory_register(register).await.unwrap_err(),
            off.system_shared_memory_unregister(everything).await.unwrap_err(),
        ] {
            assert_eq!(status.code(), Code::PermissionDenied);
            assert!(status.message().contains("--client-shm"), "{status}");
        }
        let cuda = off.cuda_shared_memory_status(CudaSharedMemoryStatusRequest::default()).await;
        assert!(cuda.unwrap().into_inner().regions.is_empty());
        let everything = CudaSharedMemoryUnregisterRequest::default();
        off.cuda_shared_memory_unregister(everything).await.unwrap();
        let register = CudaSharedMemoryRegisterRequest::default();
        let status = off.cuda_shared_memory_register(register).await.unwrap_err();
        assert!(status.message().contains("CUDA"), "{status}");
    });
}
