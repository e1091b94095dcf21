//! The protocol's datatypes: which numbers each holds, and how they stand in bytes and in JSON. Pure.

use std::fmt::Write;

/// From here on a 64-bit float doesn't hold every integer.
const INTEGERS_EXACT_BELOW: f64 = 9_007_199_254_740_992.0;
/// From here on a number is rounded to a half's infinity.
const FP16_INFINITE_FROM: f64 = 65_520.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datatype {
    Bool,
    Signed { bytes: usize },
    Unsigned { bytes: usize },
    Fp16,
    Bf16,
    Fp32,
    Fp64,
    Bytes,
}

impl Datatype {
    pub fn from_name(name: &str) -> Option<Datatype> {
        Some(match name {
            "BOOL" => Datatype::Bool,
            "INT8" => Datatype::Signed { bytes: 1 },
            "INT16" => Datatype::Signed { bytes: 2 },
            "INT32" => Datatype::Signed { bytes: 4 },
            "INT64" => Datatype::Signed { bytes: 8 },
            "UINT8" => Datatype::Unsigned { bytes: 1 },
            "UINT16" => Datatype::Unsigned { bytes: 2 },
            "UINT32" => Datatype::Unsigned { bytes: 4 },
            "UINT64" => Datatype::Unsigned { bytes: 8 },
            "FP16" => Datatype::Fp16,
            "BF16" => Datatype::Bf16,
            "FP32" => Datatype::Fp32,
            "FP64" => Datatype::Fp64,
            "BYTES" => Datatype::Bytes,
            _ => return None,
        })
    }

    /// Whether a value of this type can stand for the number; floats may round it. Integers stay where 64-bit floats
    /// are exact.
    pub fn holds(self, number: f64) -> bool {
        match self {
            Datatype::Bool => number == 0.0 || number == 1.0,
            Datatype::Signed { bytes } => {
                let end = 2_f64.powi(bytes as i32 * 8 - 1).min(INTEGERS_EXACT_BELOW);
                number.fract() == 0.0 && number >= -end && number < end
            }
            Datatype::Unsigned { bytes } => {
                let end = 2_f64.powi(bytes as i32 * 8).min(INTEGERS_EXACT_BELOW);
                number.fract() == 0.0 && number >= 0.0 && number < end
            }
            Datatype::Fp16 => !number.is_finite() || number.abs() < FP16_INFINITE_FROM,
            Datatype::Bf16 | Datatype::Fp32 => {
                !number.is_finite() || number.abs() <= f64::from(f32::MAX)
            }
            Datatype::Fp64 | Datatype::Bytes => true,
        }
    }

    /// Of a number that it [`holds`](Self::holds).
    pub fn push(self, number: f64, bytes: &mut Vec<u8>) {
        match self {
            Datatype::Bool => bytes.push(u8::from(number != 0.0)),
            Datatype::Signed { bytes: width } | Datatype::Unsigned { bytes: width } => {
                bytes.extend_from_slice(&(number as i64).to_le_bytes()[..width]);
            }
            Datatype::Fp16 => bytes.extend_from_slice(&fp16_bits(number).to_le_bytes()),
            Datatype::Bf16 => bytes.extend_from_slice(&bf16_bits(number as f32).to_le_bytes()),
            Datatype::Fp32 => bytes.extend_from_slice(&(number as f32).to_le_bytes()),
            Datatype::Fp64 => bytes.extend_from_slice(&number.to_le_bytes()),
            Datatype::Bytes => push_text(&number.to_string(), bytes),
        }
    }

    /// As it stands in JSON, where it is finite: floats in the fewest digits that name them.
    pub fn write(self, number: f64, text: &mut String) {
        let written = match self {
            Datatype::Bool => write!(text, "{}", number != 0.0),
            Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 => write!(text, "{}", number as f32),
            Datatype::Signed { .. } | Datatype::Unsigned { .. } | Datatype::Fp64 => {
                write!(text, "{number}")
            }
            Datatype::Bytes => write!(text, "\"{number}\""),
        };
        debug_assert!(written.is_ok(), "a string takes any text");
    }

    /// The number at the start of `bytes`, and what follows. None: too short, or text that is no number.
    pub fn take(self, bytes: &[u8]) -> Option<(f64, &[u8])> {
        match self {
            Datatype::Bool => bytes.split_first().map(|(&bit, rest)| (f64::from(bit), rest)),
            Datatype::Signed { bytes: width } => {
                let (word, rest) = bytes.split_at_checked(width)?;
                let unused = 64 - width as u32 * 8;
                Some(((widened(word).cast_signed() << unused >> unused) as f64, rest))
            }
            Datatype::Unsigned { bytes: width } => {
                bytes.split_at_checked(width).map(|(word, rest)| (widened(word) as f64, rest))
            }
            Datatype::Fp16 => bytes
                .split_first_chunk()
                .map(|(two, rest)| (fp16_number(u16::from_le_bytes(*two)), rest)),
            Datatype::Bf16 => bytes
                .split_first_chunk::<2>()
                .map(|(two, rest)| (f64::from(f32::from_le_bytes([0, 0, two[0], two[1]])), rest)),
            Datatype::Fp32 => bytes
                .split_first_chunk()
                .map(|(four, rest)| (f64::from(f32::from_le_bytes(*four)), rest)),
            Datatype::Fp64 => {
                bytes.split_first_chunk().map(|(eight, rest)| (f64::from_le_bytes(*eight), rest))
            }
            Datatype::Bytes => take_text(bytes),
        }
    }
}

