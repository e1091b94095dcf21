//! `data`: nested or flat lists of elements, straight into rows of the datatype.
//!
//! The shape is known first, so memory is taken once, and never more than the body could fill.

use bytes::Bytes;
use schemas::tensor::{DType, RANK_MAX, Shape};

use crate::codec::fault::{InputFault, excerpt, shape_text};
use crate::query::types::TensorData;

use super::scan::Scanner;

/// What a tensor says about itself before its data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'h> {
    pub(super) name: &'h str,
    pub(super) dtype: DType,
    pub(super) shape: &'h Shape,
    pub(super) elements: u64,
    pub(super) form: Form,
}

/// How elements may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Lists,
    /// A tensor of one may be given by it alone.
    ListsOrOne,
}

impl Head<'_> {
    #[cold]
    fn expected(&self, scan: Scanner<'_>, expected: &'static str) -> InputFault {
        let tensor = excerpt(self.name);
        scan.or_truncated(InputFault::Element { tensor, at: scan.at, expected })
    }

    #[cold]
    fn ragged(&self, scan: Scanner<'_>) -> InputFault {
        scan.or_truncated(InputFault::Ragged { tensor: excerpt(self.name), at: scan.at })
    }

    fn out_of_range(&self, at: usize) -> InputFault {
        InputFault::OutOfRange { tensor: excerpt(self.name), at, dtype: self.dtype }
    }

    fn count_fault(&self, found: u64) -> InputFault {
        let (tensor, shape) = (excerpt(self.name), shape_text(self.shape));
        InputFault::ElementCount { tensor, shape, expected: self.elements, found }
    }
}

/// Reads `data` at the cursor.
pub(super) fn read(scan: &mut Scanner<'_>, head: Head<'_>) -> Result<TensorData, InputFault> {
    match head.dtype {
        DType::F32 => fixed::<f32, 4>(scan, head),
        DType::F64 => fixed::<f64, 8>(scan, head),
        DType::Bool => fixed::<bool, 1>(scan, head),
        DType::U8 => fixed::<u8, 1>(scan, head),
        DType::U16 => fixed::<u16, 2>(scan, head),
        DType::U32 => fixed::<u32, 4>(scan, head),
        DType::U64 => fixed::<u64, 8>(scan, head),
        DType::I8 => fixed::<i8, 1>(scan, head),
        DType::I16 => fixed::<i16, 2>(scan, head),
        DType::I32 => fixed::<i32, 4>(scan, head),
        DType::I64 => fixed::<i64, 8>(scan, head),
        DType::Bytes | DType::Str => variable(scan, head),
        DType::F16 | DType::Bf16 => {
            Err(InputFault::NotInJson { tensor: excerpt(head.name), dtype: head.dtype })
        }
    }
}

/// A datatype of `N` bytes.
trait Element<const N: usize> {
    fn read(scan: &mut Scanner<'_>, head: Head<'_>) -> Result<[u8; N], InputFault>;
}

/// Where elements go.
trait Sink {
    fn take(&mut self, scan: &mut Scanner<'_>, head: Head<'_>) -> Result<(), InputFault>;
}

fn fixed<T: Element<N>, const N: usize>(
    scan: &mut Scanner<'_>,
    head: Head<'_>,
) -> Result<TensorData, InputFault> {
    let mut data = vec![0; room(scan, head, 2) * N];
    let (places, _) = data.as_chunks_mut::<N>();
    let mut sink =
        FixedSink::<T, N> { places: places.iter_mut(), element: std::marker::PhantomData };
    Lists::default().read(scan, head, &mut sink)?;
    Ok(TensorData::Fixed(Bytes::from(data)))
}

fn variable(scan: &mut Scanner<'_>, head: Head<'_>) -> Result<TensorData, InputFault> {
    let mut offsets = Vec::with_capacity(room(scan, head, 3) + 1);
    offsets.push(0);
    let mut sink = TextSink { offsets, values: Vec::new() };
    Lists::default().read(scan, head, &mut sink)?;
    Ok(TensorData::Variable { offsets: sink.offsets.into(), values: Bytes::from(sink.values) })
}

/// The elements to make room for: as many as the shape asks for, at most what is left of the body can hold, given
/// that each takes `bytes_min` characters with its comma, and the last one no comma.
fn room(scan: &Scanner<'_>, head: Head<'_>, bytes_min: usize) -> usize {
    let most = (scan.bytes.len() - scan.at) / bytes_min + 1;
    head.elements.min(most as u64) as usize
}

