//! The query API: predictions, feedback, and what was asked so far.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::Method;
use tokio::sync::oneshot;

use super::Clipper;
use super::exchange::{Asked, Reply};
use super::prediction;
use crate::api::front_end::FrontEnd;
use crate::api::router::percent_decoded;
use crate::apps::known::Known;
use crate::apps::{App, Mode};
use crate::codec::clipper::answer::json_cause;
use crate::codec::clipper::metrics::{Subjects, report};
use crate::codec::clipper::request::{UPDATE_SCHEMA, update};
use crate::dispatch::CoreMsg;
use crate::observe::metrics::ErrorKind;
use crate::observe::predictions::PredictionsSnapshot;

/// A core that does not answer within this is left out of the report.
const REPORT_WAIT: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page<'p> {
    Metrics,
    Predict(&'p str),
    Update(&'p str),
}

pub(super) async fn answer(clipper: &Clipper, front: &FrontEnd, asked: Asked) -> Reply {
    let Some(page) = page(&asked.path) else { return Reply::NoSuchPage };
    let (name, allow) = match page {
        Page::Metrics if asked.method == Method::GET => {
            return Reply::text(metrics(clipper, front).await);
        }
        Page::Metrics => return Reply::Method { allow: "GET" },
        Page::Predict(name) | Page::Update(name) => (name, Method::POST),
    };
    let name = percent_decoded(name);
    let apps = clipper.apps.load_full();
    let Some(app) = name.and_then(|name| apps.served(&name).cloned()) else {
        return Reply::NoSuchPage;
    };
    if asked.method != allow {
        return Reply::Method { allow: "POST" };
    }
    match page {
        Page::Update(_) => feedback(clipper, front, &app, &asked.body),
        _ => prediction::predict(clipper, front, &apps, &app, &asked).await,
    }
}

/// A slash at the end is optional.
fn page(path: &str) -> Option<Page<'_>> {
    let path = path.strip_prefix('/')?;
    if path == "metrics" {
        return Some(Page::Metrics);
    }
    let (app, verb) = path.split_once('/')?;
    match verb.strip_suffix('/').unwrap_or(verb) {
        "predict" => Some(Page::Predict(app)),
        "update" => Some(Page::Update(app)),
        _ => None,
    }
}

/// Taken and counted; nothing learns from it yet.
fn feedback(clipper: &Clipper, front: &FrontEnd, app: &Arc<App>, body: &[u8]) -> Reply {
    match update(body, app.input_type, clipper.mode) {
        Err(fault) => Reply::Bad(json_cause(&fault, UPDATE_SCHEMA), ErrorKind::BadInput),
        Ok(feedback) => {
            clipper.query_ids.fetch_add(1, Ordering::Relaxed);
            front.recorder.predictions.feedback();
            let received = feedback.of_default_user || clipper.mode == Mode::Sane;
            Reply::text(format!("Feedback received? {}", u8::from(received)))
        }
    }
}

async fn metrics(clipper: &Clipper, front: &FrontEnd) -> String {
    let mut counts = PredictionsSnapshot::default();
    for link in clipper.links.iter() {
        let (reply, snapshot) = oneshot::channel();
        if link.send(CoreMsg::Predictions(reply)).await.is_err() {
            continue;
        }
        if let Ok(Ok(snapshot)) = tokio::time::timeout(REPORT_WAIT, snapshot).await {
            counts.merge(snapshot);
        }
    }
    let (apps, catalog) = (clipper.apps.load(), front.catalog.load());
    let known = Known { apps: &apps, catalog: &catalog };
    let models = known.all().into_iter().map(|it| (it.model, it.record.text.clone()));
    let names = apps.all().map(|app| app.name.clone());
    let subjects = Subjects { apps: names.collect(), models: models.collect() };
    report(&subjects, &counts, front.clock.now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_found_with_and_without_a_slash_at_the_end() {
        assert_eq!(page("/a/predict"), Some(Page::Predict("a")));
        assert_eq!(page("/a%20b/predict/"), Some(Page::Predict("a%20b")));
        assert_eq!(page("/a/update/"), Some(Page::Update("a")));
        assert_eq!(page("/metrics"), Some(Page::Metrics));
        for unknown in
            ["/", "/a", "/a/predict//", "/a/b/predict", "/metrics/", "a/predict", "/a/infer"]
        {
            assert_eq!(page(unknown), None, "{unknown}");
        }
    }
}
