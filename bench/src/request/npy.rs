//! NumPy's file format, as far as arrays of numbers go: rows of the first axis, read as they are needed.

use std::io::{self, Read};

use super::questions::elements;
use crate::payload::Datatype;

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// NumPy itself writes some hundred bytes, and refuses to read more than 10,000.
const HEADER_BYTES_MAX: usize = 10_000;

#[derive(Debug, thiserror::Error)]
pub enum NpyError {
    #[error("can't be read to its end: {0}")]
    Io(#[from] io::Error),
    #[error("is no .npy file; write it with numpy.save")]
    NotNpy,
    #[error("has the type {0}; save booleans, integers or floats in little-endian order")]
    Type(String),
    #[error("is in Fortran's order; save numpy.ascontiguousarray of it")]
    Fortran,
    #[error("has no rows of at most 2²⁴ elements; give an array with a first axis, or fewer rows")]
    Shape,
}

pub(super) struct Npy<R> {
    reader: R,
    pub(super) datatype: Datatype,
    item_bytes: usize,
    within: Vec<u64>,
    rows_left: u64,
}

/// Some rows: their shape, and their elements in C's order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rows {
    pub(super) shape: Vec<u64>,
    pub(super) values: Vec<f64>,
}

impl<R: Read> Npy<R> {
    pub(super) fn open(mut reader: R) -> Result<Npy<R>, NpyError> {
        let header = header(&mut reader)?;
        let descr = after(&header, "'descr':").ok_or(NpyError::NotNpy)?;
        let (datatype, item_bytes) =
            item(descr).ok_or_else(|| NpyError::Type(descr.chars().take(16).collect()))?;
        if !after(&header, "'fortran_order':").ok_or(NpyError::NotNpy)?.starts_with("False") {
            return Err(NpyError::Fortran);
        }
        let shape = shape(&header).ok_or(NpyError::NotNpy)?;
        let (&rows_left, within) = shape.split_first().ok_or(NpyError::Shape)?;
        Ok(Npy { reader, datatype, item_bytes, within: within.to_vec(), rows_left })
    }

    /// The next `most` rows, or as many as are left.
    pub(super) fn rows(&mut self, most: u64) -> Result<Option<Rows>, NpyError> {
        let rows = self.rows_left.min(most);
        if rows == 0 {
            return Ok(None);
        }
        let shape: Vec<u64> = [rows].iter().chain(&self.within).copied().collect();
        let count = elements(&shape).ok_or(NpyError::Shape)?;
        let mut bytes = vec![0; count as usize * self.item_bytes];
        self.reader.read_exact(&mut bytes)?;
        self.rows_left -= rows;
        let items = bytes.chunks_exact(self.item_bytes);
        let values = items.filter_map(|item| self.datatype.take(item)).map(|(value, _)| value);
        Ok(Some(Rows { shape, values: values.collect() }))
    }
}

fn header(reader: &mut impl Read) -> Result<String, NpyError> {
    let mut start = [0; 8];
    reader.read_exact(&mut start)?;
    if !start.starts_with(MAGIC) {
        return Err(NpyError::NotNpy);
    }
    let mut length = [0; 4];
    let width = if start[6] == 1 { 2 } else { 4 };
    reader.read_exact(&mut length[..width])?;
    let length = u32::from_le_bytes(length) as usize;
    if length > HEADER_BYTES_MAX {
        return Err(NpyError::NotNpy);
    }
    let mut header = vec![0; length];
    reader.read_exact(&mut header)?;
    String::from_utf8(header).map_err(|_| NpyError::NotNpy)
}

fn after<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    header.split_once(key).map(|(_, value)| value.trim_start())
}

