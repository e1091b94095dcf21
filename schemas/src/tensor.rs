//! Datatypes, declared tensors, and where a tensor lies in a slot.

use smallvec::SmallVec;

use crate::error::SchemaError;
use crate::predict::HEADER_BYTES_MAX;

/// Dimensions of one tensor; NumPy's own limit is 64, real models stay below 6.
pub const RANK_MAX: usize = 8;
/// Inputs, or outputs, of one model; keeps a header under [`HEADER_BYTES_MAX`].
pub const TENSORS_MAX: usize = 24;
/// Tensors start on a cache line, which also serves every SIMD load.
pub const TENSOR_ALIGN: usize = 64;
/// Bytes of one entry of an offsets table.
const OFFSET_BYTES: usize = 4;

/// Dimensions, outermost first. Four fit without an allocation.
pub type Shape = SmallVec<[u64; 4]>;

macro_rules! dtypes {
    ($($name:ident = $wire:literal, $size:expr, $short:literal, $oip:literal;)*) => {
        /// What a tensor's elements are. `Bytes` and `Str` have elements of their own length each.
        #[repr(u8)]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum DType { $($name = $wire),* }

        impl DType {
            pub const ALL: [DType; 15] = [$(DType::$name),*];

            /// Bytes of one element; `None` for variable-length ones.
            pub const fn size_bytes(self) -> Option<usize> {
                match self { $(DType::$name => $size),* }
            }

            /// The name in Python annotations and native models: `f32`, `str`, …
            pub const fn name(self) -> &'static str {
                match self { $(DType::$name => $short),* }
            }

            /// The name in the Open Inference Protocol; `Bytes` and `Str` share one.
            pub const fn oip_name(self) -> &'static str {
                match self { $(DType::$name => $oip),* }
            }

            pub fn from_wire(wire: u8) -> Option<DType> {
                match wire { $($wire => Some(DType::$name),)* _ => None }
            }
        }
    };
}

dtypes! {
    Bool = 1, Some(1), "bool", "BOOL";
    U8 = 2, Some(1), "u8", "UINT8";
    U16 = 3, Some(2), "u16", "UINT16";
    U32 = 4, Some(4), "u32", "UINT32";
    U64 = 5, Some(8), "u64", "UINT64";
    I8 = 6, Some(1), "i8", "INT8";
    I16 = 7, Some(2), "i16", "INT16";
    I32 = 8, Some(4), "i32", "INT32";
    I64 = 9, Some(8), "i64", "INT64";
    F16 = 10, Some(2), "f16", "FP16";
    Bf16 = 11, Some(2), "bf16", "BF16";
    F32 = 12, Some(4), "f32", "FP32";
    F64 = 13, Some(8), "f64", "FP64";
    Bytes = 14, None, "bytes", "BYTES";
    Str = 15, None, "str", "BYTES";
}

impl DType {
    pub const fn wire(self) -> u8 {
        self as u8
    }

    /// `BYTES` is [`DType::Bytes`]; whether a model wants text is its declaration's business.
    pub fn from_oip(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|dtype| dtype.oip_name() == name)
    }

    pub fn from_name(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|dtype| dtype.name() == name)
    }
}

/// A declared dimension.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dim {
    /// The rows of a batch.
    Batch,
    Fixed(u64),
    /// Any size, the same for every row of a batch.
    Variable,
}

/// An input or output as a model declares it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorSpec {
    pub name: String,
    pub dtype: DType,
    pub dims: Vec<Dim>,
}

/// Elements of a shape; `None` when they don't fit 64 bits. A shape without dimensions has one; a size of zero makes none,
/// however large the others are, so that a batch of such tasks is no larger than each.
pub fn elements(shape: &[u64]) -> Option<u64> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1u64, |product, &size| product.checked_mul(size))
}

/// Where one tensor lies in a slot. Fixed dtypes: `len` bytes at `offset`. `Bytes` and `Str`: little-endian `u32`
/// offsets (elements + 1 of them) at `offsets_at`, and `len` bytes of values at `offset`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placement {
    pub dtype: DType,
    pub shape: Shape,
    pub offset: u32,
    pub len: u32,
    pub offsets_at: u32,
}

impl Placement {
    /// Accepts only a tensor that lies behind the header, inside `slot_bytes`, aligned, as long as its shape says.
    pub fn check(&self, slot_bytes: u32) -> Result<(), SchemaError> {
        if self.shape.len() > RANK_MAX {
            return Err(SchemaError::RankTooHigh { rank: self.shape.len() });
        }
        let elements = elements(&self.shape).ok_or(SchemaError::ShapeTooLarge)?;
        match self.dtype.size_bytes() {
            Some(size) => self.check_length(elements, size as u64)?,
            None => self.check_table(elements, slot_bytes)?,
        }
        if !(self.offset as usize).is_multiple_of(TENSOR_ALIGN) {
            return Err(SchemaError::Misaligned);
        }
        inside(self.offset, u64::from(self.len), slot_bytes)
    }

