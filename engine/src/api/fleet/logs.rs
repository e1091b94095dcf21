//! What replicas print, as text: the last lines, and with `follow` what comes after them.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use tokio::sync::mpsc;

use super::asked::Query;
use super::lines::{Lines, draining};
use super::{Answer, head};
use crate::api::connections::Connection;
use crate::api::event_stream::AnswerBody;
use crate::api::front_end::FrontEnd;
use crate::api::status::ApiError;
use crate::fleet::deployments::asks::{Ask, Output, OutputOf, Printer};
use crate::fleet::orders::FleetLink;

/// Lines of each replica, unless another number is asked for.
const LINES: usize = 100;
/// Between two looks for new ones: at once, for a person.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

pub(super) async fn logs(
    front: &FrontEnd,
    connection: &Rc<Connection>,
    name: String,
    query: &Query<'_>,
) -> Result<Answer, ApiError> {
    let lines = query.number("lines")?.unwrap_or(LINES);
    let (version, replica) = (query.number("version")?, query.number("replica")?);
    let mut of = OutputOf { name, version, replica, lines, seen: Vec::new() };
    let first = look(&front.fleet, &mut of).await?;
    if !query.flag("follow")? {
        let mut response = Response::new(Full::from(first));
        response.headers_mut().insert(CONTENT_TYPE, TEXT);
        return Ok((response, None));
    }
    let (sender, lines) = Lines::new(front, connection);
    tokio::task::spawn_local(follow(front.clone(), of, first, sender));
    Ok((head(TEXT), Some(AnswerBody::Lines(Box::new(lines)))))
}

/// Until the reader goes, or the engine does.
async fn follow(front: FrontEnd, mut of: OutputOf, first: Bytes, to: mpsc::Sender<Bytes>) {
    let mut text = first;
    // What is new counts from now on, however much comes at once.
    of.lines = usize::MAX;
    loop {
        if !text.is_empty() && to.send(text).await.is_err() {
            return;
        }
        tokio::select! {
            () = to.closed() => return,
            () = draining(front.catalog.clone()) => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        // While nothing runs there is nothing to show; it may come back.
        text = look(&front.fleet, &mut of).await.unwrap_or_default();
    }
}

/// What has not been seen yet.
async fn look(fleet: &FleetLink, of: &mut OutputOf) -> Result<Bytes, ApiError> {
    let outputs = fleet.ask(|done| Ask::Output { of: of.clone(), done }).await?;
    let text = text(&of.name, &outputs);
    of.seen = outputs.iter().map(|output| (output.printer, output.total)).collect();
    Ok(text.into())
}

fn text(name: &str, outputs: &[Output]) -> String {
    let lines = outputs.iter().flat_map(|output| {
        let Printer { replica, .. } = output.printer;
        output.lines.iter().map(move |line| format!("{name}/{replica} {line}\n"))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_says_whose_it_is() {
        let printer = |replica| Printer { version: 1, replica, life: 0 };
        let output = |replica, lines: &[&str]| {
            let lines = lines.iter().map(|&line| line.to_owned()).collect();
            Output { printer: printer(replica), lines, total: 9 }
        };
        let shown = text("digits", &[output(0, &["a", "b"]), output(1, &[]), output(2, &["c"])]);
        assert_eq!(shown, "digits/0 a\ndigits/0 b\ndigits/2 c\n");
    }
}
