//! The header ahead of a batch, of its reply, and of a failure.

use flatbuffers::FlatBufferBuilder;

use crate::error::SchemaError;
use crate::generated as fb;
use crate::tensor::Placement;
use crate::wire;

/// The head of every slot belongs to the header; tensors start behind it. One page.
pub const HEADER_BYTES_MAX: usize = 4096;

/// Bytes of a failure's message: what is left of a header after its other fields, with room to spare.
const MESSAGE_BYTES_MAX: usize = 3 * 1024;

/// What lies in a slot: a batch's inputs on the way out, its outputs on the way back.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BatchHeader {
    pub batch_id: u64,
    pub rows: u32,
    /// In the order the model declares them.
    pub tensors: Vec<Placement>,
}

/// Why a batch has no outputs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailureKind {
    /// The model raised (or panicked).
    Raised,
    /// The model says that the input is the caller's fault.
    InputRefused,
    /// What the model returned is not what it declares.
    BadOutput,
    /// What the model returned does not fit its slot.
    OutputTooLarge,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    pub kind: FailureKind,
    pub message: String,
    /// The row of the batch that is at fault, where one is named.
    pub row: Option<u32>,
}

/// Builds headers into a buffer it keeps: no allocation once warm.
#[derive(Default)]
pub struct HeaderWriter {
    builder: FlatBufferBuilder<'static>,
}

impl HeaderWriter {
    pub fn new() -> HeaderWriter {
        HeaderWriter { builder: FlatBufferBuilder::with_capacity(HEADER_BYTES_MAX) }
    }

    pub fn request(&mut self, header: &BatchHeader) -> Result<&[u8], SchemaError> {
        let tensors = self.tensors(header)?;
        let args = fb::RequestArgs {
            batch_id: header.batch_id,
            rows: header.rows,
            tensors: Some(tensors),
        };
        let root = fb::Request::create(&mut self.builder, &args);
        self.builder.finish_minimal(root);
        self.finished()
    }

    pub fn reply(&mut self, header: &BatchHeader) -> Result<&[u8], SchemaError> {
        let tensors = self.tensors(header)?;
        let args =
            fb::ReplyArgs { batch_id: header.batch_id, rows: header.rows, tensors: Some(tensors) };
        let root = fb::Reply::create(&mut self.builder, &args);
        self.builder.finish_minimal(root);
        self.finished()
    }

    /// A long message is cut at a character's boundary.
    pub fn failure(&mut self, batch_id: u64, failure: &Failure) -> Result<&[u8], SchemaError> {
        self.builder.reset();
        let message = self.builder.create_string(cut(&failure.message, MESSAGE_BYTES_MAX));
        let args = fb::FailureArgs {
            batch_id,
            kind: failure_kind_wire(failure.kind),
            message: Some(message),
            row: failure.row.map_or(-1, i64::from),
        };
        let root = fb::Failure::create(&mut self.builder, &args);
        self.builder.finish_minimal(root);
        self.finished()
    }

    fn tensors(&mut self, header: &BatchHeader) -> Result<Vectors, SchemaError> {
        wire::count(header.tensors.len())?;
        self.builder.reset();
        let placements: smallvec::SmallVec<[_; 8]> = header
            .tensors
            .iter()
            .map(|placement| wire::write_placement(&mut self.builder, placement))
            .collect();
        Ok(self.builder.create_vector(&placements))
    }

    fn finished(&self) -> Result<&[u8], SchemaError> {
        let bytes = self.builder.finished_data();
        if bytes.len() > HEADER_BYTES_MAX {
            return Err(SchemaError::HeaderTooLarge { bytes: bytes.len() });
        }
        Ok(bytes)
    }
}

type Vectors = flatbuffers::WIPOffset<
    flatbuffers::Vector<'static, flatbuffers::ForwardsUOffset<fb::Placement<'static>>>,
>;

/// Reads a request's header out of a private copy. Placements still need [`Placement::check`].
pub fn read_request(copy: &[u8], into: &mut BatchHeader) -> Result<(), SchemaError> {
    let table = flatbuffers::root_with_opts::<fb::Request<'_>>(&options(), copy)?;
    into.batch_id = table.batch_id();
    into.rows = table.rows();
    wire::read_placements(table.tensors(), &mut into.tensors)
}

/// Reads a reply's header out of a private copy. Placements still need [`Placement::check`].
pub fn read_reply(copy: &[u8], into: &mut BatchHeader) -> Result<(), SchemaError> {
    let table = flatbuffers::root_with_opts::<fb::Reply<'_>>(&options(), copy)?;
    into.batch_id = table.batch_id();
    into.rows = table.rows();
    wire::read_placements(table.tensors(), &mut into.tensors)
}

/// Reads a failure out of a private copy: the batch's id and what went wrong.
pub fn read_failure(copy: &[u8]) -> Result<(u64, Failure), SchemaError> {
    let table = flatbuffers::root_with_opts::<fb::Failure<'_>>(&options(), copy)?;
    let failure = Failure {
        kind: failure_kind(table.kind())?,
        message: cut(table.message().unwrap_or_default(), MESSAGE_BYTES_MAX).to_owned(),
        row: u32::try_from(table.row()).ok(),
    };
    Ok((table.batch_id(), failure))
}

fn options() -> flatbuffers::VerifierOptions {
    wire::options(2 * HEADER_BYTES_MAX)
}

fn failure_kind(kind: fb::FailureKind) -> Result<FailureKind, SchemaError> {
    match kind {
        fb::FailureKind::Raised => Ok(FailureKind::Raised),
        fb::FailureKind::InputRefused => Ok(FailureKind::InputRefused),
        fb::FailureKind::BadOutput => Ok(FailureKind::BadOutput),
        fb::FailureKind::OutputTooLarge => Ok(FailureKind::OutputTooLarge),
        fb::FailureKind(value) => {
            Err(SchemaError::UnknownValue { field: "kind", value: u64::from(value) })
        }
    }
}

fn failure_kind_wire(kind: FailureKind) -> fb::FailureKind {
    match kind {
        FailureKind::Raised => fb::FailureKind::Raised,
        FailureKind::InputRefused => fb::FailureKind::InputRefused,
        FailureKind::BadOutput => fb::FailureKind::BadOutput,
        FailureKind::OutputTooLarge => fb::FailureKind::OutputTooLarge,
    }
}

/// At most `bytes_max` bytes of `text`, cut between characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests;
