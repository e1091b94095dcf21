//! The host's GPUs and slices: memory, health, who sits there.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::Scrape;
use super::families::{Labels, put_gauge};
use crate::observe::devices::DeviceStanding;

type Get = fn(&DeviceStanding) -> u64;

impl Scrape {
    pub(super) fn gpus(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let standings = self.beside.devices.get();
        if standings.is_empty() {
            return Ok(());
        }
        let gauges: [(&str, &str, Get); 6] = [
            ("foil_device_healthy", "1: the device takes replicas", |it| it.is_healthy.into()),
            ("foil_device_seats", "Replicas that were given the device", |it| it.replicas.into()),
            ("foil_device_memory_total_bytes", "Memory of the device", |it| it.memory_bytes),
            ("foil_device_memory_used_bytes", "Used by anybody", |it| it.used_bytes),
            (
                "foil_device_memory_foreign_bytes",
                "Used by others than this engine's replicas, as far as it can be told",
                |it| it.foreign_bytes,
            ),
            (
                "foil_device_memory_leaked_bytes",
                "Still taken after a replica had gone, by nobody that is seen",
                |it| it.leaked_bytes,
            ),
        ];
        for (name, help, get) in gauges {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for device in &standings {
                put_gauge(&mut family, &labels(device), get(device))?;
            }
        }
        Ok(())
    }
}

fn labels(device: &DeviceStanding) -> Labels {
    vec![("device", device.uuid.clone()), ("name", device.name.clone())]
}
