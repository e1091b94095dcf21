//! How servers are asked for one row's answer, and where the answer lies in what they say. Pure.

use std::fmt::Write;
use std::net::SocketAddr;

use prost::Message;
use schemas::inference::ModelInferResponse;

use super::OverheadError;
use crate::floor::ANSWER;
use crate::grpc::{self, floor};
use crate::http::exchange;
use crate::payload::{Encoding, Input, Payload, Values, floats, http_request, payload};
use crate::plan::{Expect, Target, Transport};

/// One row, as in the figures of peers.
const FEATURES: u64 = 784;

/// How a row travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A raw tensor over HTTP/1.1.
    Binary,
    Json,
    /// A raw tensor over gRPC.
    Grpc,
}

impl Form {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Form::Binary => "bin",
            Form::Json => "json",
            Form::Grpc => "grpc",
        }
    }

    /// By the name above.
    pub(crate) fn from_name(name: &str) -> Option<Form> {
        [Form::Binary, Form::Json, Form::Grpc].into_iter().find(|form| form.name() == name)
    }

    pub(crate) fn encoding(self) -> Encoding {
        match self {
            Form::Binary | Form::Grpc => Encoding::Binary,
            Form::Json => Encoding::Json,
        }
    }
}

/// In which words a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Reads anything, answers the same.
    Floor,
    Oip,
    /// A raw tensor each way, or `{"x": [...]}` and `{"y": ...}`.
    Plain,
    /// The same, but raw tensors travel in the JSON, as base64.
    Base64,
    /// The protocol over gRPC.
    Grpc,
    /// Reads any of it, answers the same.
    GrpcFloor,
}

impl Dialect {
    /// The protocol as this form has it.
    pub(crate) fn oip(form: Form) -> Dialect {
        if form == Form::Grpc { Dialect::Grpc } else { Dialect::Oip }
    }

    pub(crate) fn is_grpc(self) -> bool {
        matches!(self, Dialect::Grpc | Dialect::GrpcFloor)
    }
}

/// What a server said to a question.
pub(crate) struct Said {
    /// It calls this an answer.
    pub(crate) is_answer: bool,
    pub(crate) body: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) dialect: Dialect,
    pub(crate) encoding: Encoding,
    pub(crate) model: &'a str,
}

/// The row that a seed stands for.
pub(crate) fn row(seed: u64) -> Vec<f32> {
    floats(&input(), seed)
}

fn input() -> Input {
    Input::fp32("x", &[1, FEATURES])
}

impl Question<'_> {
    /// Asks once, on a connection of its own.
    pub(crate) fn ask(&self, server: SocketAddr, request: &[u8]) -> Result<Said, OverheadError> {
        if self.dialect.is_grpc() {
            return Ok(Said { is_answer: true, body: grpc::ask(server, request)? });
        }
        let answer = exchange(server, request)?;
        Ok(Said { is_answer: answer.status == 200, body: answer.body })
    }

    /// The load that this request makes, every answer to be as expected.
    pub(crate) fn target(
        &self,
        server: SocketAddr,
        request: Vec<u8>,
        body: Option<Vec<u8>>,
    ) -> Target {
        let is_grpc = self.dialect.is_grpc();
        let status = Some(if is_grpc { 0 } else { 200 });
        let target = Target::one(server, request, Expect { status, body, values: None });
        let transport = if is_grpc { Transport::Grpc } else { Transport::Http1 };
        Target { transport, ..target }
    }

    pub(crate) fn request(&self, server: SocketAddr, seed: u64) -> Vec<u8> {
        let host = server.to_string();
        match (self.dialect, self.encoding) {
            (Dialect::Grpc | Dialect::GrpcFloor, _) => {
                grpc::message(self.model, None, &[input()], Values::random(seed))
            }
            (Dialect::Floor | Dialect::Oip, encoding) => {
                let path = format!("/v2/models/{}/infer", self.model);
                http_request(&host, &path, &payload(encoding, &[input()], seed))
            }
            (_, Encoding::Json) => http_request(&host, "/inference", &json(numbers(&row(seed)))),
            (Dialect::Plain, Encoding::Binary) => {
                let content_type = "application/octet-stream";
                let payload = Payload { content_type, header_bytes: None, body: raw(&row(seed)) };
                http_request(&host, "/inference", &payload)
            }
            (Dialect::Base64, Encoding::Binary) => {
                let text = format!("\"{}\"", base64(&raw(&row(seed))));
                http_request(&host, "/inference", &json(text))
            }
        }
    }

    /// The model's answer to the row: empty from the floor, which computes nothing; `None` where it can't be read.
    pub(crate) fn answer(&self, body: &[u8]) -> Option<Vec<f32>> {
        match (self.dialect, self.encoding) {
            (Dialect::Floor, _) => (body == ANSWER.as_bytes()).then(Vec::new),
            (Dialect::GrpcFloor, _) => (body == floor::answer().encode_to_vec()).then(Vec::new),
            (Dialect::Grpc, _) => {
                let answer = ModelInferResponse::decode(body).ok()?;
                of_raw(answer.raw_output_contents.first()?)
            }
            (Dialect::Oip, Encoding::Json) => oip_data(body),
            (Dialect::Oip, Encoding::Binary) => of_raw(after_json(body)?),
            (Dialect::Plain, Encoding::Binary) => of_raw(body),
            (Dialect::Base64, Encoding::Binary) => {
                of_raw(&of_base64(parsed(body)?["y"].as_str()?)?)
            }
            (Dialect::Plain | Dialect::Base64, Encoding::Json) => of_json(&parsed(body)?["y"]),
        }
    }
}

