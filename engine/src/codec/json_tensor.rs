//! The inference request of the Open Inference Protocol, read in one pass, and the values of an answer.
//!
//! Keys may come in any order; unknown ones are passed over. A tensor's `data` goes straight into rows of its
//! datatype once name, datatype and shape are known; where it comes before them, the scanner comes back for it.
//! Deliberately absent: a tree of values. Nothing is allocated per number.

use std::borrow::Cow;
use std::num::NonZeroU32;

use schemas::tensor::{DType, RANK_MAX, Shape, TENSORS_MAX, elements};
use smallvec::{Array, SmallVec};

use crate::client_shm::region::Place;
use crate::codec::fault::{InputFault, excerpt, shape_text};
use crate::query::types::TensorData;

pub mod flat;
mod lists;
mod number;
mod place;
mod scan;
pub mod write;

use self::place::PlaceParameters;
use self::scan::Scanner;

/// A request as its author wrote it, not yet compared with a model.
#[derive(Debug, Default)]
pub struct InferRequest<'a> {
    pub id: Option<Cow<'a, str>>,
    /// Parameter `timeout`, µs; absent when 0.
    pub timeout_us: Option<u64>,
    /// Parameter `priority`: 1 is the highest; absent when 0.
    pub priority: Option<NonZeroU32>,
    /// Parameter `foil_class`: the name of an SLO class.
    pub class: Option<Cow<'a, str>>,
    /// Parameter `binary_data_output`: the default for all outputs.
    pub binary_output: bool,
    pub inputs: SmallVec<[RequestInput<'a>; 1]>,
    /// Empty: all outputs of the model.
    pub outputs: SmallVec<[RequestOutput<'a>; 1]>,
}

#[derive(Debug)]
pub struct RequestInput<'a> {
    pub name: Cow<'a, str>,
    pub dtype: DType,
    pub shape: Shape,
    /// The product of the shape.
    pub elements: u64,
    pub data: InputData,
}

#[derive(Debug, PartialEq)]
pub enum InputData {
    Here(TensorData),
    /// `size` bytes behind the JSON.
    Behind {
        size: u64,
    },
    /// In client shared memory.
    Shared(Place),
}

#[derive(Debug)]
pub struct RequestOutput<'a> {
    pub name: Cow<'a, str>,
    /// Parameter `binary_data`: overrides the request's default.
    pub binary: Option<bool>,
    /// Parameter `classification`: so many of the largest scores, as text; absent when 0.
    pub classes: Option<NonZeroU32>,
    /// Where in client shared memory it is to go.
    pub place: Option<Box<Place>>,
}

/// Reads one request. `json` is the whole JSON and nothing else.
pub fn parse_request(json: &[u8]) -> Result<InferRequest<'_>, InputFault> {
    let mut scan = Scanner::new(json);
    let mut request = InferRequest::default();
    let (mut id, mut parameters, mut inputs, mut outputs) = (false, false, false, false);
    scan.members(|scan, key| match key {
        "id" => {
            once(&mut id, "id", scan)?;
            request.id = optional(scan, |scan| text(scan, "id"))?;
            Ok(())
        }
        "parameters" => {
            once(&mut parameters, "parameters", scan)?;
            optional(scan, |scan| request_parameters(scan, &mut request)).map(drop)
        }
        "inputs" => {
            once(&mut inputs, "inputs", scan)?;
            list(scan, "inputs", |scan| push(&mut request.inputs, input(scan)?))
        }
        "outputs" => {
            once(&mut outputs, "outputs", scan)?;
            optional(scan, |scan| {
                list(scan, "outputs", |scan| push(&mut request.outputs, output(scan)?))
            })
            .map(drop)
        }
        _ => scan.skip(),
    })?;
    scan.end()?;
    if request.inputs.is_empty() {
        return Err(InputFault::NoInputs);
    }
    refuse_duplicates(request.inputs.iter().map(|input| &*input.name))?;
    refuse_duplicates(request.outputs.iter().map(|output| &*output.name))?;
    Ok(request)
}

fn once(seen: &mut bool, key: &'static str, scan: &Scanner<'_>) -> Result<(), InputFault> {
    if std::mem::replace(seen, true) {
        return Err(InputFault::DuplicateKey { key, at: scan.at });
    }
    Ok(())
}

