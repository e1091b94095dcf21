//! The vocabulary of what is measured: stages, kinds of errors, and how quantities are divided into buckets.

use super::histogram::Scale;

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
    SlowReader = "slow_reader",
    NotOnePart = "not_one_part",
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
    Quarantined = "quarantined",
    BatchTimeout = "batch_timeout",
    ClientGone = "client_gone",
    Draining = "draining",
    Forbidden = "forbidden",
    Order = "order",
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

/// How a replica was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Its process ended by itself.
    Ended,
    /// It broke its lane's protocol.
    Fault,
    /// A batch took longer than `batch_timeout`.
    TimedOut,
    /// Its heart stopped.
    Silent,
}

impl Loss {
    pub const COUNT: usize = 4;
    pub const ALL: [Loss; Loss::COUNT] = [Loss::Ended, Loss::Fault, Loss::TimedOut, Loss::Silent];

    pub fn name(self) -> &'static str {
        match self {
            Loss::Ended => "ended",
            Loss::Fault => "lane_fault",
            Loss::TimedOut => "batch_timeout",
            Loss::Silent => "no_heartbeat",
        }
    }
}

/// Of a stage, seconds. Bounds two to a factor of about 2.5: from half of what the fastest stage takes to the longest
/// wait we allow by default.
pub static STAGE_S: Scale = Scale::new(
    &[
        10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1,
        0.25, 0.5, 1.0, 5.0, 30.0,
    ],
    MICROSECOND,
);

/// Of how long a request waited that was shed, seconds. A refusal at arrival is due within 2 ms; what is shed later
/// waited for batches of others.
pub static SHED_WAIT_S: Scale = Scale::new(
    &[50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 1.0],
    MICROSECOND,
);

/// Of batch sizes, rows.
pub static BATCH_ROWS: Scale =
    Scale::new(&[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0], HALF);

/// Two to this is the least time worth telling from none, in seconds.
const MICROSECOND: i32 = -20;
/// And that is less than any batch has.
const HALF: i32 = -1;
