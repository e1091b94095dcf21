//! From an application's question to a model's answers: each input is a task of its own, due when the application's SLO
//! says so, and whatever can't be answered by then is answered with the default.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Clipper;
use super::exchange::{Asked, Reply};
use crate::api::front_end::FrontEnd;
use crate::api::inference::CountIfGone;
use crate::api::status::ApiError;
use crate::apps::known::{Chosen, Known};
use crate::apps::{App, Apps, Mode};
use crate::clock::Time;
use crate::codec::clipper::answer::{self, Answer, Explanation};
use crate::codec::clipper::request::{self, Input, PREDICT_SCHEMA};
use crate::codec::clipper::rows::{RowFault, row};
use crate::dispatch::handle::{ModelHandle, Ticket};
use crate::observe::metrics::{ErrorKind, Stage};
use crate::observe::predictions::Asked as Account;
use crate::observe::stages::ModelRecorder;
use crate::query::serve;
use crate::query::types::{Prediction, TaskError, TaskInputs, Terms, Timings};

/// Inputs of one request that may be with the model at a time: half of the queue it has by default, so that one large
/// batch leaves room for others. Batches of models gain nothing from more.
const IN_FLIGHT_MAX: usize = 512;

pub(super) async fn predict(
    clipper: &Clipper,
    front: &FrontEnd,
    apps: &Apps,
    app: &Arc<App>,
    asked: &Asked,
) -> Reply {
    let request = match request::predict(&asked.body, app.input_type, clipper.mode) {
        Ok(request) => request,
        Err(fault) => {
            return Reply::Bad(answer::json_error(&fault, PREDICT_SCHEMA), ErrorKind::BadInput);
        }
    };
    // Held to the end: the answer is the model's as it was when the question came.
    let catalog = front.catalog.load_full();
    let known = Known { apps, catalog: &catalog };
    let chosen = match known.choose(app, request.version.as_deref()) {
        Ok(chosen) => chosen,
        Err(unknown) => {
            let version = request.version.unwrap_or_default();
            let cause =
                format!("Requested version: {version} does not exist for model: {}", unknown.model);
            return Reply::Bad(answer::query_error(&cause), ErrorKind::UnknownVersion);
        }
    };
    let count = request.inputs.len();
    let first_id = clipper.query_ids.fetch_add(count as u64, Ordering::Relaxed);
    let errand = Errand { clipper, front, app, arrived: asked.arrived };
    let answers = match chosen {
        None => errand.nobody(count),
        Some(chosen) => {
            if chosen.settles {
                let model = chosen.entry.handle.name.clone();
                clipper.changes.settle(model, chosen.text.clone());
            }
            match errand.ask(&chosen, request.inputs).await {
                Ok(answers) => answers,
                Err(fault) => {
                    let cause = answer::query_error(&fault.to_string());
                    return Reply::Bad(cause, ErrorKind::BadInput);
                }
            }
        }
    };
    Reply::Good(answer::predictions(first_id, &answers, &app.default_output).into())
}

/// One request of an application.
struct Errand<'r> {
    clipper: &'r Clipper,
    front: &'r FrontEnd,
    app: &'r Arc<App>,
    arrived: Time,
}

