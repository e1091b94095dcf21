//! One question whose answer comes in parts, whatever protocol it came by: as `inference` does it for whole answers.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use schemas::lifecycle::ModelSpec;

use crate::api::front_end::FrontEnd;
use crate::api::inference::{Question, find};
use crate::api::status::ApiError;
use crate::clock::{Clock, Time};
use crate::codec::answer::{About, Choice};
use crate::codec::fault::InputFault;
use crate::dispatch::handle::ModelHandle;
use crate::dispatch::parts::{Event, Stream};
use crate::fleet::catalog::ModelEntry;
use crate::observe::metrics::{ErrorKind, Stage};
use crate::observe::stages::ModelRecorder;
use crate::query::serve::{self, Query};
use crate::query::types::{Prediction, Timings};

/// The parts of one answer as they come. Dropped before the end, it cancels the question.
pub struct Answers {
    pub handle: ModelHandle,
    pub chosen: Choice,
    pub id: Option<String>,
    stream: Stream,
    recorder: Rc<ModelRecorder>,
    clock: Clock,
    arrived: Time,
    submitted: Time,
    ended: bool,
}

/// Asks what `understand` makes of a request whose last byte was read at `arrived`. Errors have been counted already when
/// they are returned, here and from [`Answers`].
pub fn ask(
    front: &FrontEnd,
    query: Query<'_>,
    arrived: Time,
    understand: impl FnOnce(&ModelSpec) -> Result<Question, InputFault>,
) -> Result<Answers, ApiError> {
    let catalog = front.catalog.load_full();
    let entry =
        find(&catalog, query).inspect_err(|error| front.recorder.error(error.shown().kind))?;
    let recorder = front.recorder.model(&entry.handle.name, entry.handle.version);
    let asked = submit(front, entry, &recorder, arrived, understand);
    asked.inspect_err(|error| recorder.error(error.shown().kind))
}

fn submit(
    front: &FrontEnd,
    entry: &ModelEntry,
    recorder: &Rc<ModelRecorder>,
    arrived: Time,
    understand: impl FnOnce(&ModelSpec) -> Result<Question, InputFault>,
) -> Result<Answers, ApiError> {
    let handle = serve::available(entry)?;
    let Question { inputs, chosen, id, timeout, class } = understand(&handle.spec)?;
    let class = front.classes.get(class.unwrap_or(handle.class));
    let terms = serve::terms(&handle.spec, class, arrived, timeout);
    let ends = serve::ends(arrived, timeout);
    let submitted = front.clock.now();
    let stream = serve::ask_for_parts(handle, inputs, terms, ends, submitted, front.core)?;
    Ok(Answers {
        handle: handle.clone(),
        chosen,
        id,
        stream,
        recorder: recorder.clone(),
        clock: front.clock,
        arrived,
        submitted,
        ended: false,
    })
}

impl Answers {
    /// The next part; `None` is the end, and so is an error. Nothing is to be asked for behind either.
    pub async fn next(&mut self) -> Option<Result<Prediction, ApiError>> {
        poll_fn(|context| self.poll_next(context)).await
    }

    pub fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Prediction, ApiError>>> {
        let event = ready!(self.stream.poll_next(context));
        Poll::Ready(match event {
            Ok(Event::Part(part)) => Some(Ok(part)),
            Ok(Event::End(timings)) => {
                self.answered(&timings);
                None
            }
            Err(error) => {
                self.ended = true;
                let error = ApiError::from(error);
                self.recorder.error(error.shown().kind);
                Some(Err(error))
            }
        })
    }

    /// What each part says besides its tensors.
    pub fn about(&self) -> About<'_> {
        About {
            spec: &self.handle.spec,
            model: &self.handle.name,
            version: self.handle.version,
            id: self.id.as_deref(),
        }
    }

    fn answered(&mut self, timings: &Timings) {
        self.ended = true;
        self.recorder.stage(Stage::Parse, self.submitted.since(self.arrived));
        self.recorder.task_stages(timings);
        self.recorder.answered(self.clock.now().since(self.arrived));
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        if !self.ended {
            self.recorder.error(ErrorKind::ClientGone);
        }
    }
}
