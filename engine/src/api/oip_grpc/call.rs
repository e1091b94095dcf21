//! tonic's end of a call: messages in and out, compression, what the head says.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::Stream;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Request, Response};
use send_wrapper::SendWrapper;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::server::{Grpc, ServerStreamingService, StreamingService, UnaryService};
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;
use tonic_prost::prost::Message;

use super::arriving::{Arriving, Meter};
use super::status;
use crate::api::http2::Link;
use crate::api::status::ApiError;
use crate::clock::Time;
use crate::observe::metrics::ErrorKind;

/// Messages of a stream, for gRPC's reader of our answer.
pub(super) type Answers<R> = SendWrapper<Pin<Box<dyn Stream<Item = Result<R, Status>>>>>;

pub(super) trait Incomes: Message + Default + Send + 'static {}
impl<M: Message + Default + Send + 'static> Incomes for M {}

/// What the head of a call says that matters here.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// When the call is to be over, by its `grpc-timeout`.
    pub(super) deadline: Result<Option<Time>, ApiError>,
    /// The SLO class; over the parameter `foil_class`, so that a proxy in front has the last word.
    pub(super) class: Option<Vec<u8>>,
    /// Errors of a stream end it.
    pub(super) errors_end_stream: bool,
}

impl Said {
    /// `now`: when the head came.
    pub(super) fn read(headers: &HeaderMap, now: Time) -> Said {
        let mut said = Said { deadline: Ok(None), class: None, errors_end_stream: false };
        for (name, value) in headers {
            match name.as_str() {
                "grpc-timeout" => {
                    let timeout = timeout(value.as_bytes()).ok_or(ApiError::BadGrpcTimeout);
                    said.deadline = timeout.map(|timeout| Some(now.after(timeout)));
                }
                "x-foil-class" => said.class = Some(value.as_bytes().to_owned()),
                "triton_grpc_error" => said.errors_end_stream = value.as_bytes() == b"true",
                _ => {}
            }
        }
        said
    }
}