impl Errand<'_> {
    /// No model is linked, or nobody serves it.
    fn nobody(&self, count: usize) -> Vec<Answer> {
        let answer = || Answer::Default { explanation: Explanation::NoModel, cause: None };
        (0..count).map(|_| self.note(None, answer())).collect()
    }

    /// Asks the model for every input, all at a time as far as [`IN_FLIGHT_MAX`] allows. Nothing is asked where one of
    /// them is no row of the model.
    async fn ask(&self, chosen: &Chosen<'_>, inputs: Vec<Input>) -> Result<Vec<Answer>, RowFault> {
        let entry = chosen.entry;
        let asking = Asking {
            errand: self,
            handle: &entry.handle,
            text: &chosen.text,
            recorder: &self.front.recorder.model(&entry.handle.name, entry.handle.version),
            terms: self.terms(&entry.handle),
            until: self.front.clock.instant(self.arrived.after(self.app.slo())),
        };
        if let Err(error) = serve::available(entry) {
            return Ok(inputs.iter().map(|_| asking.refused(error.clone())).collect());
        }
        let rows = inputs.into_iter().map(|input| row(&entry.handle.spec, input));
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        Ok(asking.all(rows).await)
    }

    /// The SLO is the question's own deadline, so it is hard: past it nobody wants the answer.
    fn terms(&self, handle: &ModelHandle) -> Terms {
        let class = self.front.classes.get(handle.class);
        serve::terms(&handle.spec, class, self.arrived, Some(self.app.slo()))
    }

    /// Puts one answer into the application's account.
    fn note(&self, asked: Option<(&Asking<'_>, Option<Timings>)>, answer: Answer) -> Answer {
        let now = self.front.clock.now();
        let key = |asking: &Asking<'_>| (asking.handle.name.clone(), asking.text.clone());
        let account = Account {
            model: asked.map(|(asking, timings)| (key(asking), timings)),
            took: now.since(self.arrived),
            is_default: matches!(answer, Answer::Default { .. }),
        };
        self.front.recorder.predictions.asked(&self.app.name, account, now);
        answer
    }
}

/// The same with the model that is asked.
struct Asking<'r> {
    errand: &'r Errand<'r>,
    handle: &'r ModelHandle,
    text: &'r Arc<str>,
    recorder: &'r ModelRecorder,
    terms: Terms,
    /// Past it the answer is the default.
    until: Instant,
}

impl Asking<'_> {
    async fn all(&self, rows: Vec<TaskInputs>) -> Vec<Answer> {
        let gone = CountIfGone::new(self.recorder);
        let mut answers = Vec::with_capacity(rows.len());
        let mut waiting = VecDeque::with_capacity(rows.len().min(IN_FLIGHT_MAX));
        for inputs in rows {
            if waiting.len() == IN_FLIGHT_MAX
                && let Some(first) = waiting.pop_front()
            {
                answers.push(self.answer(first).await);
            }
            waiting.push_back(self.submit(inputs));
        }
        while let Some(next) = waiting.pop_front() {
            answers.push(self.answer(next).await);
        }
        gone.still_there();
        answers
    }

    fn submit(&self, inputs: TaskInputs) -> Result<Ticket<'_>, TaskError> {
        let Errand { front, arrived, .. } = self.errand;
        let submitted = front.clock.now();
        self.recorder.stage(Stage::Parse, submitted.since(*arrived));
        self.handle.submit(inputs, self.terms, submitted, front.core)
    }

    /// A ticket that is dropped when time is up cancels its task.
    async fn answer(&self, ticket: Result<Ticket<'_>, TaskError>) -> Answer {
        let result = match ticket {
            Ok(ticket) => {
                let in_time = tokio::time::timeout_at(self.until.into(), ticket);
                in_time.await.unwrap_or(Err(TaskError::DeadlinePassed))
            }
            Err(error) => Err(error),
        };
        match result {
            Ok(prediction) => self.answered(&prediction),
            Err(error) => self.refused(error),
        }
    }

    fn answered(&self, prediction: &Prediction) -> Answer {
        let Errand { front, arrived, .. } = self.errand;
        let returned = front.clock.now();
        match answer::output(&self.handle.spec, &prediction.outputs) {
            Ok(output) => {
                let done = front.clock.now();
                self.recorder.task_stages(&prediction.timings);
                self.recorder.stage(Stage::Respond, done.since(returned));
                self.recorder.answered(done.since(*arrived));
                self.errand.note(Some((self, Some(prediction.timings))), Answer::Output(output))
            }
            Err(_) => {
                let message = "it has no JSON form; return text or plain numbers".into();
                self.refused(TaskError::BadOutput { message })
            }
        }
    }

    /// The default, with the reason for whoever wants to know it.
    fn refused(&self, error: TaskError) -> Answer {
        let explanation = match &error {
            TaskError::NoReplica { .. } => Explanation::NoModel,
            _ => Explanation::NotInTime,
        };
        let cause = (self.errand.clipper.mode == Mode::Sane).then(|| error.to_string());
        self.recorder.error(ApiError::Task(error).shown().kind);
        self.errand.note(Some((self, None)), Answer::Default { explanation, cause })
    }
}
