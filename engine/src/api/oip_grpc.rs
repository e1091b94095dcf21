//! The Open Inference Protocol over gRPC: message → question → prediction → message.
//!
//! tonic reads and writes the messages; its generated services are not used, since they want futures that could move
//! between threads, and a core's never do. The calls are those of the table in `dispatch`; what they do beside
//! inference stands in a file for each group. Every call gets one status, which `status` makes of an error.

mod arriving;
mod call;
mod health;
mod infer;
mod metadata;
mod observed;
mod reflection;
mod regions;
mod repository;
mod status;
mod stream;

use std::rc::Rc;

use http_body_util::Either;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{Request, Response};
use schemas::health::health_server;
use schemas::inference::grpc_inference_service_server as service;
use tokio::net::TcpStream;
use tonic::body::Body;
use tonic::{Code, Status};

use self::call::{Said, bidirectional, server_streaming, unary};
use crate::api::connections::Connections;
use crate::api::event_stream::AnswerBody;
use crate::api::front_end::FrontEnd;
use crate::api::http2::{self, Link};
use crate::api::oip_http;
use crate::api::status::ApiError;
use crate::api::trail::{self, Failed, Trail};
use crate::observe::metrics::ErrorKind;

/// How the content type of every call begins.
const GRPC: &[u8] = b"application/grpc";

const MODEL_INFER: &str = "/inference.GRPCInferenceService/ModelInfer";

/// A connection that speaks the Open Inference Protocol over gRPC.
pub async fn oip(front: Rc<FrontEnd>, connections: Rc<Connections>, stream: TcpStream) {
    http2::serve(front, connections, stream, handle).await;
}

/// A request to an address that has the pages, too: a call if it says so, else one of those.
pub async fn beside_pages(
    link: Rc<Link>,
    request: Request<Incoming>,
) -> Response<Either<AnswerBody, Body>> {
    let says = request.headers().get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    if says.starts_with(GRPC) {
        return handle(link, request).await.map(Either::Right);
    }
    oip_http::handle_beside(link, request).await.map(Either::Left)
}

async fn handle(link: Rc<Link>, request: Request<Incoming>) -> Response<Body> {
    let trail = Trail::read(&link.front, request.headers());
    if request.uri().path() == MODEL_INFER {
        let response = infer::call(link.clone(), request).await;
        return end(&link, trail, MODEL_INFER, response);
    }
    let path = request.uri().path().to_owned();
    // Boxed, so that an inference's task is not as large as the largest of the others.
    let response = Box::pin(dispatch(link.clone(), request)).await;
    end(&link, trail, &path, response)
}

/// A failed call has its status in its answer's head.
fn end(
    link: &Link,
    trail: Option<Box<Trail>>,
    path: &str,
    mut response: Response<Body>,
) -> Response<Body> {
    let status = Status::from_header_map(response.headers());
    let failed = status.as_ref().filter(|status| status.code() != Code::Ok);
    let failed = failed.map(|it| Failed { code: it.code() as u16, message: it.message() });
    trail::end_call(&link.front, trail.as_deref(), path, failed, response.headers_mut());
    response
}

async fn dispatch(link: Rc<Link>, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    match path.strip_prefix('/').and_then(|path| path.split_once('/')) {
        Some((service::SERVICE_NAME, method)) => inference_service(link, method, request).await,
        Some((health_server::SERVICE_NAME, "Check")) => unary(&link, request, health::check).await,
        Some((health_server::SERVICE_NAME, "Watch")) => {
            server_streaming(&link, request, health::watch).await
        }
        Some((reflection::V1, _)) => reflection::v1(&link, request).await,
        Some((reflection::V1_ALPHA, _)) => reflection::v1_alpha(&link, request).await,
        _ => unknown(&link),
    }
}

async fn inference_service(
    link: Rc<Link>,
    method: &str,
    request: Request<Incoming>,
) -> Response<Body> {
    let link = &link;
    // For calls that only administrators may make.
    let headers = request.headers().clone();
    match method {
        "ServerLive" => unary(link, request, metadata::server_live).await,
        "ServerReady" => unary(link, request, metadata::server_ready).await,
        "ServerMetadata" => unary(link, request, metadata::server).await,
        "ModelReady" => unary(link, request, metadata::model_ready).await,
        "ModelMetadata" => unary(link, request, metadata::model).await,
        "SystemSharedMemoryStatus" => unary(link, request, regions::status).await,
        "SystemSharedMemoryRegister" => unary(link, request, regions::register).await,
        "SystemSharedMemoryUnregister" => unary(link, request, regions::unregister).await,
        "CudaSharedMemoryStatus" => unary(link, request, regions::cuda_status).await,
        "CudaSharedMemoryRegister" => unary(link, request, regions::cuda_register).await,
        "CudaSharedMemoryUnregister" => unary(link, request, regions::cuda_unregister).await,
        "ModelConfig" => unary(link, request, repository::config).await,
        "ModelStatistics" => unary(link, request, observed::statistics).await,
        "TraceSetting" => {
            let set = |link, asked| observed::trace_setting(link, headers, asked);
            unary(link, request, set).await
        }
        "LogSettings" => {
            let set = |link, asked| observed::log_settings(link, headers, asked);
            unary(link, request, set).await
        }
        "RepositoryIndex" => unary(link, request, repository::index).await,
        "RepositoryModelLoad" => {
            let load = |link, asked| repository::load(link, headers, asked);
            unary(link, request, load).await
        }
        "RepositoryModelUnload" => {
            let unload = |link, asked| repository::unload(link, headers, asked);
            unary(link, request, unload).await
        }
        "ModelStreamInfer" => {
            let said = Said::read(request.headers(), link.front.clock.now());
            bidirectional(link, request, |link, requests| stream::infer(link, said, requests)).await
        }
        _ => unknown(link),
    }
}

fn unknown(link: &Link) -> Response<Body> {
    link.front.recorder.error(ErrorKind::UnknownPath);
    Status::unimplemented("this server has no such call; its reflection lists those it has")
        .into_http()
}

/// An error that concerns no model, or none that exists.
fn refused(link: &Link, error: &ApiError) -> Status {
    link.front.recorder.error(error.shown().kind);
    status::of(error)
}

#[cfg(test)]
mod tests;