/// `20m`: up to eight digits and a unit.
fn timeout(text: &[u8]) -> Option<Duration> {
    const DIGITS_MAX: usize = 8;
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(number * 3600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// A call of one message each way.
pub(super) async fn unary<Q, R, C, F>(
    link: &Rc<Link>,
    request: Request<Incoming>,
    call: C,
) -> Response<Body>
where
    Q: Incomes,
    R: Incomes,
    C: FnOnce(Rc<Link>, Q) -> F,
    F: Future<Output = Result<R, Status>>,
{
    let mut grpc = grpc(link, request.headers());
    let called = Cell::new(false);
    let call = Once(Some(|message: tonic::Request<Q>| {
        called.set(true);
        let answer = call(link.clone(), message.into_inner());
        async { answer.await.map(tonic::Response::new) }
    }));
    let request = request.map(|body| Arriving::message(body, link));
    let response = grpc.unary(call, request).await;
    if called.get() { response } else { unread(link, response) }
}

/// A call of one message in and any number out.
pub(super) async fn server_streaming<Q, R, C, F>(
    link: &Rc<Link>,
    request: Request<Incoming>,
    call: C,
) -> Response<Body>
where
    Q: Incomes,
    R: Incomes,
    C: FnOnce(Rc<Link>, Q) -> F,
    F: Future<Output = Result<Answers<R>, Status>>,
{
    let mut grpc = grpc(link, request.headers());
    let call = Once(Some(|message: tonic::Request<Q>| {
        let answer = call(link.clone(), message.into_inner());
        async { answer.await.map(tonic::Response::new) }
    }));
    let request = request.map(|body| Arriving::message(body, link));
    grpc.server_streaming(call, request).await
}

/// The messages of a call that sends any number.
pub(super) struct Requests<Q> {
    pub(super) messages: Streaming<Q>,
    pub(super) meter: Rc<Meter>,
}

/// A call of any number of messages each way.
pub(super) async fn bidirectional<Q, R, C, F>(
    link: &Rc<Link>,
    request: Request<Incoming>,
    call: C,
) -> Response<Body>
where
    Q: Incomes,
    R: Incomes,
    C: FnOnce(Rc<Link>, Requests<Q>) -> F,
    F: Future<Output = Result<Answers<R>, Status>>,
{
    let mut grpc = grpc(link, request.headers());
    let (head, body) = request.into_parts();
    let (body, meter) = Arriving::messages(body, link);
    let link = link.clone();
    let call = SendWrapper::new(Once(Some(move |messages: tonic::Request<Streaming<Q>>| {
        let answer = call(link, Requests { messages: messages.into_inner(), meter });
        async { answer.await.map(tonic::Response::new) }
    })));
    grpc.streaming(Sent(call), Request::from_parts(head, body)).await
}

/// Compressed answers go to those who compress their requests: most clients say that they could read them, and few
/// would want to wait for it.
fn grpc<Q: Incomes, R: Incomes>(link: &Link, headers: &HeaderMap) -> Grpc<ProstCodec<R, Q>> {
    let message_bytes_max = usize::try_from(link.front.limits.body_bytes_max).unwrap_or(usize::MAX);
    let grpc = Grpc::new(ProstCodec::default())
        .max_decoding_message_size(message_bytes_max)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Deflate);
    match headers.get("grpc-encoding").map(|encoding| encoding.as_bytes()) {
        Some(b"gzip") => grpc.send_compressed(CompressionEncoding::Gzip),
        Some(b"deflate") => grpc.send_compressed(CompressionEncoding::Deflate),
        _ => grpc,
    }
}

/// tonic refused a message itself; it is counted, and where it is too long our own sentence names the limit.
fn unread(link: &Link, response: Response<Body>) -> Response<Body> {
    let Some(found) = Status::from_header_map(response.headers()) else { return response };
    let (kind, own) = tell_apart(link, &found);
    link.front.recorder.error(kind);
    own.map_or(response, Status::into_http)
}

/// What kind of error tonic means, and what to say in its place.
pub(super) fn tell_apart(link: &Link, found: &Status) -> (ErrorKind, Option<Status>) {
    match found.code() {
        Code::OutOfRange | Code::ResourceExhausted => {
            let error = ApiError::BodyTooLarge { limit: link.front.limits.body_bytes_max };
            (error.shown().kind, Some(status::of(&error)))
        }
        Code::DeadlineExceeded => (ErrorKind::SlowSender, None),
        Code::Unimplemented => (ErrorKind::Encoding, None),
        _ => (ErrorKind::BadInput, None),
    }
}

/// A function as one of tonic's services, called once.
struct Once<C>(Option<C>);

impl<C> Once<C> {
    fn only(&mut self) -> C {
        self.0.take().expect("tonic calls a service once for each request")
    }
}

impl<Q, R, C, F> UnaryService<Q> for Once<C>
where
    C: FnOnce(tonic::Request<Q>) -> F,
    F: Future<Output = Result<tonic::Response<R>, Status>>,
{
    type Response = R;
    type Future = F;

    fn call(&mut self, request: tonic::Request<Q>) -> F {
        self.only()(request)
    }
}

impl<Q, R, C, F> ServerStreamingService<Q> for Once<C>
where
    C: FnOnce(tonic::Request<Q>) -> F,
    F: Future<Output = Result<tonic::Response<Answers<R>>, Status>>,
{
    type Response = R;
    type ResponseStream = Answers<R>;
    type Future = F;

    fn call(&mut self, request: tonic::Request<Q>) -> F {
        self.only()(request)
    }
}

/// The same for a call that tonic wants to be able to move.
struct Sent<C>(SendWrapper<Once<C>>);

impl<Q, R, C, F> StreamingService<Q> for Sent<C>
where
    C: FnOnce(tonic::Request<Streaming<Q>>) -> F,
    F: Future<Output = Result<tonic::Response<Answers<R>>, Status>>,
{
    type Response = R;
    type ResponseStream = Answers<R>;
    type Future = F;

    fn call(&mut self, request: tonic::Request<Streaming<Q>>) -> F {
        self.0.only()(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        assert_eq!(timeout(b"20m"), Some(Duration::from_millis(20)));
        assert_eq!(timeout(b"99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(timeout(b"1n"), Some(Duration::from_nanos(1)));
        for wrong in [&b""[..], b"m", b"20", b"123456789u", b"-1m", b"2 m", b"1x"] {
            assert_eq!(timeout(wrong), None, "{}", String::from_utf8_lossy(wrong));
        }
    }
}