    fn check_length(&self, elements: u64, size: u64) -> Result<(), SchemaError> {
        let expected = elements.checked_mul(size).ok_or(SchemaError::ShapeTooLarge)?;
        let found = u64::from(self.len);
        if expected == found { Ok(()) } else { Err(SchemaError::WrongLength { expected, found }) }
    }

    fn check_table(&self, elements: u64, slot_bytes: u32) -> Result<(), SchemaError> {
        let entries = elements.checked_add(1).ok_or(SchemaError::ShapeTooLarge)?;
        let bytes = entries.checked_mul(OFFSET_BYTES as u64).ok_or(SchemaError::ShapeTooLarge)?;
        if !(self.offsets_at as usize).is_multiple_of(OFFSET_BYTES) {
            return Err(SchemaError::Misaligned);
        }
        inside(self.offsets_at, bytes, slot_bytes)
    }
}

fn inside(at: u32, len: u64, slot_bytes: u32) -> Result<(), SchemaError> {
    let end = u64::from(at).checked_add(len);
    let fits = end.is_some_and(|end| end <= u64::from(slot_bytes));
    if fits && at as usize >= HEADER_BYTES_MAX {
        return Ok(());
    }
    Err(SchemaError::OutsideSlot { slot_bytes })
}

/// Offsets of a variable-length tensor, checked: `elements + 1` of them, rising from 0 to `values_bytes`.
pub fn check_offsets(
    table: &[u8],
    elements: u64,
    values_bytes: u32,
) -> Result<Vec<u32>, SchemaError> {
    let (entries, _) = table.as_chunks::<OFFSET_BYTES>();
    let offsets: Vec<u32> = entries.iter().map(|entry| u32::from_le_bytes(*entry)).collect();
    let complete = offsets.len() as u64 == elements.saturating_add(1);
    let bounded = offsets.first() == Some(&0) && offsets.last() == Some(&values_bytes);
    if complete && bounded && offsets.is_sorted() {
        return Ok(offsets);
    }
    Err(SchemaError::BadOffsets { values_bytes })
}

/// Packs tensors behind a slot's header, each on a [`TENSOR_ALIGN`] boundary.
#[derive(Clone, Debug)]
pub struct Layout {
    end: u64,
}

impl Default for Layout {
    fn default() -> Layout {
        Layout::new()
    }
}

impl Layout {
    pub fn new() -> Layout {
        Layout { end: HEADER_BYTES_MAX as u64 }
    }

    /// The next tensor of a fixed dtype.
    pub fn fixed(&mut self, dtype: DType, shape: Shape) -> Result<Placement, SchemaError> {
        let size = dtype.size_bytes().ok_or(SchemaError::Missing("values"))? as u64;
        let elements = elements(&shape).ok_or(SchemaError::ShapeTooLarge)?;
        let len = elements.checked_mul(size).ok_or(SchemaError::ShapeTooLarge)?;
        let (offset, len) = self.take(len)?;
        Ok(Placement { dtype, shape, offset, len, offsets_at: 0 })
    }

    /// The next tensor of a variable-length dtype: its table of offsets, then `values_bytes` of values.
    pub fn variable(
        &mut self,
        dtype: DType,
        shape: Shape,
        values_bytes: u32,
    ) -> Result<Placement, SchemaError> {
        let elements = elements(&shape).ok_or(SchemaError::ShapeTooLarge)?;
        let entries = elements.checked_add(1).ok_or(SchemaError::ShapeTooLarge)?;
        let table = entries.checked_mul(OFFSET_BYTES as u64).ok_or(SchemaError::ShapeTooLarge)?;
        let (offsets_at, _) = self.take(table)?;
        let (offset, len) = self.take(u64::from(values_bytes))?;
        Ok(Placement { dtype, shape, offset, len, offsets_at })
    }

    /// Bytes from the start of the slot to the end of the last tensor.
    pub fn total_bytes(&self) -> u32 {
        u32::try_from(self.end).expect("take() keeps the end within 32 bits")
    }

    fn take(&mut self, len: u64) -> Result<(u32, u32), SchemaError> {
        let offset = self.end.next_multiple_of(TENSOR_ALIGN as u64);
        let end = offset.checked_add(len).ok_or(SchemaError::SlotOverflow)?;
        if end > u64::from(u32::MAX) {
            return Err(SchemaError::SlotOverflow);
        }
        self.end = end;
        Ok((offset as u32, len as u32))
    }
}

#[cfg(test)]
mod tests;
