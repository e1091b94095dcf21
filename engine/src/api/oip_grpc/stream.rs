//! ModelStreamInfer: questions come on one stream, and their answers go on one.
//!
//! Up to [`IN_FLIGHT_MAX`] questions are with their models at once. Models that answer once are answered for in the order
//! of the questions; the parts of the others' answers go out as they come. What goes wrong with a question is said in its
//! place and the stream goes on, unless its client wants a status instead (metadata `triton_grpc_error: true`), which
//! ends it. An answer not read by the client holds back the next question.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::future::LocalBoxFuture;
use futures_util::stream::{self, FuturesOrdered, LocalBoxStream, SelectAll, Stream, StreamExt};
use schemas::inference::infer_parameter::ParameterChoice;
use schemas::inference::{
    InferParameter, ModelInferRequest, ModelInferResponse, ModelStreamInferResponse,
};
use send_wrapper::SendWrapper;
use tonic::Status;

use super::call::{Answers, Requests, Said, tell_apart};
use super::{infer, status};
use crate::api::http2::{Link, Turn};
use crate::api::inference::find;
use crate::api::router::version;
use crate::api::status::ApiError;
use crate::api::streaming;
use crate::codec::grpc_tensor;
use crate::query::serve::Query;
use crate::query::types::TaskError;

/// Questions of one stream that are with their models: as many as one model's queue holds by default.
const IN_FLIGHT_MAX: usize = 1024;
/// Clients tell by it whether a question has its last answer.
const FINAL_RESPONSE: &str = "triton_final_response";

type Answer = Result<ModelStreamInferResponse, Status>;

pub(super) async fn infer(
    link: Rc<Link>,
    said: Said,
    requests: Requests<ModelInferRequest>,
) -> Result<Answers<ModelStreamInferResponse>, Status> {
    let conversation = Conversation {
        _turn: link.turn(),
        link,
        said: Rc::new(said),
        requests: Some(requests),
        whole: FuturesOrdered::new(),
        in_parts: SelectAll::new(),
    };
    Ok(SendWrapper::new(Box::pin(conversation)))
}

struct Conversation {
    link: Rc<Link>,
    said: Rc<Said>,
    /// None: the client has asked all, or the connection is to end.
    requests: Option<Requests<ModelInferRequest>>,
    whole: FuturesOrdered<LocalBoxFuture<'static, Answer>>,
    in_parts: SelectAll<LocalBoxStream<'static, Answer>>,
    /// The engine owes something until the stream ends.
    _turn: Turn,
}

