//! The calls that tell, and those that register and set.

use super::*;

#[test]
fn health_is_told_of_the_server_and_of_each_model() {
    run(async {
        let server = TestServer::one(Script::Echo);
        let mut client = HealthClient::new(channel(&server).await);
        let ask = |service: &str| HealthCheckRequest { service: service.into() };
        for service in ["", "inference.GRPCInferenceService", "m"] {
            let status = client.check(ask(service)).await.unwrap().into_inner().status();
            assert_eq!(status, ServingStatus::Serving, "{service}");
        }
        assert_eq!(client.check(ask("n")).await.unwrap_err().code(), Code::NotFound);
        let mut watched = client.watch(ask("m")).await.unwrap().into_inner();
        assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
        let handle = server.catalog.load().find("m", None).unwrap().handle.clone();
        let loading = server.catalog.load().with_state(&handle, ModelState::Loading);
        server.catalog.store(loading.into());
        assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
        let mut unknown = client.watch(ask("n")).await.unwrap().into_inner();
        assert_eq!(
            unknown.message().await.unwrap().unwrap().status(),
            ServingStatus::ServiceUnknown
        );
    });
}

#[test]
fn the_server_and_its_models_describe_themselves() {
    run(async {
        let server = TestServer::one(Script::Echo);
        let mut client = client(&server).await;
        assert!(client.server_ready(ServerReadyRequest {}).await.unwrap().into_inner().ready);
        let about = client.server_metadata(ServerMetadataRequest {}).await.unwrap().into_inner();
        assert_eq!(about.name, "hydrofoil");
        assert!(about.extensions.iter().any(|it| it == "binary_tensor_data"));
        let asked = |name: &str| ModelMetadataRequest { name: name.into(), version: String::new() };
        let model = client.model_metadata(asked("m")).await.unwrap().into_inner();
        assert_eq!(
            (model.versions, model.inputs[0].shape.as_slice()),
            (vec!["1".into()], &[-1, 2][..])
        );
        assert_eq!(client.model_metadata(asked("n")).await.unwrap_err().code(), Code::NotFound);
        for (name, ready) in [("m", true), ("n", false)] {
            let asked = ModelReadyRequest { name: name.into(), version: String::new() };
            assert_eq!(
                client.model_ready(asked).await.unwrap().into_inner().ready,
                ready,
                "{name}"
            );
        }
    });
}

#[test]
fn reflection_lists_and_defines_the_services_under_both_its_names() {
    use reflection_v1::server_reflection_request::MessageRequest;
    use reflection_v1::server_reflection_response::MessageResponse;
    run(async {
        let server = TestServer::one(Script::Echo);
        let ask = |message| reflection_v1::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(message),
        };
        let symbol = MessageRequest::FileContainingSymbol("inference.GRPCInferenceService".into());
        let asked = [MessageRequest::ListServices(String::new()), symbol].map(ask);
        let mut client = reflection_v1::server_reflection_client::ServerReflectionClient::new(
            channel(&server).await,
        );
        let answers =
            client.server_reflection_info(futures_util::stream::iter(asked)).await.unwrap();
        let mut answers = answers.into_inner();
        let Some(MessageResponse::ListServicesResponse(list)) =
            answers.message().await.unwrap().unwrap().message_response
        else {
            panic!("a list was asked for");
        };
        let names: Vec<_> = list.service.iter().map(|it| it.name.as_str()).collect();
        assert!(
            names.contains(&service::SERVICE_NAME) && names.contains(&health_server::SERVICE_NAME),
            "{names:?}"
        );
        let file = answers.message().await.unwrap().unwrap().message_response;
        assert!(matches!(file, Some(MessageResponse::FileDescriptorResponse(_))), "{file:?}");

        use reflection_v1_alpha::server_reflection_client::ServerReflectionClient;
        use reflection_v1_alpha::server_reflection_request::MessageRequest::ListServices;
        let ask = reflection_v1_alpha::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(ListServices(String::new())),
        };
        let mut older = ServerReflectionClient::new(channel(&server).await);
        let answers =
            older.server_reflection_info(futures_util::stream::iter([ask])).await.unwrap();
        assert!(answers.into_inner().message().await.unwrap().is_some());
    });
}

#[test]
fn what_changes_the_server_is_refused_on_its_public_address() {
    use schemas::inference::log_settings_request::SettingValue;
    use schemas::inference::log_settings_request::setting_value::ParameterChoice;
    use schemas::inference::{LogSettingsRequest, RepositoryModelLoadRequest};
    run(async {
        let server = TestServer::one(Script::Echo);
        let mut client = client(&server).await;
        let told = client.log_settings(LogSettingsRequest::default()).await.unwrap();
        assert!(told.into_inner().settings.contains_key("log_info"));
        let off = SettingValue { parameter_choice: Some(ParameterChoice::BoolParam(false)) };
        let settings = [("log_info".to_owned(), off)].into();
        let changed = client.log_settings(LogSettingsRequest { settings }).await.unwrap_err();
        let load = RepositoryModelLoadRequest { model_name: "n".into(), ..Default::default() };
        let loaded = client.repository_model_load(load).await.unwrap_err();
        for status in [changed, loaded] {
            assert!(status.message().contains("--admin"), "{status}");
        }
    });
}

#[test]
fn memory_of_devices_is_refused_and_none_is_registered() {
    use schemas::inference::{
        CudaSharedMemoryRegisterRequest, CudaSharedMemoryStatusRequest,
        CudaSharedMemoryUnregisterRequest, SystemSharedMemoryStatusRequest,
    };
    run(async {
        let server = TestServer::one(Script::Echo);
        let mut client = client(&server).await;
        let status = client.cuda_shared_memory_status(CudaSharedMemoryStatusRequest::default());
        assert!(status.await.unwrap().into_inner().regions.is_empty());
        let register = CudaSharedMemoryRegisterRequest::default();
        assert!(client.cuda_shared_memory_register(register).await.is_err());
        let none = CudaSharedMemoryUnregisterRequest::default();
        assert!(client.cuda_shared_memory_unregister(none).await.is_ok());
        let off = client.system_shared_memory_status(SystemSharedMemoryStatusRequest::default());
        assert!(off.await.unwrap_err().message().contains("--client-shm"));
    });
}
