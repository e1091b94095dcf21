//! Reflection: what calls there are, for tools that know none beforehand. Asked for rarely, so made anew each time.

use std::rc::Rc;

use hyper::body::Incoming;
use hyper::{Request, Response};
use schemas::GRPC_DESCRIPTORS;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic_reflection::server::Builder;

use super::arriving::Arriving;
use crate::api::http2::Link;

pub(super) const V1: &str = "grpc.reflection.v1.ServerReflection";
pub(super) const V1_ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";

const PROVEN: &str = "a test asks for every definition that is built in";

pub(super) async fn v1(link: &Rc<Link>, request: Request<Incoming>) -> Response<Body> {
    let mut service = builder().build_v1().expect(PROVEN);
    service
        .call(request.map(|body| Arriving::message(body, link)))
        .await
        .unwrap_or_else(|never| match never {})
}

/// The older name of the same, which most tools still ask for first.
pub(super) async fn v1_alpha(link: &Rc<Link>, request: Request<Incoming>) -> Response<Body> {
    let mut service = builder().build_v1alpha().expect(PROVEN);
    service
        .call(request.map(|body| Arriving::message(body, link)))
        .await
        .unwrap_or_else(|never| match never {})
}

fn builder() -> Builder<'static> {
    Builder::configure().register_encoded_file_descriptor_set(GRPC_DESCRIPTORS)
}
