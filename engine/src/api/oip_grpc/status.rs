//! What can go wrong as the statuses of gRPC: one total match, the counterpart of the HTTP one in
//! [`api/status`](crate::api::status). The codes are those of Triton where it has the case.

use std::time::Duration;

use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use crate::api::status::ApiError;
use crate::client_shm::registry::RegisterFault;
use crate::codec::fault::InputFault;
use crate::fleet::orders::OrderError;
use crate::observe::setting::SettingError;
use crate::query::types::TaskError;

/// By gRPC's own retry policies (its proposal A6), when to try again.
const PUSHBACK_MS: &str = "grpc-retry-pushback-ms";
/// The same for clients that look themselves, as over HTTP.
const RETRY_AFTER_MS: &str = "retry-after-ms";

pub(super) fn of(error: &ApiError) -> Status {
    let message = error.to_string();
    match error.shown().retry_after {
        None => Status::new(code(error), message),
        Some(wait) => Status::with_metadata(code(error), message, retry(wait)),
    }
}

fn retry(wait: Duration) -> MetadataMap {
    let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
    let mut metadata = MetadataMap::new();
    metadata.insert(PUSHBACK_MS, ms.into());
    metadata.insert(RETRY_AFTER_MS, ms.into());
    metadata
}

fn code(error: &ApiError) -> Code {
    match error {
        ApiError::UnknownPath | ApiError::Method { .. } | ApiError::Encoding { .. } => {
            Code::Unimplemented
        }
        ApiError::UnknownModel { .. } | ApiError::UnknownVersion { .. } => Code::NotFound,
        ApiError::BodyTooLarge { .. } | ApiError::Crowded { .. } => Code::ResourceExhausted,
        ApiError::SlowSender { .. } => Code::DeadlineExceeded,
        ApiError::BrokenBody
        | ApiError::BrokenEncoding
        | ApiError::BadTimeout
        | ApiError::BadGrpcTimeout
        | ApiError::AdminBody { .. }
        | ApiError::LoadConfig
        | ApiError::LoadParameter { .. }
        | ApiError::BadVersion { .. } => Code::InvalidArgument,
        ApiError::LoadFiles => Code::Unimplemented,
        ApiError::Forbidden(_) => Code::PermissionDenied,
        // No call of gRPC asks for it.
        ApiError::Fleet { .. } => Code::FailedPrecondition,
        ApiError::Order(error) => order_code(error),
        ApiError::Input(InputFault::NotOffered { .. }) => Code::Unimplemented,
        ApiError::Setting(SettingError::Unsupported { .. }) => Code::Unimplemented,
        ApiError::Setting(_) | ApiError::Input(_) => Code::InvalidArgument,
        ApiError::SharedMemory(fault) => region_code(fault),
        ApiError::Task(error) => task_code(error),
    }
}

fn region_code(fault: &RegisterFault) -> Code {
    match fault {
        RegisterFault::Off | RegisterFault::NotOurs | RegisterFault::Own => Code::PermissionDenied,
        RegisterFault::Unknown | RegisterFault::NoObject => Code::NotFound,
        RegisterFault::Taken => Code::AlreadyExists,
        RegisterFault::TooMany { .. } | RegisterFault::TooLarge { .. } => Code::ResourceExhausted,
        RegisterFault::Cuda
        | RegisterFault::Request { .. }
        | RegisterFault::Name
        | RegisterFault::Key
        | RegisterFault::Reserved { .. }
        | RegisterFault::Kind
        | RegisterFault::Size { .. }
        | RegisterFault::NoDescriptor
        | RegisterFault::Line
        | RegisterFault::Unsealed
        | RegisterFault::System(_) => Code::InvalidArgument,
    }
}

fn order_code(error: &OrderError) -> Code {
    match error {
        OrderError::NotFound { .. } | OrderError::NotLoaded { .. } => Code::NotFound,
        OrderError::Name { .. }
        | OrderError::Settings { .. }
        | OrderError::NotAlive { .. }
        | OrderError::Polled { .. } => Code::InvalidArgument,
        OrderError::Deployed { .. } => Code::FailedPrecondition,
        OrderError::Busy | OrderError::HandingOver | OrderError::Stopping => Code::Unavailable,
    }
}

fn task_code(error: &TaskError) -> Code {
    match error {
        TaskError::QueueFull { .. }
        | TaskError::Overloaded { .. }
        | TaskError::NoReplica { .. }
        | TaskError::Draining => Code::Unavailable,
        TaskError::TooLarge { .. } | TaskError::InputRefused { .. } => Code::InvalidArgument,
        TaskError::DeadlinePassed | TaskError::BatchTimeout { .. } => Code::DeadlineExceeded,
        TaskError::ModelRaised { .. }
        | TaskError::BadOutput { .. }
        | TaskError::StreamBroken { .. }
        | TaskError::Quarantined { .. }
        | TaskError::ReplicaLost { .. } => Code::Internal,
        TaskError::ReaderTooSlow { .. } => Code::ResourceExhausted,
        TaskError::NotOnePart { .. } => Code::FailedPrecondition,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overload_says_when_to_come_again() {
        let full = TaskError::QueueFull { retry_after: Duration::from_micros(1) };
        let status = of(&full.into());
        assert_eq!(status.code(), Code::Unavailable);
        for key in [PUSHBACK_MS, RETRY_AFTER_MS] {
            assert_eq!(status.metadata().get(key).map(|ms| ms.as_bytes()), Some(&b"1"[..]));
        }
    }

    #[test]
    fn whose_fault_it_is_can_be_told_by_the_code() {
        let raised = TaskError::ModelRaised { message: "no".into() };
        assert_eq!(of(&raised.into()).code(), Code::Internal);
        let refused = TaskError::InputRefused { message: "no".into() };
        assert_eq!(of(&refused.into()).code(), Code::InvalidArgument);
        assert_eq!(of(&InputFault::NoInputs.into()).code(), Code::InvalidArgument);
        let sequence = InputFault::NotOffered { what: "sequence_id", instead: "don't" };
        assert_eq!(of(&sequence.into()).code(), Code::Unimplemented);
        assert_eq!(of(&TaskError::DeadlinePassed.into()).code(), Code::DeadlineExceeded);
    }
}
