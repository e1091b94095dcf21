//! Numbers: text to the nearest value of a datatype, in one rounding.
//!
//! A decimal whose digits and power of ten are both exact in the float needs one multiplication or division, and
//! that rounds once (Clinger 1990). Everything else goes to the standard library's parser. Both give the same bits.

use crate::codec::fault::InputFault;

use super::scan::Scanner;

/// Whole numbers up to here are exact in an `f32`.
const F32_EXACT_MAX: u64 = 1 << 24;
/// Whole numbers up to here are exact in an `f64`.
const F64_EXACT_MAX: u64 = 1 << 53;
/// 10^19 - 1 fits 64 bits, 10^20 - 1 does not.
const EXACT_DIGITS_MAX: usize = 19;
/// An exponent past this is zero or infinity for any mantissa that fits a body; it keeps the sum from overflowing.
const EXPONENT_MAX: i32 = 1 << 30;

/// Powers of ten that are exact in an `f32`.
const F32_TENS: [f32; 11] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10];
/// Powers of ten that are exact in an `f64`.
const F64_TENS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];
const U64_TENS: [u64; 9] = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// A JSON number taken apart: `±mantissa × 10^exponent`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decimal {
    pub(super) negative: bool,
    /// Meaningless, but never undefined, unless `complete`.
    pub(super) mantissa: u64,
    pub(super) exponent: i32,
    /// All digits are in the mantissa.
    pub(super) complete: bool,
    /// No point and no exponent.
    pub(super) whole: bool,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Scanner<'_> {
    /// A number by the grammar of RFC 8259.
    #[inline(always)]
    pub(super) fn decimal(&mut self) -> Result<Decimal, InputFault> {
        let start = self.at;
        let negative = self.byte() == b'-';
        self.at += usize::from(negative);
        let (mut mantissa, digits_at) = (0, self.at);
        // Before the point there are few digits, behind it many.
        self.digits_by_one(&mut mantissa)?;
        let mut digits = self.at - digits_at;
        if digits > 1 && self.bytes[digits_at] == b'0' {
            self.at = digits_at;
            return Err(self.fault("a number without leading zeros"));
        }
        let (mut exponent, mut whole) = (0, true);
        if self.byte() == b'.' {
            self.at += 1;
            let point = self.at;
            self.digits(&mut mantissa)?;
            let places = self.at - point;
            (digits, exponent, whole) = (digits + places, -(places as i32), false);
        }
        if matches!(self.byte(), b'e' | b'E') {
            exponent = exponent.saturating_add(self.exponent()?);
            whole = false;
        }
        let complete = digits <= EXACT_DIGITS_MAX;
        Ok(Decimal { negative, mantissa, exponent, complete, whole, start, end: self.at })
    }

    /// One or more digits, appended to `value`, eight at a time.
    #[inline(always)]
    fn digits(&mut self, value: &mut u64) -> Result<(), InputFault> {
        let start = self.at;
        while let Some(eight) = self.bytes[self.at..].first_chunk::<8>() {
            let (count, digits) = leading_digits(u64::from_le_bytes(*eight));
            *value = value.wrapping_mul(U64_TENS[count]).wrapping_add(digits);
            self.at += count;
            if count < 8 {
                return self.some_digits(start);
            }
        }
        while let digit @ b'0'..=b'9' = self.byte() {
            *value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        self.some_digits(start)
    }

    #[inline(always)]
    fn digits_by_one(&mut self, value: &mut u64) -> Result<(), InputFault> {
        let start = self.at;
        while let digit @ b'0'..=b'9' = self.byte() {
            *value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        self.some_digits(start)
    }

    #[inline(always)]
    fn some_digits(&self, start: usize) -> Result<(), InputFault> {
        if self.at == start { Err(self.fault("a digit")) } else { Ok(()) }
    }

    fn exponent(&mut self) -> Result<i32, InputFault> {
        self.at += 1;
        let negative = self.byte() == b'-';
        self.at += usize::from(matches!(self.byte(), b'-' | b'+'));
        let (start, mut value) = (self.at, 0i32);
        while let digit @ b'0'..=b'9' = self.byte() {
            value = value.saturating_mul(10).saturating_add(i32::from(digit - b'0'));
            self.at += 1;
        }
        self.some_digits(start)?;
        let value = value.min(EXPONENT_MAX);
        Ok(if negative { -value } else { value })
    }

    fn text(&self, decimal: Decimal) -> &str {
        let text = &self.bytes[decimal.start..decimal.end];
        std::str::from_utf8(text).expect("decimal() takes only ASCII characters")
    }

    /// The nearest `f32`; infinite when there is none.
    #[inline(always)]
    pub(super) fn nearest_f32(&self, decimal: Decimal) -> f32 {
        let Decimal { mantissa, exponent, complete, negative, .. } = decimal;
        let ten = F32_TENS.get(exponent.unsigned_abs() as usize);
        if let (true, true, Some(ten)) = (complete, mantissa <= F32_EXACT_MAX, ten) {
            let digits = mantissa as f32;
            let size = if exponent < 0 { digits / ten } else { digits * ten };
            return if negative { -size } else { size };
        }
        (*self).nearest_f32_wide(decimal)
    }

    #[inline(never)]
    fn nearest_f32_wide(self, decimal: Decimal) -> f32 {
        let wide = exact_f64(decimal).and_then(narrow);
        wide.unwrap_or_else(|| self.text(decimal).parse().expect("decimal() checked the grammar"))
    }

    /// The nearest `f64`; infinite when there is none.
    #[inline(always)]
    pub(super) fn nearest_f64(&self, decimal: Decimal) -> f64 {
        exact_f64(decimal).unwrap_or_else(|| (*self).parsed_f64(decimal))
    }

    #[inline(never)]
    fn parsed_f64(self, decimal: Decimal) -> f64 {
        self.text(decimal).parse().expect("decimal() checked the grammar")
    }
}

/// How many of eight characters (first in the lowest byte) are digits up to the first that is none, and their value.
#[inline(always)]
fn leading_digits(characters: u64) -> (usize, u64) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let values = characters ^ (ONES * u64::from(b'0'));
    // The top bit of a byte is set when its value exceeds 9; no byte carries into the next.
    let large = (values & (ONES * 0x7f)) + ONES * (0x80 - 10);
    let others = (large | values) & (ONES * 0x80);
    let count = (others.trailing_zeros() / 8) as usize;
    if count == 0 {
        return (0, 0);
    }
    (count, eight_digits(values << (64 - 8 * count as u32)))
}

