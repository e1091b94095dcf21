//! Histograms recorded once and shown twice: by bounds chosen for people, and in the buckets of Prometheus' native
//! histograms, eight to an octave (schema 3, so 9 % wide).
//!
//! Both counts are exact. A native bucket follows from a number's exponent and the first four bits of its mantissa, up
//! to one comparison; and it holds one of the chosen bounds at most, so that one more comparison gives the other count.

/// Native buckets divide each octave into two to this power.
pub const SCHEMA: i32 = 3;
const PER_OCTAVE: i32 = 1 << SCHEMA;

/// Octaves in use: of seconds, from a microsecond to the longest timeout there is.
const OCTAVES: usize = 32;

/// Native buckets in use, and before them the one for everything smaller.
const NATIVE_MAX: usize = OCTAVES * PER_OCTAVE as usize + 1;

/// Chosen buckets in use at most: the longest list of bounds, and one above it.
const CHOSEN_MAX: usize = 20;

/// Powers of two to the k/8.
const ROOTS: [f64; PER_OCTAVE as usize] = [
    1.0,
    1.090_507_732_665_257_7,
    1.189_207_115_002_721,
    1.296_839_554_651_009_6,
    std::f64::consts::SQRT_2,
    1.542_210_825_407_940_7,
    1.681_792_830_507_429,
    1.834_008_086_409_342_4,
];

const MANTISSA_BITS: u32 = 52;
const MANTISSA: u64 = (1 << MANTISSA_BITS) - 1;
const EXPONENT_BIAS: i32 = 1023;
/// Sixteenths are narrower than any native bucket.
const CELLS: usize = 16;

/// By sixteenth of an octave, how many of the roots lie before its end; the last of them may lie within it.
static BEFORE: [u8; CELLS] = before();
/// Mantissas of the roots, and one that none exceeds.
static EDGES: [u64; PER_OCTAVE as usize + 1] = edges();

const fn before() -> [u8; CELLS] {
    let mut before = [0; CELLS];
    let mut cell = 0;
    while cell < CELLS {
        let start = 1.0 + cell as f64 / CELLS as f64;
        let mut root = 0;
        while root < ROOTS.len() && ROOTS[root] < start {
            root += 1;
        }
        before[cell] = root as u8;
        cell += 1;
    }
    before
}

const fn edges() -> [u64; PER_OCTAVE as usize + 1] {
    let mut edges = [u64::MAX; PER_OCTAVE as usize + 1];
    let mut root = 0;
    while root < ROOTS.len() {
        edges[root] = ROOTS[root].to_bits() & MANTISSA;
        root += 1;
    }
    edges
}

/// The native bucket of a positive number: the least `i` for which it is at most 2^(i/8).
fn native_index(value: f64) -> i32 {
    let bits = value.to_bits();
    let exponent = (bits >> MANTISSA_BITS) as i32 - EXPONENT_BIAS;
    let mantissa = bits & MANTISSA;
    let before = BEFORE[(mantissa >> (MANTISSA_BITS - CELLS.ilog2())) as usize];
    let within = EDGES[usize::from(before)] < mantissa;
    exponent * PER_OCTAVE + i32::from(before) + i32::from(within)
}

/// How one kind of quantity is divided into buckets.
#[derive(Debug)]
pub struct Scale {
    /// Upper bounds, and infinity behind them.
    bounds: [f64; CHOSEN_MAX],
    bounds_len: usize,
    /// Numbers up to two to this power are not told apart.
    floor: i32,
    /// By native bucket, how many bounds lie below it.
    below: [u8; NATIVE_MAX],
}

impl Scale {
    /// Evaluated where a static is: a list of bounds that does not suit ends the build.
    pub const fn new(upper: &[f64], floor: i32) -> Scale {
        assert!(upper.len() < CHOSEN_MAX, "one bucket lies above the last bound");
        assert!(upper[0] > power(floor), "the smallest bound would be lost");
        assert!(upper[upper.len() - 1] <= power(floor + OCTAVES as i32), "so would the largest");
        let mut bounds = [f64::INFINITY; CHOSEN_MAX];
        let mut nth = 0;
        while nth < upper.len() {
            assert!(nth == 0 || upper[nth] > upper[nth - 1] * ROOTS[1], "two in one native bucket");
            bounds[nth] = upper[nth];
            nth += 1;
        }
        let mut below = [0; NATIVE_MAX];
        let mut bucket = 1;
        while bucket < NATIVE_MAX {
            let start = power(floor + (bucket as i32 - 1) / PER_OCTAVE);
            let start = start * ROOTS[(bucket - 1) % PER_OCTAVE as usize];
            let mut count = 0;
            while count < upper.len() && upper[count] <= start {
                count += 1;
            }
            below[bucket] = count as u8;
            bucket += 1;
        }
        Scale { bounds, bounds_len: upper.len(), floor, below }
    }
}

const fn power(exponent: i32) -> f64 {
    f64::from_bits(((exponent + EXPONENT_BIAS) as u64) << MANTISSA_BITS)
}

/// Counts per bucket, with the sum.
#[derive(Clone, Debug)]
pub struct Histogram {
    scale: &'static Scale,
    chosen: [u64; CHOSEN_MAX],
    native: [u64; NATIVE_MAX],
    sum: f64,
}

