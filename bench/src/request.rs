//! What is asked of a server and how its answers are checked, as a scenario says it.
//!
//! A [`Spec`] becomes a [`Target`]: every request is made before the load starts and the first few are asked once, so
//! that a mistake is told in the server's own words and not as a million failures. What a model takes is read from its
//! metadata unless `shape` and `datatype` say so. All requests of a target fit in [`PREPARED_BYTES_MAX`].
//! Deliberately absent: making requests under load, and text in tensors that come from files.

mod expectation;
mod npy;
mod oip;
mod oip_grpc;
pub mod questions;
mod raw;
#[cfg(test)]
mod tests;
mod tf_serving;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

use crate::address::Address;
use crate::grpc::GrpcError;
use crate::http::HttpError;
use crate::payload::{Datatype, Encoding, Input, PayloadError};
use crate::plan::{Request, Target, Transport};

/// Requests, and apart from them expected answers: what a small machine can spare beside the server under load.
pub const PREPARED_BYTES_MAX: usize = 256 << 20;
/// More different requests tell nothing new, and each has its own place in memory.
pub const VARIANTS_MAX: u64 = 100_000;

/// A server's reason for a refusal is a line or two; some add a stack trace.
const REFUSAL_BYTES_MAX: usize = 1_000;

/// All fields may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Spec {
    pub protocol: Protocol,
    /// Needed by every protocol but `http`.
    pub model: Option<String>,
    pub version: Option<u64>,
    /// Rows of each request.
    pub rows: u64,
    pub seed: u64,
    pub payload: Source,
    /// Of every element of a constant payload.
    pub value: Option<f64>,
    /// How many different random requests go out in turn.
    pub variants: u64,
    /// Of one row, instead of what the model's metadata say of its only input.
    pub shape: Option<Vec<u64>>,
    pub datatype: Option<String>,
    /// The name of the input of that shape.
    pub input: Option<String>,
    /// `http` only, as are the five that follow. POST unless told otherwise.
    pub method: Option<String>,
    pub path: Option<String>,
    /// `Content-Type` is `application/json` unless it stands here.
    pub headers: BTreeMap<String, String>,
    /// `{{seed}}`, `{{index}}` (which variant, from 0) and `{{random}}` (below 2³², a new one at each place) are
    /// replaced, in the path too.
    pub body: Option<String>,
    pub body_file: Option<PathBuf>,
    pub check: Check,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    #[default]
    OipBinary,
    OipJson,
    OipGrpc,
    TfServing,
    Http,
}

/// Where the values come from: "random", "constant" or a file's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum Source {
    #[default]
    Random,
    Constant,
    /// `.npy`: `rows` of its first axis at a time are a request, the last ones fewer. `.jsonl`: each line is a whole
    /// body, or `{"input": [...]}` with the values of the model's only input.
    File(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Check {
    /// Any from 200 to 299 unless told otherwise.
    pub status: Option<u16>,
    /// Every answer must equal the first one to the same request, byte by byte.
    pub same_answer: bool,
    /// `.npy`: `rows` of its first axis at a time are an answer. `.jsonl`: a line is one, of a form that servers answer
    /// or an array.
    pub reference: Option<PathBuf>,
    /// A value is right within `tolerance × (1 + |expected|)`.
    pub tolerance: f64,
    /// The only output that is compared.
    pub output: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("[request] {field}: {mend}")]
    Field { field: &'static str, mend: &'static str },
    #[error("can't read {path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}")]
    Npy { path: PathBuf, source: npy::NpyError },
    #[error("{path}, line {line}: {mend}")]
    Line { path: PathBuf, line: usize, mend: &'static str },
    #[error("the input '{input}' can't carry {value}; give values that its datatype holds")]
    Value { input: String, value: f64 },
    #[error(
        "{path} does not describe the model ({status}: {body}); if it is there, give shape = [...] and datatype"
    )]
    NoMetadata { path: String, status: u16, body: String },
    #[error("{path} is not JSON: {source}")]
    Metadata { path: String, source: serde_json::Error },
    #[error("the server answered request {request} with status {status}: {body}")]
    Refused { request: usize, status: u16, body: String },
    #[error("{requests} requests are asked and the reference has {answers} answers")]
    ReferenceCount { requests: usize, answers: usize },
    #[error(
        "the requests, their answers or a file of them take more than {PREPARED_BYTES_MAX} bytes; give fewer rows, variants or lines"
    )]
    TooMuch,
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Grpc(#[from] GrpcError),
    #[error(transparent)]
    Payload(#[from] PayloadError),
}

impl Default for Spec {
    fn default() -> Spec {
        Spec {
            protocol: Protocol::default(),
            model: None,
            version: None,
            rows: 1,
            seed: 1,
            payload: Source::default(),
            value: None,
            variants: 1,
            shape: None,
            datatype: None,
            input: None,
            method: None,
            path: None,
            headers: BTreeMap::new(),
            body: None,
            body_file: None,
            check: Check::default(),
        }
    }
}

impl Default for Check {
    fn default() -> Check {
        Check { status: None, same_answer: false, reference: None, tolerance: 1e-4, output: None }
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Source::Random => serializer.serialize_str("random"),
            Source::Constant => serializer.serialize_str("constant"),
            Source::File(path) => path.serialize(serializer),
        }
    }
}

