//! How a request ended, as the metrics tell it: one name per cause that somebody can act on.

use crate::query::types::TaskError;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestOutcome {
    Ok,
    Error(ErrorKind),
}

macro_rules! error_kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// Why a request failed. The order is the order of counters inside a recorder, nothing more.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum ErrorKind {
            $($(#[$doc])* $kind,)*
        }

        impl ErrorKind {
            pub const ALL: [ErrorKind; [$($name),*].len()] = [$(ErrorKind::$kind),*];

            /// The value of the label `code`.
            pub fn name(self) -> &'static str {
                match self {
                    $(ErrorKind::$kind => $name,)*
                }
            }
        }
    };
}

error_kinds! {
    /// The body, a header or a tensor is not what the model or the protocol asks for.
    BadInput = "bad_input",
    UnknownModel = "unknown_model",
    UnknownVersion = "unknown_version",
    /// No such page, or a page that does not take this method.
    Method = "method",
    TooLarge = "too_large",
    /// The head or the body did not arrive in time.
    SlowSender = "slow_sender",
    /// A content encoding the engine does not speak.
    Encoding = "encoding",
    QueueFull = "queue_full",
    NoReplica = "no_replica",
    DeadlinePassed = "deadline_passed",
    ModelRaised = "model_raised",
    /// The model called the input the caller's fault.
    InputRefused = "input_refused",
    /// The model's output is not what it declares.
    BadOutput = "bad_output",
    ReplicaLost = "replica_lost",
    BatchTimeout = "batch_timeout",
    ClientGone = "client_gone",
    Draining = "draining",
}

impl From<&TaskError> for ErrorKind {
    fn from(error: &TaskError) -> ErrorKind {
        match error {
            TaskError::QueueFull { .. } => ErrorKind::QueueFull,
            TaskError::TooLarge { .. } => ErrorKind::TooLarge,
            TaskError::DeadlinePassed => ErrorKind::DeadlinePassed,
            TaskError::NoReplica { .. } => ErrorKind::NoReplica,
            TaskError::ModelRaised { .. } => ErrorKind::ModelRaised,
            TaskError::InputRefused { .. } => ErrorKind::InputRefused,
            TaskError::BadOutput { .. } => ErrorKind::BadOutput,
            TaskError::ReplicaLost { .. } => ErrorKind::ReplicaLost,
            TaskError::BatchTimeout { .. } => ErrorKind::BatchTimeout,
            TaskError::Draining => ErrorKind::Draining,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_of_a_kind_is_its_counter() {
        for (index, kind) in ErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
        }
    }

    #[test]
    fn no_two_kinds_share_a_name() {
        let mut names: Vec<_> = ErrorKind::ALL.map(ErrorKind::name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ErrorKind::ALL.len());
    }
}
