//! ModelStreamInfer: questions come on one stream, and their answers go on one.
//!
//! Up to [`IN_FLIGHT_MAX`] questions are with their models at once; answers keep the order of the questions. What goes
//! wrong with one of them is said in its place and the stream goes on, unless its client wants a status instead
//! (metadata `triton_grpc_error: true`), which ends it. An answer not read by the client holds back the next question.

use std::rc::Rc;

use futures_util::{StreamExt, stream};
use schemas::inference::infer_parameter::ParameterChoice;
use schemas::inference::{
    InferParameter, ModelInferRequest, ModelInferResponse, ModelStreamInferResponse,
};
use send_wrapper::SendWrapper;
use tonic::Status;

use super::call::{Answers, Requests, Said, tell_apart};
use super::{infer, status};
use crate::api::http2::Link;
use crate::api::status::ApiError;
use crate::query::types::TaskError;

/// Questions of one stream that are with their models: as many as one model's queue holds by default.
const IN_FLIGHT_MAX: usize = 1024;
/// Clients tell by it that a question has its last answer.
const FINAL_RESPONSE: &str = "triton_final_response";

pub(super) async fn infer(
    link: Rc<Link>,
    said: Said,
    requests: Requests<ModelInferRequest>,
) -> Result<Answers<ModelStreamInferResponse>, Status> {
    let Requests { messages, meter } = requests;
    let (turn, said, end) = (link.turn(), Rc::new(said), link.clone());
    let answers = messages
        .inspect(move |_| meter.settle())
        .map(move |message| one(link.clone(), said.clone(), message))
        .buffered(IN_FLIGHT_MAX)
        .chain(
            stream::iter(std::iter::once_with(move || interrupted(&end)))
                .filter_map(std::future::ready),
        )
        .inspect(move |_| _ = &turn);
    Ok(SendWrapper::new(Box::pin(answers)))
}

/// The end of a stream whose client has not ended it.
fn interrupted(link: &Link) -> Option<Result<ModelStreamInferResponse, Status>> {
    link.connections.finishing().then(|| Err(status::of(&TaskError::Draining.into())))
}

async fn one(
    link: Rc<Link>,
    said: Rc<Said>,
    message: Result<ModelInferRequest, Status>,
) -> Result<ModelStreamInferResponse, Status> {
    let message = message.map_err(|found| {
        let (kind, own) = tell_apart(&link, &found);
        link.front.recorder.error(kind);
        own.unwrap_or(found)
    })?;
    let named = ModelInferResponse {
        model_name: message.model_name.clone(),
        model_version: message.model_version.clone(),
        id: message.id.clone(),
        ..ModelInferResponse::default()
    };
    match infer::answer(&link.front, &said, message).await {
        Ok(response) => Ok(last(response, String::new())),
        Err(error) if said.errors_end_stream => Err(status::of(&error)),
        Err(error) => Ok(failed(named, &error)),
    }
}

/// An error says which question it is about.
fn failed(named: ModelInferResponse, error: &ApiError) -> ModelStreamInferResponse {
    last(named, error.to_string())
}

fn last(mut response: ModelInferResponse, error_message: String) -> ModelStreamInferResponse {
    let parameter_choice = Some(ParameterChoice::BoolParam(true));
    response.parameters.insert(FINAL_RESPONSE.to_owned(), InferParameter { parameter_choice });
    ModelStreamInferResponse { error_message, infer_response: Some(response) }
}