fn push<A: Array>(list: &mut SmallVec<A>, item: A::Item) -> Result<(), InputFault> {
    if list.len() == TENSORS_MAX {
        return Err(InputFault::TooManyTensors);
    }
    list.push(item);
    Ok(())
}

/// Quadratic in at most [`TENSORS_MAX`] names.
fn refuse_duplicates<'n>(names: impl Iterator<Item = &'n str> + Clone) -> Result<(), InputFault> {
    for (index, name) in names.clone().enumerate() {
        if names.clone().take(index).any(|earlier| earlier == name) {
            return Err(InputFault::DuplicateTensor { tensor: excerpt(name) });
        }
    }
    Ok(())
}

/// Libraries write `null` for what their caller left out.
fn optional<'a, T>(
    scan: &mut Scanner<'a>,
    read: impl FnOnce(&mut Scanner<'a>) -> Result<T, InputFault>,
) -> Result<Option<T>, InputFault> {
    if scan.word(b"null") { Ok(None) } else { read(scan).map(Some) }
}

fn list<'a>(
    scan: &mut Scanner<'a>,
    key: &'static str,
    each: impl FnMut(&mut Scanner<'a>) -> Result<(), InputFault>,
) -> Result<(), InputFault> {
    require(scan, b"[", key, "a list")?;
    scan.elements(each)
}

/// The next token must start with one of `first`.
fn require(
    scan: &mut Scanner<'_>,
    first: &[u8],
    key: &'static str,
    expected: &'static str,
) -> Result<(), InputFault> {
    if first.contains(&scan.peek()) { Ok(()) } else { Err(wrong_kind(*scan, key, expected)) }
}

fn wrong_kind(scan: Scanner<'_>, key: &'static str, expected: &'static str) -> InputFault {
    scan.or_truncated(InputFault::WrongKind { key, at: scan.at, expected })
}

fn text<'a>(scan: &mut Scanner<'a>, key: &'static str) -> Result<Cow<'a, str>, InputFault> {
    require(scan, b"\"", key, "a string")?;
    scan.string()
}

fn whole(scan: &mut Scanner<'_>, key: &'static str) -> Result<u64, InputFault> {
    const EXPECTED: &str = "a whole number, 0 or more";
    require(scan, b"0123456789-", key, EXPECTED)?;
    let decimal = scan.decimal()?;
    if decimal.whole && decimal.complete && !decimal.negative {
        return Ok(decimal.mantissa);
    }
    Err(InputFault::WrongKind { key, at: scan.at, expected: EXPECTED })
}

fn flag(scan: &mut Scanner<'_>, key: &'static str) -> Result<bool, InputFault> {
    match () {
        () if scan.word(b"true") => Ok(true),
        () if scan.word(b"false") => Ok(false),
        () => Err(wrong_kind(*scan, key, "true or false")),
    }
}

fn request_parameters<'a>(
    scan: &mut Scanner<'a>,
    request: &mut InferRequest<'a>,
) -> Result<(), InputFault> {
    let (mut timeout, mut binary, mut class, mut priority) = (false, false, false, false);
    require(scan, b"{", "parameters", "an object")?;
    scan.members(|scan, key| match key {
        "timeout" => {
            once(&mut timeout, "timeout", scan)?;
            request.timeout_us = Some(whole(scan, "timeout")?).filter(|us| *us > 0);
            Ok(())
        }
        "binary_data_output" => {
            once(&mut binary, "binary_data_output", scan)?;
            request.binary_output = flag(scan, "binary_data_output")?;
            Ok(())
        }
        "foil_class" => {
            once(&mut class, "foil_class", scan)?;
            request.class = optional(scan, |scan| text(scan, "foil_class"))?;
            Ok(())
        }
        "priority" => {
            once(&mut priority, "priority", scan)?;
            request.priority = number(scan, "priority")?;
            Ok(())
        }
        "sequence_id" => no_sequence(scan),
        _ if is_reserved(key) => Err(InputFault::ReservedParameter { found: excerpt(key) }),
        _ => scan.skip(),
    })
}

