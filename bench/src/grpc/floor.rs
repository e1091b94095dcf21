//! The floor that the engine's gRPC is measured against: bare h2 on one core. It reads what is asked, looks at nothing,
//! and answers with the frames of the least model's answer: a head, one message, a status behind it. Same HTTP/2, runtime,
//! allocator and socket options as the engine; anything the engine costs beyond it is ours.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use prost::Message;
use schemas::inference::ModelInferResponse;
use schemas::inference::model_infer_response::InferOutputTensor;
use tokio::net::TcpStream;

use super::exchange::framed;
use crate::floor::accept_all;

/// As the engine has it.
const WINDOW_BYTES: u32 = 1 << 20;

/// Serves until the process is ended.
pub fn serve(listen: SocketAddr) -> io::Result<()> {
    let message = framed(&answer().encode_to_vec());
    accept_all(listen, move |stream| connection(stream, message.clone()))
}

/// What the least model's answer looks like.
pub(crate) fn answer() -> ModelInferResponse {
    let output = InferOutputTensor {
        name: "output".to_owned(),
        datatype: "FP32".to_owned(),
        shape: vec![1],
        ..InferOutputTensor::default()
    };
    ModelInferResponse {
        model_name: "noop".to_owned(),
        model_version: "1".to_owned(),
        outputs: vec![output],
        raw_output_contents: vec![391.123_f32.to_le_bytes().to_vec().into()],
        ..ModelInferResponse::default()
    }
}

/// A client that goes away is how each measurement ends.
async fn connection(stream: TcpStream, message: Bytes) {
    let mut builder = Builder::new();
    builder.initial_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
    let Ok(mut connection) = builder.handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::task::spawn_local(answered(request, respond, message.clone()));
    }
}

async fn answered(request: Request<RecvStream>, respond: SendResponse<Bytes>, message: Bytes) {
    let mut body = request.into_body();
    while let Some(Ok(piece)) = body.data().await {
        // What fails here fails below, too.
        let _ = body.flow_control().release_capacity(piece.len());
    }
    let _: Result<(), h2::Error> = say(respond, message);
}

fn say(mut respond: SendResponse<Bytes>, message: Bytes) -> Result<(), h2::Error> {
    let mut head = Response::new(());
    let grpc = HeaderValue::from_static("application/grpc");
    head.headers_mut().insert(header::CONTENT_TYPE, grpc);
    let mut stream = respond.send_response(head, false)?;
    stream.reserve_capacity(message.len());
    stream.send_data(message, false)?;
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers).inspect_err(|_| respond.send_reset(Reason::INTERNAL_ERROR))
}
