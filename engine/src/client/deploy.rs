//! `foil deploy`: packs, sends, and follows the new version until it has the traffic or has failed.

use std::fmt::Write;
use std::io;
use std::sync::Arc;

use futures_util::stream::poll_fn;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::archive::{self, PIECES_MAX, Piece};
use super::bundle::{self, Bundle};
use super::engine_link::{Body, Engine, Lines, encoded, page};
use super::error::ClientError;
use super::events::{self, Event, Failed, Ready};
use super::progress::Progress;
use super::try_it;
use crate::cli::fleet::Deploy;
use crate::table::{counted, size};

pub(super) async fn deploy(flags: Deploy) -> Result<(), ClientError> {
    let engine = Engine::reach(&flags.reach)?;
    let bundle = Arc::new(bundle::gather(&flags)?);
    // An engine that is not there is told before anything is packed.
    let _there: serde::de::IgnoredAny = engine.get("/fleet").await?;
    let progress = Progress::new(flags.patience.json);
    progress.uploading(&sending(&bundle), bundle.bytes());
    let (body, packing) = upload(&bundle, progress.counter());
    let path = page(&bundle.name) + &query(&flags);
    let sent = || progress.sent();
    let lines = match engine.upload(&path, body, sent, flags.patience.wait).await {
        Ok(lines) => lines,
        Err(error) => return Err(packing_error(packing).await.unwrap_or(error)),
    };
    let followed = follow(&bundle.name, lines, &progress, flags.patience.json).await?;
    let ready = followed.map_err(|failed| failure(&bundle.name, failed))?;
    if flags.patience.json {
        return Ok(());
    }
    super::commands::print(&told(&bundle.name, &ready, flags.hold))?;
    let sample = flags.sample.as_deref();
    let lines = try_it::lines(&engine, &bundle.name, ready.version, ready.url.as_deref(), sample);
    super::commands::print(&lines.await)
}

fn sending(bundle: &Bundle) -> String {
    let (files, bytes) = (counted(bundle.files.len(), "file"), size(bundle.bytes()));
    format!("sending {}: {files}, {bytes}", bundle.name)
}

/// The settings that belong to the model and not to the version.
fn query(flags: &Deploy) -> String {
    let mut given = Vec::new();
    if flags.hold {
        given.push("hold=true".to_owned());
    }
    given.extend(flags.keep_warm.as_ref().map(|text| format!("keep_warm={}", encoded(text))));
    given.extend(flags.replicas.map(|it| format!("min={}&max={}", it.min, it.max)));
    given.extend(flags.slo.as_ref().map(|text| format!("slo={}", encoded(text))));
    if given.is_empty() { String::new() } else { format!("?{}", given.join("&")) }
}

/// The archive as a body, and the task that makes it.
fn upload(
    bundle: &Arc<Bundle>,
    sent: impl Fn(u64) + Send + Sync + 'static,
) -> (Body, JoinHandle<io::Result<()>>) {
    let (sender, mut pieces) = mpsc::channel::<Piece>(PIECES_MAX);
    let bundle = bundle.clone();
    let packing = tokio::task::spawn_blocking(move || {
        let packed = archive::send(&bundle, &sender);
        if let Err(error) = &packed {
            // An archive that lacks its end must not look whole.
            let _gone = sender.blocking_send(Err(io::Error::new(error.kind(), error.to_string())));
        }
        packed
    });
    let stream = poll_fn(move |context| {
        pieces.poll_recv(context).map_ok(|bytes| {
            sent(bytes.len() as u64);
            Frame::data(bytes)
        })
    });
    (BodyExt::boxed(StreamBody::new(stream)), packing)
}

/// Why the archive could not be made, where that is what broke the upload.
async fn packing_error(packing: JoinHandle<io::Result<()>>) -> Option<ClientError> {
    match packing.await {
        Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
            Some(ClientError::Pack(error))
        }
        _ => None,
    }
}

/// The failure as it is told, with what this command knows of a fix.
fn failure(name: &str, mut failed: Failed) -> ClientError {
    if let Some(file) = events::missing_file(&failed) {
        let fix = format!("{file} is not part of the deployment: send it along by --with {file}");
        failed.fix = Some(fix);
    }
    ClientError::Failed(events::failure(name, &failed))
}

/// Tells what happens until the report ends: well, or with the version's failure.
pub(super) async fn follow(
    name: &str,
    mut lines: Lines,
    progress: &Progress,
    json: bool,
) -> Result<Result<Ready, Failed>, ClientError> {
    progress.waiting(name);
    while let Some(line) = lines.next().await? {
        if line.is_empty() {
            continue;
        }
        if json {
            super::commands::print(&format!("{}\n", String::from_utf8_lossy(&line)))?;
        }
        match events::parse(&line)? {
            Event::Accepted { version } => progress.waiting(&accepted(name, version, progress)),
            Event::Step { text } => progress.say(&format!("  {text}")),
            Event::Ready(ready) => {
                progress.end();
                return Ok(Ok(ready));
            }
            Event::Failed(failed) => {
                progress.end();
                return Ok(Err(failed));
            }
            Event::Later => {}
        }
    }
    Err(ClientError::Unfinished)
}

fn accepted(name: &str, version: u64, progress: &Progress) -> String {
    let label = format!("{name} v{version}");
    progress.say(&format!("accepted {label}"));
    label
}

fn told(name: &str, ready: &Ready, held: bool) -> String {
    let Ready { version, seconds, url, checked } = ready;
    let mut text = format!("ready  {name} v{version} in {seconds:.1} s");
    // Writing to a string can't fail.
    if let Some(url) = url {
        let _ = write!(text, "  {url}");
    }
    text.push('\n');
    if *checked {
        text.push_str("its answer to the sample is as expected\n");
    }
    if held {
        let _ = writeln!(text, "held: it has no traffic before `foil promote {name} {version}`");
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::fleet::FleetCommand;
    use crate::cli::{Cli, Command};

    fn queried(line: &str) -> String {
        match Cli::try_parse_from(line.split(' ')).unwrap().command {
            Command::Fleet(FleetCommand::Deploy(flags)) => query(&flags),
            _ => panic!("deploy"),
        }
    }

    #[test]
    fn what_belongs_to_the_model_goes_beside_the_archive() {
        assert_eq!(queried("foil deploy m.py"), "");
        let all = "foil deploy m.py --hold --keep-warm 5m --replicas 1..4 --slo 20ms";
        assert_eq!(queried(all), "?hold=true&keep_warm=5m&min=1&max=4&slo=20ms");
        // A duration may have a blank, an address may not.
        assert_eq!(queried("foil deploy m.py --slo=20\u{a0}ms"), "?slo=20%C2%A0ms");
    }

    #[test]
    fn the_end_is_told_with_what_was_checked_and_what_is_left_to_do() {
        let url = Some("http://127.0.0.1:8000/v2/models/m".to_owned());
        let ready = Ready { version: 3, seconds: 1.42, url, checked: true };
        let text = told("m", &ready, true);
        assert!(text.starts_with("ready  m v3 in 1.4 s  http://127.0.0.1:8000/v2/models/m\n"));
        assert!(text.contains("as expected") && text.contains("foil promote m 3"), "{text}");
        let plain = Ready { checked: false, url: None, ..ready };
        assert_eq!(told("m", &plain, false), "ready  m v3 in 1.4 s\n");
    }
}
