//! The body of an answer of this API: whole, or events as they come (`text/event-stream`).

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use crate::api::connections::Connection;
use crate::api::fleet::lines::Lines;
use crate::api::http2::Turn;
use crate::api::status::ApiError;
use crate::api::streaming::Answers;
use crate::clock::Clock;
use crate::codec::generate;
use crate::query::types::Prediction;

pub enum AnswerBody {
    Whole(Full<Bytes>),
    Events(Box<Events>),
    Lines(Box<Lines>),
}

impl AnswerBody {
    /// One that comes in pieces, of a connection that carries other requests beside it.
    pub fn hold(&mut self, turn: impl FnOnce() -> Turn) {
        match self {
            AnswerBody::Whole(_) => {}
            AnswerBody::Events(events) => events.hold(turn()),
            AnswerBody::Lines(lines) => lines.hold(turn()),
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            AnswerBody::Whole(whole) => Pin::new(whole).poll_frame(context),
            AnswerBody::Events(events) => {
                events.poll_next(context).map(|event| event.map(|it| Ok(Frame::data(it))))
            }
            AnswerBody::Lines(lines) => {
                lines.poll_next(context).map(|line| line.map(|it| Ok(Frame::data(it))))
            }
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match self {
            AnswerBody::Whole(whole) => whole.is_end_stream(),
            AnswerBody::Events(_) | AnswerBody::Lines(_) => false,
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match self {
            AnswerBody::Whole(whole) => whole.size_hint(),
            AnswerBody::Events(_) | AnswerBody::Lines(_) => SizeHint::default(),
        }
    }
}

/// Parts of one answer, each an event; what goes wrong on the way is the last.
pub struct Events {
    answers: Answers,
    /// Decided the status.
    first: Option<Prediction>,
    ended: bool,
    connection: Rc<Connection>,
    clock: Clock,
    /// For the client, to make room for the next event.
    read_time_max: Duration,
    /// Of a connection that carries other requests beside this one.
    turn: Option<Turn>,
}

impl Events {
    /// `first` is the first part; none: there are none.
    pub fn new(
        answers: Answers,
        first: Option<Prediction>,
        connection: Rc<Connection>,
        clock: Clock,
        read_time_max: Duration,
    ) -> Events {
        let ended = first.is_none();
        Events { answers, first, ended, connection, clock, read_time_max, turn: None }
    }

    /// Till the end the engine owes something.
    pub fn hold(&mut self, turn: Turn) {
        self.turn = Some(turn);
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.ended {
            self.turn = None;
            return Poll::Ready(None);
        }
        let part = match self.first.take() {
            Some(first) => Some(Ok(first)),
            None => {
                // Asked for more, so what was given is on its way: the model's turn.
                self.connection.await_nothing();
                ready!(self.answers.poll_next(context))
            }
        };
        self.connection.await_head(self.clock.coarse().after(self.read_time_max));
        let Some(part) = part else {
            self.ended = true;
            self.turn = None;
            return Poll::Ready(None);
        };
        Poll::Ready(Some(self.event(part)))
    }

    fn event(&mut self, part: Result<Prediction, ApiError>) -> Bytes {
        let written = part.and_then(|part| {
            let mut event = b"data: ".to_vec();
            let Answers { chosen, .. } = &self.answers;
            generate::write(&mut event, self.answers.about(), chosen, &part.outputs)?;
            event.extend_from_slice(b"\n\n");
            Ok(event)
        });
        let event = written.unwrap_or_else(|error| {
            self.ended = true;
            let error = serde_json::json!({ "error": error.to_string() });
            format!("data: {error}\n\n").into_bytes()
        });
        event.into()
    }
}
