//! Where the elements of tensors come from, in the order in which they are sent.

use std::fmt::Write;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::datatype::{Datatype, push_text};

/// Integers stay below this, so that every integer type holds them.
const INTEGER_BOUND: u8 = 100;
const TEN_THOUSAND: u32 = 10_000;

#[derive(Clone, Debug)]
pub enum Values {
    Random(SmallRng),
    Constant(f64),
    /// As many as the tensors have elements, each held by its datatype.
    Given(std::vec::IntoIter<f64>),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Element {
    Number(f64),
    /// Written with its four decimals, zeros and all.
    TenThousandths(u32),
    Word(u8),
}

impl Values {
    pub fn random(seed: u64) -> Values {
        Values::Random(SmallRng::seed_from_u64(seed))
    }

    pub fn given(values: Vec<f64>) -> Values {
        Values::Given(values.into_iter())
    }

    pub(super) fn next(&mut self, datatype: Datatype) -> Element {
        match self {
            Values::Random(rng) => random(rng, datatype),
            Values::Constant(number) => Element::Number(*number),
            Values::Given(numbers) => {
                Element::Number(numbers.next().expect("as many values as elements are given"))
            }
        }
    }
}

impl Element {
    pub(super) fn push(self, datatype: Datatype, bytes: &mut Vec<u8>) {
        match self {
            Element::Number(number) => datatype.push(number, bytes),
            Element::TenThousandths(units) => datatype.push(fraction(units), bytes),
            Element::Word(number) => push_text(&word(number), bytes),
        }
    }

    pub(super) fn write(self, datatype: Datatype, text: &mut String) {
        let written = match self {
            Element::Number(number) => {
                datatype.write(number, text);
                Ok(())
            }
            Element::TenThousandths(units) => write!(text, "0.{units:04}"),
            Element::Word(number) => write!(text, "\"{}\"", word(number)),
        };
        debug_assert!(written.is_ok(), "a string takes any text");
    }
}

fn random(rng: &mut SmallRng, datatype: Datatype) -> Element {
    match datatype {
        Datatype::Bool => Element::Number(f64::from(u8::from(rng.random::<bool>()))),
        Datatype::Signed { .. } | Datatype::Unsigned { .. } => {
            Element::Number(rng.random_range(0..INTEGER_BOUND).into())
        }
        Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64 => {
            Element::TenThousandths(rng.random_range(0..TEN_THOUSAND))
        }
        Datatype::Bytes => Element::Word(rng.random_range(0..INTEGER_BOUND)),
    }
}

fn word(number: u8) -> String {
    format!("word-{number:02}")
}

fn fraction(units: u32) -> f64 {
    f64::from(units) / f64::from(TEN_THOUSAND)
}

/// What [`Values::random`] of this seed gives for floats.
pub(super) fn floats(seed: u64, elements: u64) -> Vec<f32> {
    let mut rng = SmallRng::seed_from_u64(seed);
    (0..elements).map(|_| fraction(rng.random_range(0..TEN_THOUSAND)) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a reader of JSON would find it, and rounding twice changes nothing.
    #[test]
    fn every_fraction_is_the_float_nearest_to_its_decimals() {
        for units in 0..TEN_THOUSAND {
            let read: f32 = format!("0.{units:04}").parse().expect("a float");
            assert_eq!(fraction(units) as f32, read);
        }
    }
}
