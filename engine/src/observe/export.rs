//! The metrics page: every core's records merged once per scrape, in the format that the scraper reads.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::prometheus_protobuf::{self, EncodeError};
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use self::families::{
    Labels, ModelKey, device_labels, labels, put_counter, put_gauge, put_histogram, put_seconds,
    seconds, with,
};
use super::metrics::{ClassOutcome, ErrorKind, Loss, Stage};
use super::stages::{CoreSnapshot, DeviceStanding, ModelCounts};
use crate::ids::Version;
use crate::observe::deployments::{DeploymentCounts, Outcome};
use crate::observe::devices::DeviceStandings;

mod families;
mod format;
mod gpus;
mod scale;
mod server;
mod triton;

pub use format::Format;
pub use server::serve;

/// Whose names are on the page beside our own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compat {
    #[default]
    None,
    Triton,
}

/// What is on the page beside what cores count.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    pub compat: Compat,
    pub deployments: DeploymentCounts,
    pub devices: DeviceStandings,
}

/// One scrape: all models, merged over cores.
#[derive(Debug)]
struct Scrape {
    beside: Beside,
    cores: Vec<CoreSnapshot>,
    models: BTreeMap<ModelKey, ModelCounts>,
}

#[derive(Debug, thiserror::Error)]
#[error("the metrics can't be written: {0}")]
pub struct PageError(#[from] EncodeError);

/// The page for a set of snapshots.
pub fn page(
    cores: Vec<CoreSnapshot>,
    beside: &Beside,
    format: Format,
) -> Result<Vec<u8>, PageError> {
    let mut models: BTreeMap<_, ModelCounts> = BTreeMap::new();
    for model in cores.iter().flat_map(|core| &core.models) {
        models.entry((model.name.clone(), model.version)).or_default().merge(&model.counts);
    }
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { beside: beside.clone(), cores, models }));
    if format == Format::Protobuf {
        return Ok(prometheus_protobuf::encode_to_vec(&registry)?);
    }
    let mut page = String::new();
    text::encode(&mut page, &registry).map_err(EncodeError::Fmt)?;
    if format == Format::Text {
        page = format::prometheus_text(&page, triton::is_counter);
    }
    Ok(page.into_bytes())
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.build(&mut encoder)?;
        self.requests(&mut encoder)?;
        self.errors(&mut encoder)?;
        self.stages(&mut encoder)?;
        self.batches(&mut encoder)?;
        self.gauges(&mut encoder)?;
        self.batching(&mut encoder)?;
        self.scale(&mut encoder)?;
        self.deployments(&mut encoder)?;
        self.classes(&mut encoder)?;
        self.devices(&mut encoder)?;
        self.gpus(&mut encoder)?;
        self.connections(&mut encoder)?;
        match self.beside.compat {
            Compat::None => Ok(()),
            Compat::Triton => triton::encode(self, &mut encoder),
        }
    }
}

impl Scrape {
    fn build(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Which Hydrofoil this is";
        let mut family = encoder.encode_descriptor("foil_build", help, None, MetricType::Info)?;
        family.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
    }

    fn deployments(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Versions that were deployed or promoted, by what became of them";
        let mut family =
            encoder.encode_descriptor("foil_deployments", help, None, MetricType::Counter)?;
        for outcome in Outcome::ALL {
            let labels = vec![("result", outcome.name().to_owned())];
            put_counter(&mut family, &labels, self.beside.deployments.get(outcome))?;
        }
        Ok(())
    }