/// The buckets of a native histogram that hold something.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Native {
    /// Up to this, numbers are counted in `zero_count`.
    pub zero_threshold: f64,
    pub zero_count: u64,
    /// Runs of buckets: how many lie empty before (from bucket 0, for the first), and how many there are.
    pub spans: Vec<(i32, u32)>,
    /// Each bucket's count less the one before.
    pub deltas: Vec<i64>,
}

impl Histogram {
    pub const fn new(scale: &'static Scale) -> Histogram {
        Histogram { scale, chosen: [0; CHOSEN_MAX], native: [0; NATIVE_MAX], sum: 0.0 }
    }

    /// Counts a number that is not negative.
    pub fn record(&mut self, value: f64) {
        let bucket = native_index(value) - self.scale.floor * PER_OCTAVE;
        let bucket = bucket.clamp(0, NATIVE_MAX as i32 - 1) as usize;
        let below = usize::from(self.scale.below[bucket]);
        let above = usize::from(self.scale.bounds[below] < value);
        self.native[bucket] += 1;
        self.chosen[below + above] += 1;
        self.sum += value;
    }

    pub fn merge(&mut self, other: &Histogram) {
        let add = |(mine, theirs): (&mut u64, &u64)| *mine += theirs;
        self.chosen.iter_mut().zip(&other.chosen).for_each(add);
        self.native.iter_mut().zip(&other.native).for_each(add);
        self.sum += other.sum;
    }

    pub fn sum(&self) -> f64 {
        self.sum
    }

    pub fn count(&self) -> u64 {
        self.chosen.iter().sum()
    }

    /// Upper bound and count of each chosen bucket, the last bounded by infinity.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = self.scale.bounds.iter().copied().zip(self.chosen);
        bounds.take(self.scale.bounds_len + 1).collect()
    }

    pub fn native(&self) -> Native {
        let zero_threshold = power(self.scale.floor);
        let mut native = Native { zero_threshold, zero_count: self.native[0], ..Native::default() };
        let first = self.scale.floor * PER_OCTAVE;
        let (mut next, mut before) = (0, 0);
        for (index, &count) in (first..).zip(&self.native).skip(1).filter(|(_, count)| **count > 0)
        {
            match native.spans.last_mut() {
                Some((_, length)) if index == next => *length += 1,
                _ => native.spans.push((index - next, 1)),
            }
            native.deltas.push(count.cast_signed() - before);
            (next, before) = (index + 1, count.cast_signed());
        }
        native
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    static SECONDS: Scale = Scale::new(&[10e-6, 1e-3, 2.5e-3, 1.0, 30.0], -20);
    static ROWS: Scale = Scale::new(&[1.0, 2.0, 4.0, 8.0], -1);

    #[test]
    fn a_value_counts_in_the_first_bucket_that_holds_it() {
        let mut histogram = Histogram::new(&ROWS);
        for rows in [1.0, 2.0, 3.0, 5000.0] {
            histogram.record(rows);
        }
        let counts: Vec<_> = histogram.buckets().iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [1, 1, 1, 0, 1]);
        assert_eq!((histogram.count(), histogram.sum()), (4, 5006.0));
    }

    #[test]
    fn merging_adds_up() {
        let mut one = Histogram::new(&SECONDS);
        let mut other = one.clone();
        one.record(0.001);
        other.record(2.0);
        one.merge(&other);
        assert_eq!((one.count(), one.sum()), (2, 2.001));
        assert_eq!(one.native().deltas, [1, 0]);
    }

    #[test]
    fn native_buckets_are_told_by_their_distances() {
        let mut histogram = Histogram::new(&ROWS);
        for rows in [1.0, 1.05, 1.05, 4.0] {
            histogram.record(rows);
        }
        let native = histogram.native();
        assert_eq!((native.zero_threshold, native.zero_count), (0.5, 0));
        // 1 ends bucket 0, 1.05 lies in bucket 1, and 4 = 2^(16/8) ends bucket 16.
        assert_eq!(native.spans, [(0, 2), (14, 1)]);
        assert_eq!(native.deltas, [1, 1, -1]);
    }

    #[test]
    fn what_is_out_of_reach_is_counted_at_the_ends() {
        let mut histogram = Histogram::new(&SECONDS);
        for seconds in [0.0, 1e-9, 1e6] {
            histogram.record(seconds);
        }
        let native = histogram.native();
        assert_eq!((native.zero_count, native.spans.len()), (2, 1));
        assert_eq!(
            histogram.buckets().iter().map(|it| it.1).collect::<Vec<_>>(),
            [2, 0, 0, 0, 0, 1]
        );
    }

    proptest! {
        #[test]
        fn a_number_lies_within_its_native_bucket(value in 1e-6..3e3_f64) {
            let index = f64::from(native_index(value));
            let (low, high) = (((index - 1.0) / 8.0).exp2(), (index / 8.0).exp2());
            let tolerance = 1e-12;
            prop_assert!(value > low * (1.0 - tolerance) && value <= high * (1.0 + tolerance));
        }

        #[test]
        fn chosen_buckets_hold_what_a_search_would_put_there(value in 0.0..40.0_f64) {
            let mut histogram = Histogram::new(&SECONDS);
            histogram.record(value);
            let buckets = histogram.buckets();
            let expected = buckets.partition_point(|(bound, _)| *bound < value);
            prop_assert_eq!(buckets.iter().position(|(_, count)| *count == 1), Some(expected));
        }
    }
}