/// What the protocol's widest-used server keeps for itself.
const RESERVED: &str = "triton_";
/// Of those, what clients send all the same: it means something to streams alone.
const LET_PASS: [&str; 1] = ["triton_enable_empty_final_response"];

/// Whether a parameter of this name is refused.
pub fn is_reserved(key: &str) -> bool {
    key.starts_with(RESERVED) && !LET_PASS.contains(&key)
}

/// A small whole number, absent when 0.
fn number(scan: &mut Scanner<'_>, key: &'static str) -> Result<Option<NonZeroU32>, InputFault> {
    let number = u32::try_from(whole(scan, key)?).map_err(|_| InputFault::WrongKind {
        key,
        at: scan.at,
        expected: "a whole number below 2 to the 32nd",
    })?;
    Ok(NonZeroU32::new(number))
}

/// A number or a text; 0 and the empty text belong to no sequence.
fn no_sequence(scan: &mut Scanner<'_>) -> Result<(), InputFault> {
    const KEY: &str = "sequence_id";
    let none = match scan.peek() {
        b'"' => text(scan, KEY)?.is_empty(),
        _ => whole(scan, KEY)? == 0,
    };
    if none { Ok(()) } else { Err(NO_SEQUENCES) }
}

const NO_SEQUENCES: InputFault = InputFault::NotOffered {
    what: "sequence_id",
    instead: "send the whole sequence in one request, or leave sequence_id out",
};

/// An input while its members arrive in any order.
#[derive(Default)]
struct Pending<'a> {
    name: Option<Cow<'a, str>>,
    dtype: Option<Result<DType, String>>,
    shape: Option<Shape>,
    /// Where `data` starts; it is read at once when the rest is known.
    data_at: Option<usize>,
    data: Option<TensorData>,
    binary_size: Option<u64>,
    place: PlaceParameters,
    parameters: bool,
}

fn input<'a>(scan: &mut Scanner<'a>) -> Result<RequestInput<'a>, InputFault> {
    let mut pending = Pending::default();
    require(scan, b"{", "inputs", "a list of objects")?;
    scan.members(|scan, key| pending.member(scan, key))?;
    pending.finish(scan)
}

impl<'a> Pending<'a> {
    fn member(&mut self, scan: &mut Scanner<'a>, key: &str) -> Result<(), InputFault> {
        match key {
            "name" => set(&mut self.name, "name", scan, |scan| text(scan, "name")),
            "datatype" => set(&mut self.dtype, "datatype", scan, |scan| {
                let name = text(scan, "datatype")?;
                Ok(DType::from_oip(&name).ok_or_else(|| excerpt(&name)))
            }),
            "shape" => set(&mut self.shape, "shape", scan, shape),
            "data" => {
                set(&mut self.data_at, "data", scan, |scan| Ok(scan.at))?;
                self.data_member(scan)
            }
            "parameters" => {
                once(&mut self.parameters, "parameters", scan)?;
                optional(scan, |scan| self.parameters(scan)).map(drop)
            }
            _ => scan.skip(),
        }
    }

    fn data_member(&mut self, scan: &mut Scanner<'a>) -> Result<(), InputFault> {
        if self.name.is_none() || self.dtype.is_none() || self.shape.is_none() {
            return scan.skip();
        }
        let data = lists::read(scan, self.head(scan.at)?)?;
        self.data = Some(data);
        Ok(())
    }

    fn parameters(&mut self, scan: &mut Scanner<'a>) -> Result<(), InputFault> {
        require(scan, b"{", "parameters", "an object")?;
        scan.members(|scan, key| match key {
            "binary_data_size" => set(&mut self.binary_size, "binary_data_size", scan, |scan| {
                whole(scan, "binary_data_size")
            }),
            _ => self.place.member(scan, key),
        })
    }