/// Text with its length ahead.
pub(super) fn push_text(text: &str, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

fn take_text(bytes: &[u8]) -> Option<(f64, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    std::str::from_utf8(text).ok()?.parse().ok().map(|number| (number, rest))
}

fn widened(word: &[u8]) -> u64 {
    word.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// To the nearest, of two equally near to the even one.
fn fp16_bits(number: f64) -> u16 {
    let (sign, magnitude) = (u16::from(number.is_sign_negative()) << 15, number.abs());
    if number.is_nan() {
        return sign | 0x7e00;
    }
    if magnitude >= FP16_INFINITE_FROM {
        return sign | 0x7c00;
    }
    // Below 2⁻¹⁴ the unit no longer shrinks with the number.
    let exponent = ((magnitude.to_bits() >> 52) as i32 - 1_023).max(-14);
    let units = (magnitude * 2_f64.powi(10 - exponent)).round_ties_even() as i32;
    sign | (((exponent + 14) << 10) + units) as u16
}

fn fp16_number(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let magnitude = match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (fraction + 1_024.0) * 2_f64.powi(exponent - 25),
    };
    if bits >> 15 == 0 { magnitude } else { -magnitude }
}

/// To the nearest, of two equally near to the even one.
fn bf16_bits(number: f32) -> u16 {
    let bits = number.to_bits();
    if number.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(datatype: Datatype, number: f64) -> f64 {
        let mut bytes = Vec::new();
        datatype.push(number, &mut bytes);
        let (found, rest) = datatype.take(&bytes).expect("one number");
        assert!(rest.is_empty());
        found
    }

    #[test]
    fn every_half_is_read_and_written_alike() {
        for bits in 0..=u16::MAX {
            let number = fp16_number(bits);
            let is_same = fp16_bits(number) == bits || number.is_nan();
            assert!(is_same, "{bits:#06x} is {number}");
        }
        assert_eq!([0.5, 0.1, -2.0, 65_504.0].map(fp16_bits), [0x3800, 0x2e66, 0xc000, 0x7bff]);
    }

    #[test]
    fn between_two_halves_the_nearer_is_taken_and_the_even_one_of_two() {
        for bits in 0..0x7bff {
            let (low, high) = (fp16_number(bits), fp16_number(bits + 1));
            let even = bits + (bits & 1);
            assert_eq!(fp16_bits((low + high) / 2.0), even);
            assert_eq!(fp16_bits(low * 0.75 + high * 0.25), bits);
            assert_eq!(fp16_bits(low * 0.25 + high * 0.75), bits + 1);
        }
    }

    #[test]
    fn brain_floats_are_the_nearest() {
        assert_eq!([1.0, 0.1, -0.1].map(bf16_bits), [0x3f80, 0x3dcd, 0xbdcd]);
        assert!(taken(Datatype::Bf16, f64::NAN).is_nan());
    }

    #[test]
    fn ends_of_ranges_are_held_and_come_back() {
        for (name, low, high) in
            [("INT8", -128.0, 127.0), ("INT32", -2_147_483_648.0, 2_147_483_647.0)]
        {
            let datatype = Datatype::from_name(name).expect("known");
            assert!(datatype.holds(low) && datatype.holds(high));
            assert!(!datatype.holds(low - 1.0) && !datatype.holds(high + 1.0));
            assert_eq!((taken(datatype, low), taken(datatype, high)), (low, high));
        }
        let byte = Datatype::from_name("UINT8").expect("known");
        assert!(byte.holds(255.0) && !byte.holds(-1.0) && !byte.holds(0.5) && !byte.holds(256.0));
        assert!(!Datatype::Fp16.holds(1e5) && !Datatype::Fp32.holds(1e39));
        assert!(!Datatype::Signed { bytes: 8 }.holds(INTEGERS_EXACT_BELOW));
    }

    #[test]
    fn what_is_cut_short_is_no_number() {
        assert_eq!(Datatype::Fp32.take(&[0, 0, 0]), None);
        assert_eq!(Datatype::Bytes.take(&[2, 0, 0, 0, b'1']), None);
        assert_eq!(Datatype::Bytes.take(b"\x01\0\0\0x"), None);
    }
}
