//! How numbers are written: labels, and one function per kind of metric.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{
    EncodeMetric, MetricEncoder, NativeHistogram, NativeHistogramBuckets,
};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::ids::Version;
use crate::observe::histogram::{Histogram, SCHEMA};
use crate::observe::stages::ModelCounts;

/// Where replicas run of which nothing else is known.
const DEVICE: &str = "cpu";

/// In place of one device's name where a number counts several.
const ANY_DEVICE: &str = "any";

pub(super) type Labels = Vec<(&'static str, String)>;

pub(super) type ModelKey = (Arc<str>, Version);

/// Of a number that counts all devices of a model.
pub(super) fn labels(model: &ModelKey, counts: &ModelCounts) -> Labels {
    let device = match counts.names.as_ref().map(|names| &*names.devices) {
        None | Some([]) => DEVICE,
        Some([one]) => one,
        Some(_) => ANY_DEVICE,
    };
    device_labels(model, device)
}

pub(super) fn device_labels(model: &ModelKey, device: &str) -> Labels {
    with(model_labels(model), "device", device)
}

pub(super) fn model_labels((model, version): &ModelKey) -> Labels {
    vec![("model", model.to_string()), ("version", version.to_string())]
}

pub(super) fn with(mut labels: Labels, key: &'static str, value: &str) -> Labels {
    labels.push((key, value.to_owned()));
    labels
}

pub(super) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

pub(super) fn put_counter(
    family: &mut MetricEncoder<'_>,
    labels: &Labels,
    count: u64,
) -> fmt::Result {
    ConstCounter::new(count).encode(family.encode_family(labels)?)
}

pub(super) fn put_gauge(
    family: &mut MetricEncoder<'_>,
    labels: &Labels,
    value: u64,
) -> fmt::Result {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    ConstGauge::new(value).encode(family.encode_family(labels)?)
}

pub(super) fn put_seconds(
    family: &mut MetricEncoder<'_>,
    labels: &Labels,
    seconds: f64,
) -> fmt::Result {
    ConstGauge::new(seconds).encode(family.encode_family(labels)?)
}

/// With native buckets where the format has them.
pub(super) fn put_histogram(
    family: &mut MetricEncoder<'_>,
    labels: &Labels,
    histogram: &Histogram,
) -> fmt::Result {
    let (sum, count, buckets) = (histogram.sum(), histogram.count(), histogram.buckets());
    let native = histogram.native();
    let native = NativeHistogram {
        schema: SCHEMA,
        zero_threshold: native.zero_threshold,
        zero_count: native.zero_count,
        negative: NativeHistogramBuckets { spans: &[], deltas: &[] },
        positive: NativeHistogramBuckets { spans: &native.spans, deltas: &native.deltas },
        created: None,
    };
    let mut family = family.encode_family(labels)?;
    family.encode_histogram_with_native::<Labels>(sum, count, &buckets, None, native)
}
