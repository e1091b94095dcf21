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
        self.merge(&ComputeTotals {
            count: 1,
            input_ns: nanos(compute.input),
            infer_ns: nanos(compute.infer),
            output_ns: nanos(compute.output),
        });
    }

    fn merge(&mut self, other: &ComputeTotals) {
        self.count += other.count;
        self.input_ns += other.input_ns;
        self.infer_ns += other.infer_ns;
        self.output_ns += other.output_ns;
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
        if let Some(totals) = self.of_rows(rows) {
            totals.add(compute);
        }
    }

    /// None for a size beyond those that are told apart.
    fn of_rows(&mut self, rows: u32) -> Option<&mut ComputeTotals> {
        let place = match self.by_rows.binary_search_by_key(&rows, |&(rows, _)| rows) {
            Ok(found) => found,
            Err(_) if self.by_rows.len() == SIZES_MAX => return None,
            Err(place) => {
                self.by_rows.insert(place, (rows, ComputeTotals::default()));
                place
            }
        };
        Some(&mut self.by_rows[place].1)
    }

    /// Adds what was counted of the model elsewhere.
    pub fn merge(&mut self, other: &Statistics) {
        self.rows += other.rows;
        self.predicted.merge(&other.predicted);
        self.queue_ns += other.queue_ns;
        self.failed += other.failed;
        self.failed_ns += other.failed_ns;
        self.executions += other.executions;
        self.last = self.last.max(other.last);
        for (rows, totals) in &other.by_rows {
            if let Some(mine) = self.of_rows(*rows) {
                mine.merge(totals);
            }
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
    fn merging_adds_up() {
        let (mut one, mut other) = (Statistics::default(), Statistics::default());
        one.executed(8, &compute(1), Time::from_nanos(1));
        other.executed(8, &compute(2), Time::from_nanos(3));
        other.executed(2, &compute(4), Time::from_nanos(5));
        other.predicted(2, Duration::ZERO, &compute(4));
        other.failed(Duration::from_nanos(6));
        one.merge(&other);
        let of = |rows| one.by_rows.iter().find(|it| it.0 == rows).map(|it| it.1.infer_ns);
        assert_eq!((of(2), of(8)), (Some(4_000_000), Some(3_000_000)));
        assert_eq!((one.executions, one.rows, one.failed_ns), (3, 2, 6));
        assert_eq!(one.last, Some(Time::from_nanos(5)));
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
