//! The vocabulary of what is measured: stages, kinds of errors, histograms and their bounds.

/// Where a request's time goes, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// From the last byte read to the task handed over.
    Parse,
    Queue,
    Lane,
    Model,
    /// From the prediction at hand to the response handed to the socket.
    Respond,
    /// From the last byte read to the response handed to the socket.
    Total,
}

impl Stage {
    pub const COUNT: usize = 6;
    pub const ALL: [Stage; Stage::COUNT] =
        [Stage::Parse, Stage::Queue, Stage::Lane, Stage::Model, Stage::Respond, Stage::Total];

    pub fn name(self) -> &'static str {
        match self {
            Stage::Parse => "parse",
            Stage::Queue => "queue",
            Stage::Lane => "lane",
            Stage::Model => "model",
            Stage::Respond => "respond",
            Stage::Total => "total",
        }
    }
}

macro_rules! error_kinds {
    ($($kind:ident = $name:literal,)*) => {
        /// Why a request got no prediction: one kind per thing that somebody can act on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ErrorKind { $($kind),* }

        impl ErrorKind {
            pub const ALL: [ErrorKind; ErrorKind::COUNT] = [$(ErrorKind::$kind),*];
            pub const COUNT: usize = [$($name),*].len();

            pub fn name(self) -> &'static str {
                match self { $(ErrorKind::$kind => $name),* }
            }
        }
    };
}

error_kinds! {
    BadInput = "bad_input",
    UnknownPath = "unknown_path",
    UnknownModel = "unknown_model",
    UnknownVersion = "unknown_version",
    Method = "method",
    SlowSender = "slow_sender",
    TooLarge = "too_large",
    Encoding = "encoding",
    Unsupported = "unsupported",
    QueueFull = "queue_full",
    Overloaded = "overloaded",
    NoReplica = "no_replica",
    DeadlinePassed = "deadline_passed",
    ModelRaised = "model_raised",
    InputRefused = "input_refused",
    BadOutput = "bad_output",
    ReplicaLost = "replica_lost",
    BatchTimeout = "batch_timeout",
    ClientGone = "client_gone",
    Draining = "draining",
}

/// What became of a task that reached its model's dispatcher, for the account of its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassOutcome {
    OnTime,
    /// Answered, after it was due.
    Late,
    /// Turned away or given up: the queue was full, it could not have been on time, no replica was there.
    Shed,
    /// Its deadline passed unanswered.
    Expired,
    /// The model raised, refused the input, died of it or took too long.
    Failed,
    /// Its client went away first.
    Cancelled,
}

impl ClassOutcome {
    pub const COUNT: usize = 6;
    pub const ALL: [ClassOutcome; ClassOutcome::COUNT] = [
        ClassOutcome::OnTime,
        ClassOutcome::Late,
        ClassOutcome::Shed,
        ClassOutcome::Expired,
        ClassOutcome::Failed,
        ClassOutcome::Cancelled,
    ];

    pub fn name(self) -> &'static str {
        match self {
            ClassOutcome::OnTime => "on_time",
            ClassOutcome::Late => "late",
            ClassOutcome::Shed => "shed",
            ClassOutcome::Expired => "expired",
            ClassOutcome::Failed => "failed",
            ClassOutcome::Cancelled => "cancelled",
        }
    }
}

/// Upper bounds of a stage's buckets, seconds. Two to a factor of about 2.5: from half of what the fastest stage takes
/// to the longest wait we allow by default.
pub const STAGE_BOUNDS_S: [f64; 18] = [
    10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1,
    0.25, 0.5, 1.0, 5.0, 30.0,
];

/// Upper bounds of how long a request waited that was shed, seconds. A refusal at arrival is due within 2 ms; what is
/// shed later waited for batches of others.
pub const SHED_WAIT_BOUNDS_S: [f64; 12] =
    [50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 1.0];

/// Upper bounds of batch sizes, rows.
pub const BATCH_ROWS_BOUNDS: [f64; 11] =
    [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// Buckets in use at most: the longest list of bounds, and one above it.
const BUCKETS_MAX: usize = 19;

/// Counts per bucket, with the sum; the bounds are shared.
#[derive(Clone, Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    counts: [u64; BUCKETS_MAX],
    sum: f64,
}

impl Histogram {
    pub const fn new(bounds: &'static [f64]) -> Histogram {
        assert!(bounds.len() < BUCKETS_MAX, "one bucket lies above the last bound");
        Histogram { bounds, counts: [0; BUCKETS_MAX], sum: 0.0 }
    }

    pub fn record(&mut self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket] += 1;
        self.sum += value;
    }

    pub fn merge(&mut self, other: &Histogram) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.sum += other.sum;
    }

    pub fn sum(&self) -> f64 {
        self.sum
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Upper bound and count of each bucket, the last bounded by infinity.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        bounds.zip(self.counts.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_in_the_first_bucket_that_holds_it() {
        let mut histogram = Histogram::new(&BATCH_ROWS_BOUNDS);
        for rows in [1.0, 2.0, 3.0, 5000.0] {
            histogram.record(rows);
        }
        let counts: Vec<_> = histogram.buckets().iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!((histogram.count(), histogram.sum()), (4, 5006.0));
    }

    #[test]
    fn merging_adds_up() {
        let mut one = Histogram::new(&STAGE_BOUNDS_S);
        let mut other = one.clone();
        one.record(0.001);
        other.record(2.0);
        one.merge(&other);
        assert_eq!((one.count(), one.sum()), (2, 2.001));
    }
}
