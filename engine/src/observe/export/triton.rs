//! The series that dashboards, autoscalers and load generators of Triton's know, under their own names and labels.
//!
//! Their counters lack the ending that OpenMetrics asks for: they are counters in Prometheus' text, as with Triton, and
//! gauges in the other formats. The four series of GPUs come with the first GPU that the engine watches: there are no
//! made-up numbers, and the readers that want them do without.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::Scrape;
use super::families::{model_labels, put_gauge, with};
use crate::observe::metrics::ErrorKind;
use crate::observe::stages::ModelCounts;

const PENDING: &str = "nv_inference_pending_request_count";

type Get = fn(&ModelCounts) -> u64;

const SERIES: [(&str, &str, Get); 9] = [
    ("nv_inference_request_success", "Requests that got a prediction", |counts| {
        counts.statistics.predicted.count
    }),
    ("nv_inference_count", "Rows of requests that got a prediction", |counts| {
        counts.statistics.rows
    }),
    ("nv_inference_exec_count", "Batches that were run", |counts| counts.statistics.executions),
    (
        "nv_inference_request_duration_us",
        "From requests handed to the model to their replies, summed",
        |counts| us(counts.statistics.success_ns()),
    ),
    ("nv_inference_queue_duration_us", "Requests' time in the queue, summed", |counts| {
        us(counts.statistics.queue_ns)
    }),
    (
        "nv_inference_compute_input_duration_us",
        "Gathering of the batches that requests travelled in, summed",
        |counts| us(counts.statistics.predicted.input_ns),
    ),
    (
        "nv_inference_compute_infer_duration_us",
        "Time in the model of the batches that requests travelled in, summed",
        |counts| us(counts.statistics.predicted.infer_ns),
    ),
    (
        "nv_inference_compute_output_duration_us",
        "The rest, until the replies of those batches were read, summed",
        |counts| us(counts.statistics.predicted.output_ns),
    ),
    (PENDING, "Requests that wait for a replica", |counts| counts.queue_tasks),
];

/// Whether Triton's text calls the family a counter.
pub(super) fn is_counter(family: &str) -> bool {
    family.starts_with("nv_inference_") && family != PENDING
}

pub(super) fn encode(scrape: &Scrape, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    for (name, help, get) in SERIES {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (model, counts) in &scrape.models {
            put_gauge(&mut family, &model_labels(model), get(counts))?;
        }
    }
    failures(scrape, encoder)
}

fn failures(scrape: &Scrape, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let (name, help) =
        ("nv_inference_request_failure", "Requests that got no prediction, by who is to blame");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (model, counts) in &scrape.models {
        for reason in Reason::ALL {
            let kinds = ErrorKind::ALL.into_iter().filter(|kind| Reason::of(*kind) == reason);
            let count = kinds.map(|kind| counts.errors[kind as usize]).sum();
            put_gauge(&mut family, &with(model_labels(model), "reason", reason.name()), count)?;
        }
    }
    Ok(())
}

fn us(nanos: u64) -> u64 {
    nanos / 1000
}

/// Triton's reasons for a failure.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    Rejected,
    Canceled,
    Backend,
    Other,
}

impl Reason {
    const ALL: [Reason; 4] = [Reason::Rejected, Reason::Canceled, Reason::Backend, Reason::Other];

    fn name(self) -> &'static str {
        match self {
            Reason::Rejected => "REJECTED",
            Reason::Canceled => "CANCELED",
            Reason::Backend => "BACKEND",
            Reason::Other => "OTHER",
        }
    }

    fn of(kind: ErrorKind) -> Reason {
        match kind {
            ErrorKind::QueueFull
            | ErrorKind::Overloaded
            | ErrorKind::NoReplica
            | ErrorKind::DeadlinePassed
            | ErrorKind::Draining => Reason::Rejected,
            ErrorKind::ClientGone => Reason::Canceled,
            ErrorKind::ModelRaised
            | ErrorKind::InputRefused
            | ErrorKind::BadOutput
            | ErrorKind::ReplicaLost
            | ErrorKind::Quarantined
            | ErrorKind::BatchTimeout => Reason::Backend,
            ErrorKind::BadInput
            | ErrorKind::UnknownPath
            | ErrorKind::UnknownModel
            | ErrorKind::UnknownVersion
            | ErrorKind::Method
            | ErrorKind::SlowSender
            | ErrorKind::SlowReader
            | ErrorKind::NotOnePart
            | ErrorKind::TooLarge
            | ErrorKind::Encoding
            | ErrorKind::Unsupported
            | ErrorKind::Forbidden
            | ErrorKind::Order => Reason::Other,
        }
    }
}
