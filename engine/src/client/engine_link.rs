//! One engine, asked over HTTP/1.1: by the administrators' Unix socket in its state directory, or by its address.

use std::error::Error;
use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyDataStream, BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::answers::Refusal;
use super::error::ClientError;
use crate::cli::fleet::Reach;
use crate::config::state_directory;

/// In the state directory of an engine that manages deployments.
const SOCKET: &str = "admin.sock";
/// The token itself, as foil serve reads it.
const TOKEN_VARIABLE: &str = "FOIL_ADMIN_TOKEN";
const ENGINE_VARIABLE: &str = "FOIL_ENGINE";
const STATE_VARIABLE: &str = "FOIL_STATE";

/// A machine that is there takes a connection within this.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// Longest time to an answer that needs no model to start: removing waits for nothing but the disk.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// A listing of ten thousand models with their versions stays below this.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// A line of a report holds a container's last output at most.
const LINE_BYTES_MAX: usize = 1 << 20;

/// What a request carries.
pub(super) type Body = BoxBody<Bytes, io::Error>;

pub(super) struct Engine {
    place: Place,
    token: Option<HeaderValue>,
}

enum Place {
    Socket(PathBuf),
    /// Host and port.
    Address(String),
}

impl Engine {
    pub(super) fn reach(reach: &Reach) -> Result<Engine, ClientError> {
        let url = match (&reach.engine, &reach.state) {
            (None, Some(state)) => return Engine::of_state(Some(state.clone())),
            (None, None) => variable(ENGINE_VARIABLE),
            (Some(url), _) => Some(url.clone()),
        };
        let Some(url) = url else {
            return Engine::of_state(variable(STATE_VARIABLE).map(PathBuf::from));
        };
        let token = match &reach.token_file {
            Some(path) => {
                let wrong = |source| ClientError::TokenFile { path: path.clone(), source };
                Some(std::fs::read_to_string(path).map_err(wrong)?)
            }
            None => variable(TOKEN_VARIABLE),
        };
        let token = token.as_deref().map(bearer).transpose()?;
        Ok(Engine { place: Place::Address(authority(&url)?), token })
    }

    fn of_state(given: Option<PathBuf>) -> Result<Engine, ClientError> {
        let state = state_directory(given).ok_or(ClientError::NoState)?;
        Ok(Engine { place: Place::Socket(state.join(SOCKET)), token: None })
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.json(Method::GET, path, nothing()).await
    }

    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<T, ClientError> {
        let text = self.text(method, path, body).await?;
        serde_json::from_slice(&text)
            .map_err(|error| ClientError::Answer { why: error.to_string() })
    }

    /// A whole answer.
    pub(super) async fn text(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<Bytes, ClientError> {
        let doing = "waiting for its answer";
        let answer = within(ANSWER_WAIT, doing, self.ask(method, path, body)).await?;
        whole(answer).await
    }

    /// An answer that comes line by line, with at most `silence` before each.
    pub(super) async fn lines(
        &self,
        method: Method,
        path: &str,
        body: Body,
        silence: Duration,
    ) -> Result<Lines, ClientError> {
        let doing = "waiting for its answer";
        let answer = within(silence, doing, self.ask(method, path, body)).await?;
        Ok(Lines::of(answer, silence))
    }

    /// The same after a long body, of which `sent` tells the bytes so far: `silence` begins anew as long as they move.
    pub(super) async fn upload(
        &self,
        path: &str,
        body: Body,
        sent: impl Fn() -> u64,
        silence: Duration,
    ) -> Result<Lines, ClientError> {
        let mut asked = pin!(self.ask(Method::PUT, path, body));
        loop {
            let before = sent();
            match timeout(silence, &mut asked).await {
                Ok(answer) => return Ok(Lines::of(answer?, silence)),
                Err(_) if sent() > before => {}
                Err(_) => {
                    return Err(ClientError::Silent { doing: "sending the model", after: silence });
                }
            }
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<Response<Incoming>, ClientError> {
        let host = match &self.place {
            Place::Socket(_) => "localhost",
            Place::Address(authority) => authority,
        };
        let mut request = Request::builder().method(method).uri(path).header(HOST, host);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.header(CONTENT_TYPE, "application/json").body(body);
        let request = request.map_err(|error| ClientError::Answer { why: error.to_string() })?;
        let answer = match &self.place {
            Place::Socket(path) => {
                send(self.connected(UnixStream::connect(path)).await?, request).await?
            }
            Place::Address(authority) => {
                send(self.connected(TcpStream::connect(authority)).await?, request).await?
            }
        };
        if answer.status().is_success() { Ok(answer) } else { Err(refusal(answer).await) }
    }

    async fn connected<S>(
        &self,
        connecting: impl Future<Output = io::Result<S>>,
    ) -> Result<S, ClientError> {
        let at = match &self.place {
            Place::Socket(path) => path.display().to_string(),
            Place::Address(authority) => format!("http://{authority}"),
        };
        match timeout(CONNECT_WAIT, connecting).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ClientError::NoEngine(at)
                }
                _ => ClientError::Connect { at, source: error },
            }),
            Err(_) => Err(ClientError::Silent { doing: "connecting", after: CONNECT_WAIT }),
        }
    }
}

