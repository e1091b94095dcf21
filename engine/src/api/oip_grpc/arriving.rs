//! The body of a call on its way in, within bounds of time and memory.
//!
//! Once a message has begun it must be whole within the time for a body; what has come of unfinished messages counts
//! against its connection. Where no message has begun, the end of the connection is the end of the body. How long one
//! message may be is tonic's to check.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use send_wrapper::SendWrapper;
use tokio::time::{Sleep, sleep};
use tonic::Status;

use super::status;
use crate::api::http2::Link;
use crate::api::status::ApiError;

type Error = Box<dyn std::error::Error + Send + Sync>;

pub(super) struct Arriving {
    body: Incoming,
    meter: SendWrapper<Rc<Meter>>,
    /// Set while a message is waited for that has begun.
    due: Option<Pin<Box<Sleep>>>,
}

/// What has come of a message that is not whole.
pub(super) struct Meter {
    link: Rc<Link>,
    bytes: Cell<u64>,
    /// Even without a byte: its head has come.
    begun: Cell<bool>,
}

impl Arriving {
    /// The one message of a call, which its head begins.
    pub(super) fn message(body: Incoming, link: &Rc<Link>) -> Arriving {
        Arriving::new(body, link, true)
    }

    /// Any number of messages with pauses between them. Each must be [settled](Meter::settle) when it is whole.
    pub(super) fn messages(body: Incoming, link: &Rc<Link>) -> (Arriving, Rc<Meter>) {
        let arriving = Arriving::new(body, link, false);
        let meter = Rc::clone(&arriving.meter);
        (arriving, meter)
    }

    fn new(body: Incoming, link: &Rc<Link>, begun: bool) -> Arriving {
        let meter = Meter { link: link.clone(), bytes: Cell::new(0), begun: Cell::new(begun) };
        Arriving { body, meter: SendWrapper::new(Rc::new(meter)), due: None }
    }

    /// What comes when the client sends nothing for now.
    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<Option<Status>> {
        let link = &self.meter.link;
        if !self.meter.begun.get() {
            self.due = None;
            return link.poll_closing(context).map(|()| None);
        }
        let limit = link.front.limits.body_time_max;
        let due = self.due.get_or_insert_with(|| Box::pin(sleep(limit)));
        let slow = due.as_mut().poll(context);
        slow.map(|()| Some(status::of(&ApiError::SlowSender { limit })))
    }
}

impl Meter {
    /// The message is whole; the next one has not begun.
    pub(super) fn settle(&self) {
        self.link.arrived(self.bytes.take());
        self.begun.set(false);
    }

    fn add(&self, bytes: u64) -> Result<(), Error> {
        self.bytes.set(self.bytes.get() + bytes);
        self.begun.set(true);
        if self.link.arrive(bytes) {
            return Ok(());
        }
        let limit = self.link.front.limits.body_bytes_max;
        Err(status::of(&ApiError::BodyTooLarge { limit }).into())
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.settle();
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            return self.poll_silence(context).map(|slow| slow.map(|status| Err(status.into())));
        };
        let frame = frame.transpose()?;
        let bytes = frame.as_ref().and_then(Frame::data_ref).map(Bytes::len);
        let taken = bytes.map_or(Ok(()), |bytes| self.meter.add(bytes as u64));
        Poll::Ready(taken.map(|()| frame).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