impl Stream for Conversation {
    type Item = Answer;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Answer>> {
        if let Poll::Ready(last) = self.poll_requests(context) {
            return Poll::Ready(Some(Err(last)));
        }
        if let Poll::Ready(Some(answer)) = self.whole.poll_next_unpin(context) {
            return Poll::Ready(Some(answer));
        }
        if let Poll::Ready(Some(answer)) = self.in_parts.poll_next_unpin(context) {
            return Poll::Ready(Some(answer));
        }
        if self.requests.is_none() && self.in_flight() == 0 {
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}

impl Conversation {
    fn in_flight(&self) -> usize {
        self.whole.len() + self.in_parts.len()
    }

    /// Asks what came, as far as there is room. Ready with the status that ends the stream.
    fn poll_requests(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        while self.in_flight() < IN_FLIGHT_MAX
            && let Some(requests) = &mut self.requests
            && let Poll::Ready(message) = requests.messages.poll_next_unpin(context)
        {
            requests.meter.settle();
            match message {
                Some(Ok(message)) => self.ask(message),
                Some(Err(found)) => {
                    self.requests = None;
                    return Poll::Ready(unread(&self.link, found));
                }
                None => self.all_asked(),
            }
        }
        Poll::Pending
    }

    /// A stream that its client has not ended is told so, behind its answers.
    fn all_asked(&mut self) {
        self.requests = None;
        if self.link.connections.finishing() {
            let ended = Err(status::of(&TaskError::Draining.into()));
            self.whole.push_back(Box::pin(std::future::ready(ended)));
        }
    }

    fn ask(&mut self, message: ModelInferRequest) {
        let (link, said) = (self.link.clone(), self.said.clone());
        if answers_in_parts(&link, &message) {
            self.in_parts.push(parts(link, said, message));
        } else {
            self.whole.push_back(Box::pin(whole(link, said, message)));
        }
    }
}

fn answers_in_parts(link: &Link, message: &ModelInferRequest) -> bool {
    let Ok(version) = version(&message.model_version) else { return false };
    let catalog = link.front.catalog.load();
    let entry = find(&catalog, Query { model: &message.model_name, version });
    entry.is_ok_and(|entry| entry.handle.spec.decoupled)
}

/// tonic refused a message itself.
fn unread(link: &Link, found: Status) -> Status {
    let (kind, own) = tell_apart(link, &found);
    link.front.recorder.error(kind);
    own.unwrap_or(found)
}

async fn whole(link: Rc<Link>, said: Rc<Said>, message: ModelInferRequest) -> Answer {
    let named = named(&message);
    match infer::answer(&link.front, &said, message).await {
        Ok(response) => Ok(told(response, Last::Yes)),
        Err(error) => failed(&said, named, &error),
    }
}

/// A question that is answered in parts.
struct InParts {
    link: Rc<Link>,
    said: Rc<Said>,
    named: ModelInferResponse,
    /// Whether the client wants to be told of the end by a message of its own.
    wants_end: bool,
    stands: Stands,
}

enum Stands {
    NotAsked(Box<ModelInferRequest>),
    Going(Box<streaming::Answers>),
    Over,
}

fn parts(
    link: Rc<Link>,
    said: Rc<Said>,
    message: ModelInferRequest,
) -> LocalBoxStream<'static, Answer> {
    let wants_end = grpc_tensor::asked(&message.parameters);
    let wants_end = wants_end.is_ok_and(|asked| asked.empty_final_response);
    let named = named(&message);
    let stands = Stands::NotAsked(Box::new(message));
    let asked = InParts { link, said, named, wants_end, stands };
    let answers = stream::unfold(asked, |mut asked| async move {
        let answer = asked.next().await?;
        Some((answer, asked))
    });
    answers.boxed_local()
}

impl InParts {
    async fn next(&mut self) -> Option<Answer> {
        let InParts { link, said, named, .. } = self;
        let part = match std::mem::replace(&mut self.stands, Stands::Over) {
            Stands::NotAsked(message) => match infer::parts(&link.front, said, *message) {
                Ok(answers) => next_of(link, Box::new(answers)).await,
                Err(error) => Err(error),
            },
            Stands::Going(answers) => next_of(link, answers).await,
            Stands::Over => return None,
        };
        match part {
            Ok(Some((response, answers))) => {
                self.stands = Stands::Going(answers);
                Some(Ok(told(response, Last::No)))
            }
            Ok(None) => self.wants_end.then(|| Ok(told(named.clone(), Last::Yes))),
            Err(error) => Some(failed(said, named.clone(), &error)),
        }
    }
}

type Part = (ModelInferResponse, Box<streaming::Answers>);

async fn next_of(
    link: &Link,
    mut answers: Box<streaming::Answers>,
) -> Result<Option<Part>, ApiError> {
    let Some(part) = answers.next().await else { return Ok(None) };
    let response = infer::part(&link.front, &answers, part?)?;
    Ok(Some((response, answers)))
}

/// What an answer says of its question where it has nothing else to say.
fn named(message: &ModelInferRequest) -> ModelInferResponse {
    ModelInferResponse {
        model_name: message.model_name.clone(),
        model_version: message.model_version.clone(),
        id: message.id.clone(),
        ..ModelInferResponse::default()
    }
}

/// An error says which question it is about.
fn failed(said: &Said, named: ModelInferResponse, error: &ApiError) -> Answer {
    if said.errors_end_stream {
        return Err(status::of(error));
    }
    Ok(ModelStreamInferResponse { error_message: error.to_string(), ..told(named, Last::Yes) })
}

/// Whether a question has nothing behind this answer.
#[derive(Clone, Copy)]
enum Last {
    Yes,
    No,
}

fn told(mut response: ModelInferResponse, last: Last) -> ModelStreamInferResponse {
    let parameter_choice = Some(ParameterChoice::BoolParam(matches!(last, Last::Yes)));
    response.parameters.insert(FINAL_RESPONSE.to_owned(), InferParameter { parameter_choice });
    ModelStreamInferResponse { error_message: String::new(), infer_response: Some(response) }
}
