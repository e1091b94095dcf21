//! The corridor: a question finds its model, gets its deadline, becomes a task, and waits for the prediction.

use std::time::Duration;

use schemas::lifecycle::{Late, ModelSpec};

use crate::classes::SloClass;
use crate::clock::Time;
use crate::dispatch::handle::ModelHandle;
use crate::dispatch::parts::{Event, Stream};
use crate::fleet::catalog::{Catalog, Missing, ModelEntry, ModelState};
use crate::ids::{CoreId, Version};
use crate::query::types::{Deadline, Prediction, TaskError, TaskInputs, TaskResult, Terms};

/// Without an SLO nothing says how long an answer is worth waiting for; callers' own timeouts are rarely longer.
pub const LATE_LIMIT_WITHOUT_SLO: Duration = Duration::from_secs(30);
/// A soft deadline missed by ten SLOs is no longer a late answer but a useless one.
const LATE_LIMIT_SLOS: u32 = 10;
/// For SLOs of a few milliseconds a short stall of the machine must not fail requests that said no deadline.
const LATE_LIMIT_MIN: Duration = Duration::from_secs(1);
/// Longer deadlines are cut to this: nothing waits for ever, whatever its caller says.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// Asked of callers of a model that still loads: about what a small model takes.
const LOADING_RETRY: Duration = Duration::from_secs(1);

/// Which model a question is for; `None` asks for the newest version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'q> {
    pub model: &'q str,
    pub version: Option<Version>,
}

/// The model version that answers, whether or not it can right now.
pub fn find<'c>(catalog: &'c Catalog, query: Query<'_>) -> Result<&'c ModelEntry, Missing> {
    catalog.find(query.model, query.version)
}

/// Its handle, or why it can't answer now.
pub fn available(entry: &ModelEntry) -> Result<&ModelHandle, TaskError> {
    let handle = &entry.handle;
    let (reason, retry_after) = match &entry.state {
        ModelState::Ready | ModelState::Recovering { .. } => return Ok(handle),
        ModelState::Loading => ("it is still loading".into(), LOADING_RETRY),
        ModelState::Unavailable { reason, retry_after }
        | ModelState::Absent { reason, retry_after } => (reason.clone(), *retry_after),
    };
    Err(TaskError::NoReplica { model: handle.name.clone(), reason, retry_after })
}

/// Whether questions had better be asked of it: not while it makes them wait for another replica.
pub fn check_ready(entry: &ModelEntry) -> Result<(), TaskError> {
    match &entry.state {
        ModelState::Recovering { reason } => Err(TaskError::NoReplica {
            model: entry.handle.name.clone(),
            reason: reason.clone(),
            retry_after: LOADING_RETRY,
        }),
        _ => available(entry).map(drop),
    }
}

/// What a question of this class that arrived at `arrived` may expect.
pub fn terms(
    spec: &ModelSpec,
    class: &SloClass,
    arrived: Time,
    timeout: Option<Duration>,
) -> Terms {
    let deadline = deadline(spec, class, arrived, timeout);
    Terms { deadline, class: class.id, weight: class.weight }
}

/// The deadline of a question that arrived at `arrived`: its own, which is hard; else its class's, else the model's.
///
/// Without any SLO `due == late_limit` as well: past 30 s both kinds end the same way.
fn deadline(
    spec: &ModelSpec,
    class: &SloClass,
    arrived: Time,
    timeout: Option<Duration>,
) -> Deadline {
    if let Some(timeout) = timeout {
        return hard(arrived.after(timeout.min(TIMEOUT_MAX)));
    }
    let slo = class.slo.or(spec.slo_us.map(Duration::from_micros));
    let Some(slo) = slo else { return hard(arrived.after(LATE_LIMIT_WITHOUT_SLO)) };
    let due = arrived.after(slo);
    match class.late.unwrap_or(spec.late) {
        Late::Shed => hard(due),
        Late::Serve => {
            let late_limit = slo.saturating_mul(LATE_LIMIT_SLOS).max(LATE_LIMIT_MIN);
            Deadline { due, late_limit: arrived.after(late_limit) }
        }
    }
}

fn hard(due: Time) -> Deadline {
    Deadline { due, late_limit: due }
}

/// By when a reply in parts that was asked for at `arrived` is to be whole: at its own deadline. Those that the model or
/// the class gives are for the first part; how long the others may take, nobody knows.
pub fn ends(arrived: Time, timeout: Option<Duration>) -> Time {
    timeout.map_or(Time::NEVER, |timeout| arrived.after(timeout.min(TIMEOUT_MAX)))
}

/// Hands the task to the model, whose answer comes in parts; one, where the model gives whole ones. Dropped before its
/// end came, the stream cancels the task.
pub fn ask_for_parts(
    handle: &ModelHandle,
    inputs: TaskInputs,
    terms: Terms,
    ends: Time,
    now: Time,
    origin: CoreId,
) -> Result<Stream, TaskError> {
    handle.submit_for_parts(inputs, terms, ends, now, origin)
}

/// Hands the task to the model and waits. Dropped before it is done, it cancels the task.
pub async fn ask(
    handle: &ModelHandle,
    inputs: TaskInputs,
    terms: Terms,
    now: Time,
    origin: CoreId,
) -> TaskResult {
    if handle.spec.decoupled {
        // Boxed, so that what other models' questions wait in stays small.
        let ends = terms.deadline.late_limit;
        return Box::pin(only_part(ask_for_parts(handle, inputs, terms, ends, now, origin)?)).await;
    }
    handle.submit(inputs, terms, now, origin)?.await
}

async fn only_part(mut stream: Stream) -> TaskResult {
    let mut only = None;
    loop {
        match stream.next().await? {
            Event::Part(part) if only.is_none() => only = Some(part),
            Event::Part(_) => return Err(TaskError::NotOnePart { given: "more" }),
            Event::End(timings) => {
                let whole = only.map(|part| Prediction { timings, ..part });
                return whole.ok_or(TaskError::NotOnePart { given: "none" });
            }
        }
    }
}

#[cfg(test)]
mod tests;