/// Of a description like `'<f4'`.
fn item(descr: &str) -> Option<(Datatype, usize)> {
    let descr = descr.strip_prefix('\'')?.split_once('\'')?.0;
    let (order, kind) = descr.split_at_checked(1)?;
    let (kind, bytes) = kind.split_at_checked(1)?;
    let bytes: usize = bytes.parse().ok()?;
    let datatype = match (kind, bytes) {
        ("b", 1) => Datatype::Bool,
        ("i", 1 | 2 | 4 | 8) => Datatype::Signed { bytes },
        ("u", 1 | 2 | 4 | 8) => Datatype::Unsigned { bytes },
        ("f", 2) => Datatype::Fp16,
        ("f", 4) => Datatype::Fp32,
        ("f", 8) => Datatype::Fp64,
        _ => return None,
    };
    (order == "<" || order == "|").then_some((datatype, bytes))
}

fn shape(header: &str) -> Option<Vec<u64>> {
    let inside = after(header, "'shape':")?.strip_prefix('(')?.split_once(')')?.0;
    let lengths = inside.split(',').map(str::trim).filter(|length| !length.is_empty());
    lengths.map(|length| length.parse().ok()).collect()
}

/// As `numpy.save` writes an array of 32-bit floats.
#[cfg(test)]
pub(super) fn saved(shape: &str, values: &[f32]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    file(&format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"), &bytes)
}

#[cfg(test)]
fn file(header: &str, bytes: &[u8]) -> Vec<u8> {
    // The data begin at a multiple of 64.
    let header =
        format!("{header:<width$}\n", width = (header.len() + 11).next_multiple_of(64) - 11);
    let length = (header.len() as u16).to_le_bytes();
    [MAGIC, &[1, 0][..], &length, header.as_bytes(), bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_in_turn_and_the_last_ones_are_fewer() {
        let file = saved("(3, 2)", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let mut npy = Npy::open(&*file).expect("a file");
        let first = npy.rows(2).expect("readable").expect("two rows");
        assert_eq!(first, Rows { shape: vec![2, 2], values: vec![1.0, 2.0, 3.0, 4.0] });
        let last = npy.rows(2).expect("readable").expect("a row");
        assert_eq!(last, Rows { shape: vec![1, 2], values: vec![5.0, 6.0] });
        assert_eq!(npy.rows(2).expect("readable"), None);
    }

    #[test]
    fn integers_and_long_headers_are_read() {
        let header = "{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }\n";
        let mut second = [MAGIC, &[2, 0][..]].concat();
        second.extend_from_slice(&(header.len() as u32).to_le_bytes());
        second.extend_from_slice(header.as_bytes());
        second.extend_from_slice(&[-7_i64, 9].map(i64::to_le_bytes).concat());
        let rows = Npy::open(&*second).expect("a file").rows(9).expect("readable");
        assert_eq!(rows, Some(Rows { shape: vec![2], values: vec![-7.0, 9.0] }));
    }

    #[test]
    fn what_is_not_such_a_file_is_refused() {
        let refused = |bytes: &[u8]| match Npy::open(bytes) {
            Ok(mut npy) => npy.rows(1).expect_err("no rows"),
            Err(error) => error,
        };
        let with = |descr: &str, order: &str, shape: &str| {
            refused(&file(
                &format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"),
                &[0; 8],
            ))
        };
        assert!(matches!(refused(b"PK\x03\x04 zipped"), NpyError::NotNpy));
        assert!(matches!(refused(b"\x93NUM"), NpyError::Io(_)));
        assert!(matches!(with("'>f4'", "False", "(1,)"), NpyError::Type(_)));
        assert!(matches!(with("[('a', '<f4')]", "False", "(1,)"), NpyError::Type(_)));
        assert!(matches!(with("'<f4'", "True", "(1,)"), NpyError::Fortran));
        assert!(matches!(with("'<f4'", "False", "()"), NpyError::Shape));
        assert!(matches!(with("'<f4'", "False", "(1, 99999999999)"), NpyError::Shape));
        assert!(matches!(with("'<f4'", "False", "(1, 3)"), NpyError::Io(_)), "cut short");
    }
}