    fn requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests that got a prediction";
        let mut family =
            encoder.encode_descriptor("foil_requests", help, None, MetricType::Counter)?;
        for (model, counts) in &self.models {
            put_counter(&mut family, &labels(model, counts), counts.answered)?;
        }
        Ok(())
    }

    fn errors(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help =
            "Requests that got none, by cause; those that concern no model have an empty one";
        let mut family =
            encoder.encode_descriptor("foil_errors", help, None, MetricType::Counter)?;
        let nobody = ((Arc::from(""), Version(0)), ModelCounts::new());
        for kind in ErrorKind::ALL {
            for (model, counts) in &self.models {
                let labels = with(labels(model, counts), "code", kind.name());
                put_counter(&mut family, &labels, counts.errors[kind as usize])?;
            }
            let count = self.cores.iter().map(|core| core.errors[kind as usize]).sum();
            put_counter(
                &mut family,
                &with(labels(&nobody.0, &nobody.1), "code", kind.name()),
                count,
            )?;
        }
        Ok(())
    }

    fn stages(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Where a request's time goes, seconds";
        let name = "foil_stage_seconds";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (model, counts) in &self.models {
            for stage in Stage::ALL {
                let labels = with(labels(model, counts), "stage", stage.name());
                put_histogram(&mut family, &labels, &counts.stages[stage as usize])?;
            }
        }
        self.durations(encoder)
    }

    /// Three of the stages by the names that people look for.
    fn durations(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let families = [
            (
                "foil_request_duration_seconds",
                "From a request's last byte read to its answer handed to the socket",
                Stage::Total,
            ),
            (
                "foil_queue_duration_seconds",
                "From a request handed to its model to its batch sent",
                Stage::Queue,
            ),
            ("foil_model_duration_seconds", "Inside the model, of each request", Stage::Model),
        ];
        for (name, help, stage) in families {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            for (model, counts) in &self.models {
                put_histogram(&mut family, &labels(model, counts), &counts.stages[stage as usize])?;
            }
        }
        Ok(())
    }

    fn batches(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Rows of the batches that came back";
        let name = "foil_batch_size";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (model, counts) in &self.models {
            put_histogram(&mut family, &labels(model, counts), &counts.batch_rows)?;
        }
        Ok(())
    }

    fn gauges(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Get = fn(&ModelCounts) -> u64;
        let gauges: [(&str, &str, Get); 5] = [
            ("foil_queue_length", "Requests that wait for a replica", |counts| counts.queue_tasks),
            (
                "foil_inflight_requests",
                "Requests accepted and not answered: they wait, or are with a replica",
                |counts| counts.in_flight,
            ),
            ("foil_queue_bytes", "Bytes of the rows that wait", |counts| counts.queue_bytes),
            ("foil_replicas", "Replicas that can answer", |counts| counts.replicas),
            (
                "foil_batch_target",
                "Cost (rows, unless inputs vary) of the smallest batch that keeps up",
                |counts| counts.batching.target_cost,
            ),
        ];
        for (name, help, get) in gauges {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (model, counts) in &self.models {
                put_gauge(&mut family, &labels(model, counts), get(counts))?;
            }
        }
        self.counters(encoder)
    }

    fn counters(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Get = fn(&ModelCounts) -> u64;
        let counters: [(&str, &str, Get); 3] = [
            (
                "foil_quarantined",
                "Requests answered with an error because two replicas died while they ran them",
                |counts| counts.quarantined,
            ),
            ("foil_lane_bytes", "Bytes of rows sent to replicas and read from them", |counts| {
                counts.lane_bytes
            }),
            (
                "foil_slo_violations",
                "Requests without an answer when it was due: late, expired, or turned away",
                slo_violations,
            ),
        ];
        for (name, help, get) in counters {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (model, counts) in &self.models {
                put_counter(&mut family, &labels(model, counts), get(counts))?;
            }
        }
        self.losses(encoder)
    }

    fn losses(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (name, help) = ("foil_replica_restarts", "Replicas lost without being asked to go");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (model, counts) in &self.models {
            for loss in Loss::ALL {
                let labels = with(labels(model, counts), "reason", loss.name());
                put_counter(&mut family, &labels, counts.replicas_lost[loss as usize])?;
            }
        }
        Ok(())
    }

    fn batching(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests turned away or given up, by reason";
        let mut family = encoder.encode_descriptor("foil_shed", help, None, MetricType::Counter)?;
        for (model, counts) in &self.models {
            for (reason, count) in
                counts.batching.shed.iter().filter(|(reason, _)| !reason.is_empty())
            {
                put_counter(&mut family, &with(labels(model, counts), "reason", reason), *count)?;
            }
        }
        let help = "How long requests had waited when they were shed, seconds";
        let name = "foil_shed_wait_seconds";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (model, counts) in &self.models {
            put_histogram(&mut family, &labels(model, counts), &counts.shed_waits)?;
        }
        let help = "Copies sent of batches that were overdue";
        let name = "foil_hedged_batches";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (model, counts) in &self.models {
            put_counter(&mut family, &labels(model, counts), counts.batching.hedged_batches)?;
        }
        let help = "How long what waits and runs is expected to take, seconds";
        let name = "foil_predicted_drain_seconds";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (model, counts) in &self.models {
            let seconds = seconds(counts.batching.predicted_drain_ns);
            put_seconds(&mut family, &labels(model, counts), seconds)?;
        }
        Ok(())
    }

    fn classes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help =
            "Requests that reached the model's dispatcher, by SLO class and what became of them";
        let name = "foil_class_requests";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (model, counts) in &self.models {
            let classes = counts.names.iter().flat_map(|names| names.classes.iter());
            for (class, counted) in classes.zip(&counts.by_class) {
                let labels = with(labels(model, counts), "class", &class.name);
                for outcome in ClassOutcome::ALL {
                    let labels = with(labels.clone(), "outcome", outcome.name());
                    put_counter(&mut family, &labels, counted[outcome as usize])?;
                }
            }
        }
        Ok(())
    }

    fn devices(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Times replicas of the device were found to have become slower or faster";
        let name = "foil_speed_changes";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, device) in self.each_device() {
            put_counter(&mut family, &labels, device.regimes)?;
        }
        let help = "Replicas on the device: those that can answer, and of these those with a batch";
        let name = "foil_device_replicas";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, device) in self.each_device() {
            put_gauge(&mut family, &with(labels.clone(), "state", "live"), device.live)?;
            put_gauge(&mut family, &with(labels, "state", "busy"), device.busy)?;
        }
        let help =
            "Learned time of a batch on the device, of cost 1 and of the target's; 0: unknown";
        let name = "foil_batch_seconds_learned";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, device) in self.each_device() {
            let one = with(labels.clone(), "cost", "one");
            put_seconds(&mut family, &one, seconds(device.one_ns))?;
            put_seconds(&mut family, &with(labels, "cost", "target"), seconds(device.target_ns))?;
        }
        Ok(())
    }

    /// Every device of every model that has started, with its labels.
    fn each_device(&self) -> impl Iterator<Item = (Labels, DeviceStanding)> {
        self.models.iter().flat_map(|(model, counts)| {
            let names = counts.names.iter().flat_map(|names| names.devices.iter());
            let one = |(name, standing): (&Arc<str>, &DeviceStanding)| {
                (device_labels(model, name), *standing)
            };
            names.zip(&counts.batching.devices).map(one)
        })
    }

    fn connections(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let core = |core: &CoreSnapshot| vec![("core", core.core.to_string())];
        let help = "Open HTTP connections";
        let name = "foil_http_connections";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for snapshot in &self.cores {
            put_gauge(&mut family, &core(snapshot), snapshot.connections)?;
        }
        let help = "HTTP connections accepted";
        let name = "foil_http_connections_accepted";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for snapshot in &self.cores {
            put_counter(&mut family, &core(snapshot), snapshot.accepted)?;
        }
        Ok(())
    }
}

fn slo_violations(counts: &ModelCounts) -> u64 {
    let missed = [ClassOutcome::Late, ClassOutcome::Expired, ClassOutcome::Shed];
    let of_class = |class: &[u64; ClassOutcome::COUNT]| -> u64 {
        missed.iter().map(|outcome| class[*outcome as usize]).sum()
    };
    counts.by_class.iter().map(of_class).sum()
}

#[cfg(test)]
mod tests;