/// Eight values 0–9, the most significant in the lowest byte, as one number.
#[inline(always)]
fn eight_digits(values: u64) -> u64 {
    let pairs = (values.wrapping_mul(10) + (values >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100) + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    (fours.wrapping_mul(10_000) + (fours >> 32)) & 0xffff_ffff
}

#[inline(always)]
fn exact_f64(decimal: Decimal) -> Option<f64> {
    let ten = F64_TENS.get(decimal.exponent.unsigned_abs() as usize)?;
    if !decimal.complete || decimal.mantissa > F64_EXACT_MAX {
        return None;
    }
    let digits = decimal.mantissa as f64;
    let size = if decimal.exponent < 0 { digits / ten } else { digits * ten };
    Some(if decimal.negative { -size } else { size })
}

/// The `f32` nearest to a decimal whose nearest `f64` is `wide`; `None` where that can't be told.
///
/// Rounding is monotone and every midpoint of two normal `f32` is an `f64`, so `wide` lies on the decimal's side
/// of the midpoint unless it is the midpoint itself: only there would a second rounding show.
fn narrow(wide: f64) -> Option<f32> {
    const DROPPED_BITS: u64 = (1 << 29) - 1;
    const MIDPOINT: u64 = 1 << 28;
    let normal = (f64::from(f32::MIN_POSITIVE)..f64::from(f32::MAX)).contains(&wide.abs());
    let midpoint = wide.to_bits() & DROPPED_BITS == MIDPOINT;
    (normal && !midpoint).then_some(wide as f32)
}