struct FixedSink<'d, T, const N: usize> {
    places: std::slice::IterMut<'d, [u8; N]>,
    element: std::marker::PhantomData<T>,
}

impl<T: Element<N>, const N: usize> Sink for FixedSink<'_, T, N> {
    #[inline(always)]
    fn take(&mut self, scan: &mut Scanner<'_>, head: Head<'_>) -> Result<(), InputFault> {
        let element = T::read(scan, head)?;
        *self.places.next().ok_or_else(|| head.count_fault(head.elements + 1))? = element;
        Ok(())
    }
}

struct TextSink {
    offsets: Vec<u32>,
    values: Vec<u8>,
}

impl Sink for TextSink {
    fn take(&mut self, scan: &mut Scanner<'_>, head: Head<'_>) -> Result<(), InputFault> {
        if scan.byte() != b'"' {
            return Err(head.expected(*scan, "a string"));
        }
        if self.offsets.len() as u64 > head.elements {
            return Err(head.count_fault(head.elements + 1));
        }
        scan.string_into(&mut self.values)?;
        let end = u32::try_from(self.values.len()).map_err(|_| head.out_of_range(scan.at))?;
        self.offsets.push(end);
        Ok(())
    }
}

/// Walks the lists of one tensor and remembers their form.
#[derive(Default)]
struct Lists {
    /// Length of the lists at each depth, once one of them has ended.
    lengths: [Option<u64>; RANK_MAX],
    /// Depth of the lists that hold elements.
    innermost: Option<usize>,
    count: u64,
}

impl Lists {
    fn read(
        mut self,
        scan: &mut Scanner<'_>,
        head: Head<'_>,
        sink: &mut impl Sink,
    ) -> Result<(), InputFault> {
        if scan.peek() != b'[' {
            if head.form == Form::ListsOrOne && head.elements == 1 {
                return sink.take(scan, head);
            }
            return Err(head.expected(*scan, "a list"));
        }
        self.list(scan, head, sink, 0)?;
        self.check(head)
    }

    /// One list. Recurses at most [`RANK_MAX`] deep.
    fn list(
        &mut self,
        scan: &mut Scanner<'_>,
        head: Head<'_>,
        sink: &mut impl Sink,
        depth: usize,
    ) -> Result<(), InputFault> {
        if depth == RANK_MAX {
            return Err(InputFault::TooDeep { at: scan.at, limit: RANK_MAX });
        }
        scan.at += 1;
        let length = match scan.peek() {
            b'[' => self.lists(scan, head, sink, depth)?,
            b']' => {
                scan.at += 1;
                self.elements_at(scan, head, depth)?;
                0
            }
            _ => {
                let length = elements(scan, head, sink)?;
                self.count += length;
                self.elements_at(scan, head, depth)?;
                length
            }
        };
        if *self.lengths[depth].get_or_insert(length) == length {
            return Ok(());
        }
        Err(head.ragged(*scan))
    }

    fn lists(
        &mut self,
        scan: &mut Scanner<'_>,
        head: Head<'_>,
        sink: &mut impl Sink,
        depth: usize,
    ) -> Result<u64, InputFault> {
        let mut length = 0;
        loop {
            if scan.peek() != b'[' {
                return Err(head.ragged(*scan));
            }
            self.list(scan, head, sink, depth + 1)?;
            length += 1;
            if !scan.more(b']', "',' or ']'")? {
                return Ok(length);
            }
        }
    }

    fn elements_at(
        &mut self,
        scan: &Scanner<'_>,
        head: Head<'_>,
        depth: usize,
    ) -> Result<(), InputFault> {
        if *self.innermost.get_or_insert(depth) == depth {
            return Ok(());
        }
        Err(head.ragged(*scan))
    }

    /// Flat, or nested exactly as the shape says.
    fn check(&self, head: Head<'_>) -> Result<(), InputFault> {
        if self.count != head.elements {
            return Err(head.count_fault(self.count));
        }
        let depths = self.innermost.map_or(0, |depth| depth + 1);
        let found = self.lengths[..depths].iter().map(|length| length.unwrap_or(0));
        if depths <= 1 || self.count == 0 || found.clone().eq(head.shape.iter().copied()) {
            return Ok(());
        }
        Err(InputFault::Nesting {
            tensor: excerpt(head.name),
            shape: shape_text(head.shape),
            found: shape_text(&found.collect::<Vec<_>>()),
        })
    }
}

