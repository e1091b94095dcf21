//! One inference, whatever protocol it came by: the model is found, asked, and account is kept of how it went.
//!
//! A protocol brings two steps: what its bytes ask of this model, and the bytes that say what the model answered.

use std::time::Duration;

use schemas::lifecycle::ModelSpec;

use crate::api::front_end::FrontEnd;
use crate::api::status::ApiError;
use crate::classes::{Classes, SloClass};
use crate::clock::Time;
use crate::codec::answer::{Choice, Chosen};
use crate::codec::classify;
use crate::codec::fault::{InputFault, excerpt};
use crate::dispatch::handle::ModelHandle;
use crate::fleet::catalog::{Catalog, Missing, ModelEntry};
use crate::ids::ClassId;
use crate::observe::metrics::{ErrorKind, Stage};
use crate::observe::reports::Predicted;
use crate::observe::stages::ModelRecorder;
use crate::query::serve::{self, Query};
use crate::query::types::{Prediction, TaskError, TaskInputs};

/// Of a deployed model none of whose versions takes traffic at this moment.
const NOT_YET: &str = "none of its versions is up yet; foil ls says how they stand";
/// About what a small model takes to load.
const NOT_YET_RETRY: Duration = Duration::from_secs(1);

/// A request that is known to suit its model.
pub struct Question {
    pub inputs: TaskInputs,
    /// The outputs asked for.
    pub chosen: Choice,
    pub id: Option<String>,
    /// The request's own deadline, from its arrival.
    pub timeout: Option<Duration>,
    /// None: its model's.
    pub class: Option<ClassId>,
}

/// What a question came to.
pub struct Answered<'a> {
    pub handle: &'a ModelHandle,
    pub chosen: &'a [Chosen],
    pub id: Option<&'a str>,
    pub prediction: &'a Prediction,
}

/// Asks what `understand` makes of a request whose last byte was read at `arrived`; `respond` turns the answer into the
/// protocol's. An error has been counted already when it is returned.
pub async fn infer<R>(
    front: &FrontEnd,
    query: Query<'_>,
    arrived: Time,
    understand: impl FnOnce(&ModelSpec) -> Result<Question, InputFault>,
    respond: impl FnOnce(Answered<'_>) -> Result<R, ApiError>,
) -> Result<R, ApiError> {
    // Held to the end: the answer names the model as it was when the question came.
    let catalog = front.catalog.load_full();
    let entry =
        find(&catalog, query).inspect_err(|error| front.recorder.error(error.shown().kind))?;
    let recorder = front.recorder.model(&entry.handle.name, entry.handle.version);
    ask(front, entry, &recorder, arrived, understand, respond)
        .await
        .inspect_err(|error| recorder.error(error.shown().kind))
}

async fn ask<R>(
    front: &FrontEnd,
    entry: &ModelEntry,
    recorder: &ModelRecorder,
    arrived: Time,
    understand: impl FnOnce(&ModelSpec) -> Result<Question, InputFault>,
    respond: impl FnOnce(Answered<'_>) -> Result<R, ApiError>,
) -> Result<R, ApiError> {
    let handle = serve::available(entry)?;
    let Question { inputs, chosen, id, timeout, class } = understand(&handle.spec)?;
    let class = front.classes.get(class.unwrap_or(handle.class));
    let terms = serve::terms(&handle.spec, class, arrived, timeout);

    let submitted = front.clock.now();
    let gone = CountIfGone::new(recorder);
    let prediction = serve::ask(handle, inputs, terms, submitted, front.core).await;
    gone.still_there();
    let mut prediction = prediction?;

    let returned = front.clock.now();
    let due = terms.deadline.due;
    classify::replace(&handle.spec, &handle.labels, &chosen, &mut prediction.outputs)?;
    let id = id.as_deref();
    let response = respond(Answered { handle, chosen: &chosen, id, prediction: &prediction })?;
    let done = front.clock.now();
    recorder.stage(Stage::Parse, submitted.since(arrived));
    recorder.task_stages(&prediction.timings);
    recorder.stage(Stage::Respond, done.since(returned));
    recorder.answered(done.since(arrived));
    if returned > due || front.reports.traces() {
        let (model, version, timings) = (&*handle.name, handle.version, &prediction.timings);
        note(front, &Predicted { model, version, id, arrived, submitted, done, timings }, due);
    }
    Ok(response)
}

/// What the log may want of a request.
#[cold]
fn note(front: &FrontEnd, predicted: &Predicted<'_>, due: Time) {
    if predicted.done > due {
        front.reports.late(predicted, due);
    }
    if front.reports.traces() {
        front.reports.trace(predicted);
    }
}

/// The model version that is asked for, or an error that names it.
pub fn find<'c>(catalog: &'c Catalog, query: Query<'_>) -> Result<&'c ModelEntry, ApiError> {
    serve::find(catalog, query).map_err(|missing| {
        let model = excerpt(query.model);
        match (missing, query.version) {
            (Missing::Version, Some(version)) => {
                ApiError::UnknownVersion { model: model.into(), version }
            }
            (Missing::NotYet, _) => {
                let (reason, retry_after) = (NOT_YET.into(), NOT_YET_RETRY);
                TaskError::NoReplica { model: model.into(), reason, retry_after }.into()
            }
            (Missing::Model | Missing::Version, _) => ApiError::UnknownModel { model },
        }
    })
}

/// The SLO class that a request names.
pub fn known_class<'c>(classes: &'c Classes, name: &[u8]) -> Result<&'c SloClass, InputFault> {
    classes.find(name).ok_or_else(|| InputFault::UnknownClass {
        found: excerpt(&String::from_utf8_lossy(name)),
        known: classes.known(),
    })
}

/// Counts a client that went away while its task was waited for: the future is dropped then.
pub(super) struct CountIfGone<'r> {
    recorder: &'r ModelRecorder,
    armed: bool,
}

impl<'r> CountIfGone<'r> {
    pub(super) fn new(recorder: &'r ModelRecorder) -> CountIfGone<'r> {
        CountIfGone { recorder, armed: true }
    }

    pub(super) fn still_there(mut self) {
        self.armed = false;
    }
}

impl Drop for CountIfGone<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.recorder.error(ErrorKind::ClientGone);
        }
    }
}