    /// What must be known before data can be read; `at` is where the tensor was looked at.
    fn head(&self, at: usize) -> Result<lists::Head<'_>, InputFault> {
        let missing = |key| InputFault::MissingKey { key, at };
        let name = self.name.as_deref().ok_or(missing("name"))?;
        let dtype = self.dtype.as_ref().ok_or(missing("datatype"))?;
        let dtype = dtype.as_ref().map_err(|found| InputFault::UnknownDatatype {
            tensor: excerpt(name),
            found: found.clone(),
        })?;
        let shape = self.shape.as_ref().ok_or(missing("shape"))?;
        if shape.len() > RANK_MAX {
            return Err(InputFault::RankTooHigh { tensor: excerpt(name) });
        }
        let elements = elements(shape).ok_or_else(|| InputFault::ShapeTooLarge {
            tensor: excerpt(name),
            shape: shape_text(shape),
        })?;
        Ok(lists::Head { name, dtype: *dtype, shape, elements, form: lists::Form::Lists })
    }

    fn finish(mut self, scan: &Scanner<'a>) -> Result<RequestInput<'a>, InputFault> {
        let (read, place) = (self.data.take(), self.place.finish()?);
        let head = self.head(scan.at)?;
        let (dtype, elements) = (head.dtype, head.elements);
        let tensor = || excerpt(head.name);
        let data = match (read, self.data_at, self.binary_size, place) {
            (Some(data), _, None, None) => InputData::Here(data),
            (None, Some(at), None, None) => {
                InputData::Here(lists::read(&mut Scanner { at, ..*scan }, head)?)
            }
            (_, None, Some(size), None) => InputData::Behind { size },
            (_, None, None, Some(place)) => InputData::Shared(*place),
            (None, None, None, None) => return Err(InputFault::NoData { tensor: tensor() }),
            _ => return Err(InputFault::DataTwice { tensor: tensor() }),
        };
        let missing = |key| InputFault::MissingKey { key, at: scan.at };
        let name = self.name.ok_or(missing("name"))?;
        let shape = self.shape.ok_or(missing("shape"))?;
        Ok(RequestInput { name, dtype, shape, elements, data })
    }
}

/// Reads a value that may come once.
fn set<'a, T>(
    slot: &mut Option<T>,
    key: &'static str,
    scan: &mut Scanner<'a>,
    read: impl FnOnce(&mut Scanner<'a>) -> Result<T, InputFault>,
) -> Result<(), InputFault> {
    if slot.is_some() {
        return Err(InputFault::DuplicateKey { key, at: scan.at });
    }
    scan.peek();
    *slot = Some(read(scan)?);
    Ok(())
}

fn shape(scan: &mut Scanner<'_>) -> Result<Shape, InputFault> {
    let mut shape = Shape::new();
    list(scan, "shape", |scan| {
        // One more than a tensor may have is kept, so that the refusal can name the tensor.
        let size = whole(scan, "shape")?;
        if shape.len() <= RANK_MAX {
            shape.push(size);
        }
        Ok(())
    })?;
    Ok(shape)
}

fn output<'a>(scan: &mut Scanner<'a>) -> Result<RequestOutput<'a>, InputFault> {
    let (mut name, mut parameters) = (None, false);
    let mut wanted = OutputParameters::default();
    require(scan, b"{", "outputs", "a list of objects")?;
    scan.members(|scan, key| match key {
        "name" => set(&mut name, "name", scan, |scan| text(scan, "name")),
        "parameters" => {
            once(&mut parameters, "parameters", scan)?;
            optional(scan, |scan| wanted.read(scan)).map(drop)
        }
        _ => scan.skip(),
    })?;
    let name = name.ok_or(InputFault::MissingKey { key: "name", at: scan.at })?;
    let OutputParameters { binary, classes, mut place } = wanted;
    let (classes, place) = (classes.flatten(), place.finish()?);
    Ok(RequestOutput { name, binary, classes, place })
}

#[derive(Default)]
struct OutputParameters {
    binary: Option<bool>,
    classes: Option<Option<NonZeroU32>>,
    place: PlaceParameters,
}

impl OutputParameters {
    fn read(&mut self, scan: &mut Scanner<'_>) -> Result<(), InputFault> {
        require(scan, b"{", "parameters", "an object")?;
        scan.members(|scan, key| match key {
            "binary_data" => {
                set(&mut self.binary, "binary_data", scan, |scan| flag(scan, "binary_data"))
            }
            "classification" => set(&mut self.classes, "classification", scan, |scan| {
                number(scan, "classification")
            }),
            _ => self.place.member(scan, key),
        })
    }
}

#[cfg(test)]
mod tests;
