//! A version comes in, or another gets the traffic: the archive on its way to the disk, and what happens then.

use std::rc::Rc;

use bytes::Bytes;
use hyper::header::HeaderValue;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::asked::Query;
use super::lines::{Lines, draining};
use super::{Answer, Request, head};
use crate::api::body;
use crate::api::connections::Connection;
use crate::api::encoding::Encoding;
use crate::api::event_stream::AnswerBody;
use crate::api::front_end::FrontEnd;
use crate::api::status::ApiError;
use crate::clock::Time;
use crate::codec::fault::excerpt;
use crate::fleet::deployments::artifacts::Staged;
use crate::fleet::deployments::asks::{Ask, Roll};
use crate::fleet::deployments::events::{Accepted, Event};
use crate::fleet::deployments::uploads::Uploads;

const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// The last line where the engine ends before the version is ready.
const CUT_OFF: &str =
    "the engine is shutting down; the version is kept, and goes on when an engine starts again";

pub(super) async fn deploy(
    front: &FrontEnd,
    name: String,
    query: &Query<'_>,
    request: Request<'_>,
) -> Result<Answer, ApiError> {
    let options = query.options()?;
    let connection = request.connection.clone();
    let staged = receive(front, front.fleet.uploads()?, &name, request).await?;
    connection.await_nothing();
    roll(front, &connection, name, Roll::Deploy { staged, options }).await
}

/// The archive goes to the disk as it comes.
async fn receive(
    front: &FrontEnd,
    uploads: &Uploads,
    name: &str,
    request: Request<'_>,
) -> Result<Staged, ApiError> {
    let Request { connection, headers, expects, mut body, .. } = request;
    let gzip = match headers.get("content-encoding") {
        None => false,
        Some(value) => match Encoding::of_request(value.as_bytes())? {
            None => false,
            Some(Encoding::Gzip) => true,
            Some(Encoding::Deflate) => {
                let found = excerpt(Encoding::Deflate.name());
                return Err(ApiError::Encoding { found });
            }
        },
    };
    let upload = match uploads.begin(name, gzip) {
        Ok(upload) => upload,
        Err(error) => return Err(body::refused(body, error.into(), expects)),
    };
    let limits = front.limits.of_bodies();
    let mut bytes = 0;
    loop {
        // It is the pauses that are bounded: an archive of gigabytes takes its time.
        connection.await_body(front.clock.coarse().after(limits.time_max));
        let Some(piece) = body::next(&mut body, limits, connection).await? else { break };
        bytes += piece.len() as u64;
        if bytes > uploads.bytes_max() {
            let limit = uploads.bytes_max();
            let error = ApiError::BodyTooLarge { limit };
            return Err(body::refused(body, error, body::Continue::No));
        }
        connection.await_nothing();
        if !upload.take(piece).await {
            // The rest is padding to whole blocks, or nothing that anybody wants: what has come says which.
            return match upload.finish().await {
                Ok(staged) => {
                    body::discard(body).await;
                    Ok(staged)
                }
                Err(error) => Err(body::refused(body, error.into(), body::Continue::No)),
            };
        }
    }
    Ok(upload.finish().await?)
}

/// What happens, line by line.
pub(super) async fn roll(
    front: &FrontEnd,
    connection: &Rc<Connection>,
    name: String,
    roll: Roll,
) -> Result<Answer, ApiError> {
    let asked = front.clock.now();
    let accepted = front.fleet.ask(|done| Ask::Roll { name, roll, done }).await?;
    let (sender, lines) = Lines::new(front, connection);
    tokio::task::spawn_local(write(front.clone(), asked, accepted, sender));
    Ok((head(NDJSON), Some(AnswerBody::Lines(Box::new(lines)))))
}

async fn write(front: FrontEnd, asked: Time, accepted: Accepted, lines: mpsc::Sender<Bytes>) {
    let Accepted { version, mut events } = accepted;
    let mut told = lines.send(line(&json!({ "event": "accepted", "version": version }))).await;
    let mut ended = false;
    while told.is_ok() && !ended {
        let event = tokio::select! {
            event = events.recv() => event,
            () = draining(front.catalog.clone()) => None,
        };
        let Some(event) = event else {
            let cut_off = json!({ "event": "failed", "version": version, "error": CUT_OFF });
            // Nobody may be listening any more; nothing depends on it.
            let _gone = lines.send(line(&cut_off)).await;
            return;
        };
        ended = event.is_last();
        told = lines.send(line(&shown(&event, front.clock.now().since(asked).as_secs_f64()))).await;
    }
}

fn shown(event: &Event, seconds: f64) -> Value {
    match event {
        Event::Step(text) => json!({ "event": "step", "text": text }),
        Event::Ready { version, url, checked } => json!({
            "event": "ready", "version": version, "seconds": seconds, "url": url, "checked": checked,
        }),
        Event::Failed { version, failure } => json!({
            "event": "failed",
            "version": version,
            "error": failure.error,
            "output": failure.output,
            "cause": failure.cause,
            "fix": failure.fix,
        }),
    }
}

fn line(value: &Value) -> Bytes {
    format!("{value}\n").into()
}