/// One connection per request: a command has few.
async fn send<S>(stream: S, request: Request<Body>) -> Result<Response<Incoming>, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |source| ClientError::Broken { doing: "asking", source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(async move {
        // What ends the connection early ends the answer early, too; that is where it is told.
        let _ended = connection.await;
    });
    sender.send_request(request).await.map_err(broken)
}

async fn within<T>(
    after: Duration,
    doing: &'static str,
    asked: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    timeout(after, asked).await.map_err(|_| ClientError::Silent { doing, after })?
}

async fn whole(answer: Response<Incoming>) -> Result<Bytes, ClientError> {
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect();
    let unread =
        |error: Box<dyn Error + Send + Sync>| ClientError::Answer { why: error.to_string() };
    let collected = async { body.await.map_err(unread) };
    Ok(within(ANSWER_WAIT, "sending its answer", collected).await?.to_bytes())
}

/// What the engine said instead: a sentence, where it is one of ours.
async fn refusal(answer: Response<Incoming>) -> ClientError {
    let status = answer.status();
    match whole(answer).await {
        Err(error) => error,
        Ok(text) => {
            let sentence = match serde_json::from_slice::<Refusal>(&text) {
                Ok(refusal) => refusal.error,
                Err(_) => {
                    format!("the engine answered {status}; is it one that manages deployments?")
                }
            };
            ClientError::Refused { sentence }
        }
    }
}

/// A body's lines as they come.
pub(super) struct Lines {
    body: BodyDataStream<Incoming>,
    left: BytesMut,
    /// None: as long as it takes, for who follows a log.
    silence: Option<Duration>,
}

impl Lines {
    fn of(answer: Response<Incoming>, silence: Duration) -> Lines {
        let body = answer.into_body().into_data_stream();
        Lines { body, left: BytesMut::new(), silence: Some(silence) }
    }

    pub(super) fn patiently(self) -> Lines {
        Lines { silence: None, ..self }
    }

    /// Without its line break; None at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            if let Some(at) = self.left.iter().position(|&byte| byte == b'\n') {
                let mut line = self.left.split_to(at + 1);
                line.truncate(at);
                return Ok(Some(line.freeze()));
            }
            if self.left.len() > LINE_BYTES_MAX {
                let why = format!("a line of more than {LINE_BYTES_MAX} bytes");
                return Err(ClientError::Answer { why });
            }
            match self.piece().await? {
                Some(piece) => self.left.extend_from_slice(&piece),
                None if self.left.is_empty() => return Ok(None),
                None => return Ok(Some(self.left.split().freeze())),
            }
        }
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, ClientError> {
        let doing = "reporting";
        let broken = |source| ClientError::Broken { doing, source };
        let next = async { self.body.next().await.transpose().map_err(broken) };
        match self.silence {
            None => next.await,
            Some(after) => within(after, doing, next).await,
        }
    }
}

pub(super) fn nothing() -> Body {
    text_body(String::new())
}

pub(super) fn text_body(text: String) -> Body {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed()
}

/// All but what names are made of.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// A model's page.
pub(super) fn page(name: &str) -> String {
    format!("/fleet/models/{}", encoded(name))
}

/// As a part of an address.
pub(super) fn encoded(text: &str) -> impl Display {
    utf8_percent_encode(text, ENCODED)
}

/// Of the environment; an empty one is none.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn bearer(token: &str) -> Result<HeaderValue, ClientError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
        .map_err(|_| ClientError::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Host and port of `http://host:port`; a path has no meaning here.
fn authority(url: &str) -> Result<String, ClientError> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let has_port = authority.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !port.is_empty() && port.bytes().all(|it| it.is_ascii_digit())
    });
    let plain = has_port && !authority.contains(['/', '@', '?']);
    if plain { Ok(authority.to_owned()) } else { Err(ClientError::Address(url.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for right in ["http://host:8004", "http://host:8004/", "host:8004"] {
            assert_eq!(authority(right).unwrap(), "host:8004");
        }
        assert_eq!(authority("http://[::1]:8004").unwrap(), "[::1]:8004");
        for wrong in ["http://host", "https://host:1/", "host:x", ":80", "http://host:1/fleet"] {
            assert!(authority(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_can_not_lead_to_another_page() {
        assert_eq!(page("a/../b?x"), "/fleet/models/a%2F..%2Fb%3Fx");
    }

    #[test]
    fn where_nothing_listens_the_error_says_what_to_start() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let state = std::env::temp_dir().join("foil-no-engine-here");
        let reach = Reach { state: Some(state), ..Reach::default() };
        let asked = async { Engine::reach(&reach)?.get::<serde_json::Value>("/fleet").await };
        let error = runtime.block_on(asked).unwrap_err().to_string();
        assert!(error.contains("foil serve") && error.contains("--engine"), "{error}");
    }
}
