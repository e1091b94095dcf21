//! Histograms with fixed classic buckets. A recorder belongs to one core; [`Counts`] are its plain, addable copy.
//!
//! Two scales, both found with a shift and no search: durations grow two buckets an octave, sizes one. Every
//! histogram of a scale has the same bounds in every build, so sums over cores, models and restarts are exact.

use std::cell::Cell;
use std::time::Duration;

/// The duration scale counts in this unit; the first bound is twice it. 5 µs resolves the engine's own stages
/// (parsing and the lane take 1–50 µs), below what a client could notice.
const DURATION_UNIT_NS: u64 = 2_500;
/// 5 µs · 2²¹ = 10.5 s: past the 10 s after which callers have given up.
const DURATION_OCTAVES: usize = 21;
/// Two bounds an octave keep an interpolated percentile within a quarter of the truth.
const DURATION_BOUNDS: usize = 1 + 2 * DURATION_OCTAVES;
/// 2¹⁶ is the largest `max_batch` a model can declare.
const SIZE_OCTAVES: usize = 16;
const SIZE_BOUNDS: usize = 1 + SIZE_OCTAVES;

/// One count a bound and one for what lies above the last.
const DURATION_BUCKETS: usize = DURATION_BOUNDS + 1;
const SIZE_BUCKETS: usize = SIZE_BOUNDS + 1;

/// Durations, in nanoseconds.
#[derive(Debug)]
pub struct DurationHistogram(Histogram<DURATION_BUCKETS>);

impl Default for DurationHistogram {
    fn default() -> Self {
        DurationHistogram(Histogram::new())
    }
}

impl DurationHistogram {
    pub fn record(&self, span: Duration) {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.0.record(duration_bucket(nanos), nanos);
    }

    pub fn counts(&self) -> Counts {
        self.0.counts()
    }

    /// Upper bounds in seconds, without the infinite one.
    pub fn bounds_s() -> impl Iterator<Item = f64> {
        (0..DURATION_BOUNDS).map(|bucket| duration_bound_ns(bucket) as f64 / 1e9)
    }
}

/// Rows of a batch.
#[derive(Debug)]
pub struct SizeHistogram(Histogram<SIZE_BUCKETS>);

impl Default for SizeHistogram {
    fn default() -> Self {
        SizeHistogram(Histogram::new())
    }
}

impl SizeHistogram {
    pub fn record(&self, size: u32) {
        self.0.record(size_bucket(size), u64::from(size));
    }

    pub fn counts(&self) -> Counts {
        self.0.counts()
    }

    /// Upper bounds, without the infinite one.
    pub fn bounds() -> impl Iterator<Item = f64> {
        (0..SIZE_BOUNDS).map(|bucket| (1_u64 << bucket) as f64)
    }
}

/// A histogram's state at one moment: plain data that adds up. Empty counts mean "nothing recorded".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// One for each bound and a last one for what lies above; not cumulative.
    pub buckets: Vec<u64>,
    pub sum: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[derive(Debug)]
struct Histogram<const N: usize> {
    buckets: [Cell<u64>; N],
    sum: Cell<u64>,
}

impl<const N: usize> Histogram<N> {
    fn new() -> Self {
        Histogram { buckets: [const { Cell::new(0) }; N], sum: Cell::new(0) }
    }

    fn record(&self, bucket: usize, value: u64) {
        let count = &self.buckets[bucket];
        count.set(count.get() + 1);
        self.sum.set(self.sum.get().saturating_add(value));
    }

    fn counts(&self) -> Counts {
        Counts { buckets: self.buckets.iter().map(Cell::get).collect(), sum: self.sum.get() }
    }
}

/// The first bucket whose bound is not below `nanos`. Bounds are 2, 3, 4, 6, 8, 12 … units: the highest bit of the
/// count of whole units names the octave, the next bit its half. One less, because a bound belongs to its bucket.
fn duration_bucket(nanos: u64) -> usize {
    let units = nanos.saturating_sub(1) / DURATION_UNIT_NS;
    if units < 2 {
        return 0;
    }
    let octave = units.ilog2() as usize;
    let upper_half = (units >> (octave - 1)) as usize & 1;
    (2 * octave - 1 + upper_half).min(DURATION_BOUNDS)
}

fn duration_bound_ns(bucket: usize) -> u64 {
    let octave = 2 * DURATION_UNIT_NS << (bucket / 2);
    if bucket.is_multiple_of(2) { octave } else { octave + octave / 2 }
}

fn size_bucket(size: u32) -> usize {
    let bound = u64::from(size).max(1).next_power_of_two();
    (bound.ilog2() as usize).min(SIZE_BOUNDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_the_next_nanosecond_does_not() {
        assert_eq!(duration_bucket(0), 0);
        for bucket in 0..DURATION_BOUNDS {
            let bound = duration_bound_ns(bucket);
            assert_eq!(duration_bucket(bound), bucket, "{bound} ns");
            assert_eq!(duration_bucket(bound + 1), bucket + 1, "{bound} ns and one");
        }
        assert_eq!(duration_bucket(u64::MAX), DURATION_BOUNDS);
    }

    #[test]
    fn bounds_rise_from_five_microseconds_to_past_ten_seconds() {
        let bounds: Vec<f64> = DurationHistogram::bounds_s().collect();
        assert_eq!(bounds[..4], [5e-6, 7.5e-6, 1e-5, 1.5e-5]);
        assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(bounds.last().is_some_and(|&last| (10.0..11.0).contains(&last)));
    }

    #[test]
    fn sizes_fall_into_powers_of_two() {
        let buckets = [0, 1, 2, 3, 4, 5, 64, 65, 65_536, 65_537, u32::MAX].map(size_bucket);
        assert_eq!(buckets, [0, 0, 1, 2, 2, 3, 6, 7, 16, 17, 17]);
    }

    #[test]
    fn counts_of_two_recorders_add_up() {
        let (one, other) = (DurationHistogram::default(), DurationHistogram::default());
        one.record(Duration::from_micros(10));
        other.record(Duration::from_micros(10));
        other.record(Duration::from_secs(60));
        let mut sum = Counts::default();
        sum.add(&one.counts());
        sum.add(&other.counts());
        assert_eq!(sum.count(), 3);
        assert_eq!(sum.buckets[2], 2);
        assert_eq!(sum.buckets[DURATION_BOUNDS], 1);
        assert_eq!(sum.sum, 60_000_020_000);
    }
}
