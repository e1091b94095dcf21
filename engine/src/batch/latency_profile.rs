//! What batches took lately, by size: the expected service time of the next one.
//!
//! A centre, not a tail: it says what is likely, for ordering and for predictions to callers. The tail belongs to
//! the controller. Sizes share a bucket per octave; each bucket remembers a bounded number of the latest batches,
//! and its estimate is their median, so that one outlier moves nothing.

use std::time::Duration;

/// One bucket per octave of rows; `max_batch` is at most 65536 = 2^16.
const BUCKETS: usize = 17;

/// Latest batches remembered per bucket. Few, so that a model that became slower is believed after eight batches.
const SAMPLES_PER_BUCKET_MAX: usize = 16;

#[derive(Debug, Default)]
pub struct LatencyProfile {
    buckets: [Bucket; BUCKETS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    samples: [Duration; SAMPLES_PER_BUCKET_MAX],
    seen: usize,
    median: Duration,
}

impl LatencyProfile {
    pub fn observe(&mut self, rows: u32, service: Duration) {
        self.buckets[bucket_of(rows)].observe(service);
    }

    /// Expected service of a batch of `rows`: the median of its octave, else of the nearest smaller octave seen,
    /// else of the nearest larger. Zero when nothing was seen: a new model is given the benefit of the doubt.
    pub fn expected_service(&self, rows: u32) -> Duration {
        let (smaller, larger) = self.buckets.split_at(bucket_of(rows) + 1);
        let mut by_nearness = smaller.iter().rev().chain(larger);
        by_nearness.find(|bucket| bucket.seen > 0).map_or(Duration::ZERO, |bucket| bucket.median)
    }
}

impl Bucket {
    fn observe(&mut self, service: Duration) {
        self.samples[self.seen % SAMPLES_PER_BUCKET_MAX] = service;
        self.seen += 1;
        let len = self.seen.min(SAMPLES_PER_BUCKET_MAX);
        let mut sorted = self.samples;
        sorted[..len].sort_unstable();
        self.median = sorted[len / 2];
    }
}

fn bucket_of(rows: u32) -> usize {
    (rows.max(1).ilog2() as usize).min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn an_unknown_model_is_expected_to_take_no_time() {
        assert_eq!(LatencyProfile::default().expected_service(8), Duration::ZERO);
    }

    #[test]
    fn one_outlier_moves_nothing() {
        let mut profile = LatencyProfile::default();
        [5, 5, 500, 5, 5].iter().for_each(|&service| profile.observe(8, ms(service)));
        assert_eq!(profile.expected_service(8), ms(5));
    }

    #[test]
    fn a_model_that_became_slower_is_believed_after_half_a_window() {
        let mut profile = LatencyProfile::default();
        (0..100).for_each(|_| profile.observe(8, ms(5)));
        (0..=SAMPLES_PER_BUCKET_MAX / 2).for_each(|_| profile.observe(8, ms(10)));
        assert_eq!(profile.expected_service(8), ms(10));
    }

    #[test]
    fn a_size_never_seen_borrows_from_the_nearest_smaller_one_then_the_nearest_larger() {
        let mut profile = LatencyProfile::default();
        profile.observe(4, ms(4));
        profile.observe(32, ms(32));
        assert_eq!(profile.expected_service(16), ms(4));
        assert_eq!(profile.expected_service(1), ms(4));
        assert_eq!(profile.expected_service(u32::MAX), ms(32));
    }
}