/// The elements of an innermost list, up to and with its end.
#[inline(always)]
fn elements(
    scan: &mut Scanner<'_>,
    head: Head<'_>,
    sink: &mut impl Sink,
) -> Result<u64, InputFault> {
    let mut length = 0;
    let mut local = *scan;
    loop {
        local.peek();
        sink.take(&mut local, head)?;
        length += 1;
        if !local.more(b']', "',' or ']'")? {
            *scan = local;
            return Ok(length);
        }
    }
}

macro_rules! float_elements {
    ($($float:ident, $bytes:literal, $nearest:ident;)*) => {$(
        impl Element<$bytes> for $float {
            #[inline(always)]
            fn read(scan: &mut Scanner<'_>, head: Head<'_>) -> Result<[u8; $bytes], InputFault> {
                if !matches!(scan.byte(), b'0'..=b'9' | b'-') {
                    return Err(no_number(*scan, head));
                }
                let decimal = match scan.decimal() {
                    Ok(decimal) => decimal,
                    Err(fault) => return Err(not_finite(*scan, head).unwrap_or(fault)),
                };
                let value = scan.$nearest(decimal);
                if value.is_finite() {
                    return Ok(value.to_le_bytes());
                }
                Err(head.out_of_range(decimal.start))
            }
        }
    )*};
}

float_elements! {
    f32, 4, nearest_f32;
    f64, 8, nearest_f64;
}

macro_rules! integer_elements {
    ($($integer:ident, $bytes:literal;)*) => {$(
        impl Element<$bytes> for $integer {
            #[inline(always)]
            fn read(scan: &mut Scanner<'_>, head: Head<'_>) -> Result<[u8; $bytes], InputFault> {
                let (value, at) = integer(scan, head)?;
                let value = $integer::try_from(value).map_err(|_| head.out_of_range(at))?;
                Ok(value.to_le_bytes())
            }
        }
    )*};
}

integer_elements! {
    u8, 1; u16, 2; u32, 4; u64, 8;
    i8, 1; i16, 2; i32, 4; i64, 8;
}

impl Element<1> for bool {
    fn read(scan: &mut Scanner<'_>, head: Head<'_>) -> Result<[u8; 1], InputFault> {
        match () {
            () if scan.word(b"true") => Ok([1]),
            () if scan.word(b"false") => Ok([0]),
            () => Err(head.expected(*scan, "true or false")),
        }
    }
}

/// A whole number and where it starts.
#[inline(always)]
fn integer(scan: &mut Scanner<'_>, head: Head<'_>) -> Result<(i128, usize), InputFault> {
    if !matches!(scan.byte(), b'0'..=b'9' | b'-') {
        return Err(no_number(*scan, head));
    }
    let decimal = scan.decimal()?;
    let at = decimal.start;
    if !decimal.whole {
        let scan = Scanner { at, ..*scan };
        return Err(head.expected(scan, "a whole number (no point, no exponent)"));
    }
    let digits = if decimal.complete {
        i128::from(decimal.mantissa)
    } else {
        // Twenty digits may still be a UINT64.
        let text = &scan.bytes[at + usize::from(decimal.negative)..decimal.end];
        let text = std::str::from_utf8(text).expect("decimal() takes only ASCII characters");
        text.parse().map_err(|_| head.out_of_range(at))?
    };
    Ok((if decimal.negative { -digits } else { digits }, at))
}

#[cold]
fn no_number(scan: Scanner<'_>, head: Head<'_>) -> InputFault {
    not_finite(scan, head).unwrap_or_else(|| head.expected(scan, "a number"))
}

/// The words by which JSON libraries write what JSON has no number for.
#[cold]
fn not_finite(scan: Scanner<'_>, head: Head<'_>) -> Option<InputFault> {
    const WORDS: [&[u8]; 6] = [b"NaN", b"nan", b"Infinity", b"inf", b"-Infinity", b"-inf"];
    let rest = &scan.bytes[scan.at..];
    WORDS
        .iter()
        .any(|word| rest.starts_with(word))
        .then(|| InputFault::NotFinite { tensor: excerpt(head.name), at: scan.at })
}
