//! What the protocol's statistics extension counts of a model version.
//!
//! Kept on the core that owns the model, by its dispatcher alone, and copied between two of its turns: so whoever asks
//! gets all numbers of one moment. A request's times are added in one step, when it is answered; the counts that must
//! never differ are one number here.

use std::time::Duration;

use crate::clock::Time;

/// Sizes of batches that are told apart. A model whose requests bring more different numbers of rows than this has its
/// further sizes counted in the totals alone.
const SIZES_MAX: usize = 512;

/// What a batch took, once it was gathered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compute {
    /// Gathering rows and handing them over.
    pub input: Duration,
    /// Inside the model.
    pub infer: Duration,
    /// All the rest, until the reply was read.
    pub output: Duration,
}

/// Sums of [`Compute`], nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ComputeTotals {
    pub count: u64,
    pub input_ns: u64,
    pub infer_ns: u64,
    pub output_ns: u64,
}

impl ComputeTotals {
    fn add(&mut self, compute: &Compute) {
        self.count += 1;
        self.input_ns += nanos(compute.input);
        self.infer_ns += nanos(compute.infer);
        self.output_ns += nanos(compute.output);
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Rows of requests that got a prediction.
    pub rows: u64,
    /// Of requests that got a prediction; each has its whole batch's times.
    pub predicted: ComputeTotals,
    pub queue_ns: u64,
    /// Requests that reached the dispatcher and got none.
    pub failed: u64,
    pub failed_ns: u64,
    pub executions: u64,
    /// Batches by their rows, ascending.
    pub by_rows: Vec<(u32, ComputeTotals)>,
    /// When the latest batch came back.
    pub last: Option<Time>,
}

impl Statistics {
    pub fn executed(&mut self, rows: u32, compute: &Compute, now: Time) {
        self.executions += 1;
        self.last = Some(now);
        match self.by_rows.binary_search_by_key(&rows, |&(rows, _)| rows) {
            Ok(found) => self.by_rows[found].1.add(compute),
            Err(place) if self.by_rows.len() < SIZES_MAX => {
                self.by_rows.insert(place, (rows, ComputeTotals::default()));
                self.by_rows[place].1.add(compute);
            }
            Err(_) => {}
        }
    }

    pub fn predicted(&mut self, rows: u32, queue: Duration, compute: &Compute) {
        self.rows += u64::from(rows);
        self.queue_ns += nanos(queue);
        self.predicted.add(compute);
    }

    pub fn failed(&mut self, waited: Duration) {
        self.failed += 1;
        self.failed_ns += nanos(waited);
    }

    /// From submission to the reply, summed over requests that got a prediction.
    pub fn success_ns(&self) -> u64 {
        let ComputeTotals { input_ns, infer_ns, output_ns, .. } = self.predicted;
        self.queue_ns + input_ns + infer_ns + output_ns
    }
}

/// Sums overflow after 584 years of waiting.
fn nanos(span: Duration) -> u64 {
    span.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compute(infer_ms: u64) -> Compute {
        let ms = Duration::from_millis;
        Compute { input: ms(1), infer: ms(infer_ms), output: ms(2) }
    }

    #[test]
    fn a_request_has_its_whole_batchs_times() {
        let mut statistics = Statistics::default();
        statistics.executed(3, &compute(10), Time::from_nanos(7));
        statistics.predicted(1, Duration::from_millis(4), &compute(10));
        statistics.predicted(2, Duration::from_millis(5), &compute(10));
        assert_eq!((statistics.executions, statistics.rows), (1, 3));
        assert_eq!((statistics.predicted.count, statistics.predicted.infer_ns), (2, 20_000_000));
        assert_eq!(statistics.success_ns(), 35_000_000);
        assert_eq!(statistics.last, Some(Time::from_nanos(7)));
    }

    #[test]
    fn batches_are_listed_by_their_rows() {
        let mut statistics = Statistics::default();
        for rows in [8, 2, 8] {
            statistics.executed(rows, &compute(1), Time::ZERO);
        }
        let listed: Vec<_> =
            statistics.by_rows.iter().map(|(rows, it)| (*rows, it.count)).collect();
        assert_eq!(listed, [(2, 1), (8, 2)]);
    }

    #[test]
    fn sizes_beyond_the_bound_count_in_the_totals_alone() {
        let mut statistics = Statistics::default();
        for rows in 0..=SIZES_MAX as u32 {
            statistics.executed(rows, &compute(1), Time::ZERO);
        }
        assert_eq!(statistics.by_rows.len(), SIZES_MAX);
        assert_eq!(statistics.executions, SIZES_MAX as u64 + 1);
    }
}