impl From<String> for Source {
    fn from(text: String) -> Source {
        match &*text {
            "random" => Source::Random,
            "constant" => Source::Constant,
            _ => Source::File(text.into()),
        }
    }
}

/// Makes the requests, asks the first of them, and says what answers are right.
pub fn prepare(spec: &Spec, address: impl Into<Address>) -> Result<Target, RequestError> {
    spec.check()?;
    let address = address.into();
    let over_tcp = || address.tcp().ok_or(field("url", "gRPC is asked over TCP; give a port"));
    let requests = match spec.protocol {
        Protocol::OipBinary => oip::requests(spec, address, Encoding::Binary),
        Protocol::OipJson => oip::requests(spec, address, Encoding::Json),
        Protocol::TfServing => tf_serving::requests(spec, address),
        Protocol::Http => raw::requests(spec, address),
        Protocol::OipGrpc => oip_grpc::requests(spec, over_tcp()?),
    }?;
    let (transport, expected) = match spec.protocol {
        Protocol::OipGrpc => (Transport::Grpc, oip_grpc::expected(spec, over_tcp()?, &requests)?),
        _ => (Transport::Http1, expectation::of(spec, address, &requests)?),
    };
    let pairs = requests.into_iter().zip(expected);
    let requests = pairs.map(|(bytes, expect)| Request { bytes, expect }).collect();
    Ok(Target { address, transport, requests })
}

impl Spec {
    /// What can be known to be wrong before anything is read.
    pub fn check(&self) -> Result<(), RequestError> {
        let is_http = self.protocol == Protocol::Http;
        let has_template = self.method.is_some()
            || self.path.is_some()
            || self.body.is_some()
            || self.body_file.is_some()
            || !self.headers.is_empty();
        let has_tensor = self.shape.is_some() || self.payload == Source::Constant;
        let mistakes = [
            (self.rows == 0, field("rows", "give 1 or more")),
            (!(1..=VARIANTS_MAX).contains(&self.variants), field("variants", "give 1 to 100,000")),
            (
                self.variants > 1 && self.payload != Source::Random,
                field("variants", "only random payloads differ; leave it out"),
            ),
            (
                self.value.is_some() != (self.payload == Source::Constant),
                field(
                    "value",
                    "give a number together with payload = \"constant\", and only there",
                ),
            ),
            (
                self.datatype.is_some() != self.shape.is_some(),
                field("datatype", "give shape = [...] and datatype = \"FP32\" together"),
            ),
            (
                !is_http && has_template,
                field("protocol", "method, path, headers and body are for \"http\""),
            ),
            (is_http && has_tensor, field("payload", "with \"http\", give body or a .jsonl file")),
            (
                self.body.is_some() && self.body_file.is_some(),
                field("body-file", "give this or body, not both"),
            ),
            (
                !(self.check.tolerance >= 0.0 && self.check.tolerance.is_finite()),
                field("check.tolerance", "give a number from 0 on"),
            ),
        ];
        mistakes.into_iter().find(|(is_wrong, _)| *is_wrong).map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Relative files are beside the scenario that names them.
    pub fn beside(mut self, folder: &Path) -> Spec {
        let payload = match &mut self.payload {
            Source::File(path) => Some(path),
            Source::Random | Source::Constant => None,
        };
        let files = [payload, self.body_file.as_mut(), self.check.reference.as_mut()];
        files.into_iter().flatten().for_each(|path| *path = folder.join(&path));
        self
    }

    /// The model's path under a protocol's root.
    fn model_path(&self, root: &str) -> Result<String, RequestError> {
        let model = self.model.as_deref().ok_or(field("model", "name the model to ask"))?;
        if model.is_empty() || model.contains(|sign: char| !sign.is_ascii_graphic()) {
            return Err(field("model", "give a name without spaces, as it stands in the path"));
        }
        let version = self.version.map_or_else(String::new, |number| format!("/versions/{number}"));
        Ok(format!("{root}/{model}{version}"))
    }

    /// The only input, where `shape` and `datatype` are given.
    pub fn given_input(&self) -> Result<Option<Input>, RequestError> {
        let (Some(within), Some(name)) = (&self.shape, &self.datatype) else { return Ok(None) };
        let datatype = Datatype::from_name(name)
            .ok_or(field("datatype", "give one of the protocol's, as \"FP32\" or \"INT64\""))?;
        let shape: Vec<u64> = [self.rows].iter().chain(within).copied().collect();
        questions::elements(&shape).ok_or(field("shape", "give fewer elements or rows"))?;
        let input = self.input.clone().ok_or(field("input", "name the input of this shape"))?;
        Ok(Some(Input { name: input, datatype_name: name.clone(), datatype, shape }))
    }
}

/// Requests as they are made, within the limit.
#[derive(Default)]
struct Prepared {
    requests: Vec<Vec<u8>>,
    bytes: usize,
}

impl Prepared {
    fn push(&mut self, request: Vec<u8>) -> Result<(), RequestError> {
        self.bytes += request.len();
        if self.bytes > PREPARED_BYTES_MAX {
            return Err(RequestError::TooMuch);
        }
        self.requests.push(request);
        Ok(())
    }
}

/// What is shown of a server's own words.
fn shown(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(REFUSAL_BYTES_MAX)]).into_owned()
}

fn field(field: &'static str, mend: &'static str) -> RequestError {
    RequestError::Field { field, mend }
}