fn parsed(body: &[u8]) -> Option<serde_json::Value> {
    serde_json::from_slice(body).ok()
}

fn oip_data(body: &[u8]) -> Option<Vec<f32>> {
    of_json(&parsed(body)?["outputs"][0]["data"])
}

/// A number, or a list of numbers.
fn of_json(value: &serde_json::Value) -> Option<Vec<f32>> {
    match value.as_array() {
        Some(values) => values.iter().map(|value| Some(value.as_f64()? as f32)).collect(),
        None => Some(vec![value.as_f64()? as f32]),
    }
}

/// The bytes after the JSON at the start.
pub(crate) fn after_json(body: &[u8]) -> Option<&[u8]> {
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<serde_json::Value>();
    values.next()?.ok()?;
    body.get(values.byte_offset()..)
}

fn raw(row: &[f32]) -> Vec<u8> {
    row.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub(crate) fn of_raw(bytes: &[u8]) -> Option<Vec<f32>> {
    let (values, rest) = bytes.as_chunks();
    rest.is_empty().then(|| values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

fn json(x: String) -> Payload {
    let body = format!("{{\"x\":{x}}}").into_bytes();
    Payload { content_type: "application/json", header_bytes: None, body }
}

fn numbers(row: &[f32]) -> String {
    let mut text = String::from("[");
    for (index, value) in row.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(text, "{comma}{value:.4}");
    }
    text.push(']');
    text
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let of = |index| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = of(0) << 16 | of(1) << 8 | of(2);
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 63;
            text.push(if digit > group.len() { '=' } else { char::from(DIGITS[value as usize]) });
        }
    }
    text
}

fn of_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in text.as_bytes().chunks(4) {
        let digits = group.split(|&byte| byte == b'=').next()?;
        let values = digits.iter().map(|byte| DIGITS.iter().position(|digit| digit == byte));
        let values = values.collect::<Option<Vec<_>>>()?;
        let of = |index: usize| values.get(index).copied().unwrap_or(0) as u32;
        let bits = of(0) << 18 | of(1) << 12 | of(2) << 6 | of(3);
        bytes.extend_from_slice(&bits.to_be_bytes()[1..values.len().max(1)]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(dialect: Dialect, encoding: Encoding) -> Question<'static> {
        Question { dialect, encoding, model: "noop" }
    }

    #[test]
    fn base64_is_that_of_the_standard() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
            assert_eq!(of_base64(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(of_base64("Zm9?"), None);
    }

    #[test]
    fn every_dialect_says_the_same_row() {
        let server = SocketAddr::from(([127, 0, 0, 1], 1));
        let body = |dialect, encoding| {
            let request = question(dialect, encoding).request(server, 7);
            let start = request.windows(4).position(|end| end == b"\r\n\r\n").expect("a head") + 4;
            request[start..].to_vec()
        };
        assert_eq!(of_raw(&body(Dialect::Plain, Encoding::Binary)), Some(row(7)));
        assert_eq!(
            after_json(&body(Dialect::Oip, Encoding::Binary)).and_then(of_raw),
            Some(row(7))
        );
        let wrapped = parsed(&body(Dialect::Base64, Encoding::Binary)).expect("JSON");
        let inner = wrapped["x"].as_str().and_then(of_base64).expect("base64");
        assert_eq!(of_raw(&inner), Some(row(7)));
        let plain = parsed(&body(Dialect::Plain, Encoding::Json)).expect("JSON");
        assert_eq!(of_json(&plain["x"]), Some(row(7)));
        let oip = parsed(&body(Dialect::Oip, Encoding::Json)).expect("JSON");
        assert_eq!(of_json(&oip["inputs"][0]["data"]), Some(row(7)));
    }

    #[test]
    fn answers_are_found_in_what_servers_say() {
        let two = [1.5_f32, -2.0].map(f32::to_le_bytes).concat();
        let oip = [br#"{"outputs":[{"name":"y"}]}"#, &two[..]].concat();
        let found = question(Dialect::Oip, Encoding::Binary).answer(&oip);
        assert_eq!(found, Some(vec![1.5, -2.0]));
        let sum = question(Dialect::Plain, Encoding::Json).answer(br#"{"y": 391.5}"#);
        assert_eq!(sum, Some(vec![391.5]));
        assert_eq!(question(Dialect::Plain, Encoding::Binary).answer(b"wrong"), None);
        assert_eq!(question(Dialect::Floor, Encoding::Json).answer(b"anything"), None);
    }
}
