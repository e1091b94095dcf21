//! One question and its answer: whole, as ModelInfer gives it, or the parts that a stream gives.

use std::rc::Rc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use schemas::inference::{ModelInferRequest, ModelInferResponse};
use schemas::lifecycle::ModelSpec;
use tonic::body::Body;

use super::call::{Said, unary};
use super::status;
use crate::api::front_end::FrontEnd;
use crate::api::http2::Link;
use crate::api::inference::{self, Answered, Question, known_class};
use crate::api::router::version;
use crate::api::shared_memory::SharedMemory;
use crate::api::status::ApiError;
use crate::api::streaming;
use crate::classes::Classes;
use crate::clock::Time;
use crate::codec::answer::About;
use crate::codec::bind::bind;
use crate::codec::fault::InputFault;
use crate::codec::{classify, grpc_tensor};
use crate::ids::Version;
use crate::query::serve::Query;
use crate::query::types::Prediction;

pub(super) async fn call(link: Rc<Link>, request: Request<Incoming>) -> Response<Body> {
    let said = Said::read(request.headers(), link.front.clock.now());
    unary(&link, request, |link, message| async move {
        answer(&link.front, &said, message).await.map_err(|error| status::of(&error))
    })
    .await
}

/// The answer to one question. An error has been counted already when it is returned.
pub(super) async fn answer(
    front: &FrontEnd,
    said: &Said,
    mut message: ModelInferRequest,
) -> Result<ModelInferResponse, ApiError> {
    let Head { name, version, timeout, arrived } = head(front, said, &mut message)?;
    let query = Query { model: &name, version };
    let memory = SharedMemory::of(front);
    let understand = |spec: &ModelSpec| {
        understand(spec, &front.classes, said.class.as_deref(), timeout, &memory, message)
    };
    let respond = |answered: Answered<'_>| respond(&memory, answered);
    inference::infer(front, query, arrived, understand, respond).await
}

/// The same where the answer comes in parts.
pub(super) fn parts(
    front: &FrontEnd,
    said: &Said,
    mut message: ModelInferRequest,
) -> Result<streaming::Answers, ApiError> {
    let Head { name, version, timeout, arrived } = head(front, said, &mut message)?;
    let query = Query { model: &name, version };
    let memory = SharedMemory::of(front);
    streaming::ask(front, query, arrived, |spec| {
        understand(spec, &front.classes, said.class.as_deref(), timeout, &memory, message)
    })
}

/// One part as a message.
pub(super) fn part(
    front: &FrontEnd,
    answers: &streaming::Answers,
    mut part: Prediction,
) -> Result<ModelInferResponse, ApiError> {
    let streaming::Answers { handle, chosen, .. } = answers;
    classify::replace(&handle.spec, &handle.labels, chosen, &mut part.outputs)?;
    SharedMemory::of(front).deliver(&handle.spec, chosen, &part.outputs)?;
    Ok(grpc_tensor::answer(answers.about(), chosen, &part.outputs))
}

/// Which model is asked, and for how long.
struct Head {
    name: String,
    version: Option<Version>,
    timeout: Option<Duration>,
    arrived: Time,
}

fn head(front: &FrontEnd, said: &Said, message: &mut ModelInferRequest) -> Result<Head, ApiError> {
    let arrived = front.clock.now();
    let counted = |error: &ApiError| front.recorder.error(error.shown().kind);
    let version = version(&message.model_version).inspect_err(counted)?;
    let deadline = said.deadline.clone().inspect_err(counted)?;
    let timeout = deadline.map(|deadline| deadline.since(arrived));
    Ok(Head { name: std::mem::take(&mut message.model_name), version, timeout, arrived })
}

fn understand(
    spec: &ModelSpec,
    classes: &Classes,
    class_by_head: Option<&[u8]>,
    timeout: Option<Duration>,
    memory: &SharedMemory<'_>,
    mut message: ModelInferRequest,
) -> Result<Question, InputFault> {
    let asked = grpc_tensor::asked(&message.parameters)?;
    let chosen = grpc_tensor::choose(spec, &message.outputs)?;
    memory.expect(spec, &chosen)?;
    let class = class_by_head.or(asked.class.map(str::as_bytes));
    let class = class.map(|name| known_class(classes, name)).transpose()?;
    let class = class.or_else(|| classes.of_priority(asked.priority?.get()));
    let timeout = [timeout, asked.timeout].into_iter().flatten().min();
    let raw = message.raw_input_contents;
    let given =
        grpc_tensor::inputs(&mut message.inputs, raw, |name, place| memory.fetch(name, place))?;
    let inputs = bind(spec, given)?;
    let id = (!message.id.is_empty()).then_some(message.id);
    Ok(Question { inputs, chosen, id, timeout, class: class.map(|class| class.id) })
}

fn respond(
    memory: &SharedMemory<'_>,
    answered: Answered<'_>,
) -> Result<ModelInferResponse, ApiError> {
    let Answered { handle, chosen, id, prediction } = answered;
    memory.deliver(&handle.spec, chosen, &prediction.outputs)?;
    let about = About { spec: &handle.spec, model: &handle.name, version: handle.version, id };
    Ok(grpc_tensor::answer(about, chosen, &prediction.outputs))
}
