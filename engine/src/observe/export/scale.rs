//! How many replicas there should be, and why: for the engine's own scaling, and for whoever scales hosts.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::Scrape;
use super::families::{labels, put_gauge, put_seconds};
use crate::observe::stages::ScaleStanding;

impl Scrape {
    pub(super) fn scale(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Count = fn(&ScaleStanding) -> u64;
        type Rate = fn(&ScaleStanding) -> f64;
        let counts: [(&str, &str, Count); 2] = [
            ("foil_replicas_wanted", "Replicas that the engine keeps", |it| it.wanted.into()),
            (
                "foil_replicas_needed",
                "Replicas that would carry the load at 0.7 of their capacity, whatever bounds say",
                |it| it.needed.into(),
            ),
        ];
        for (name, help, get) in counts {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (model, counts) in &self.models {
                put_gauge(&mut family, &labels(model, counts), get(&counts.scale))?;
            }
        }
        let rates: [(&str, &str, Rate); 2] = [
            (
                "foil_load_rows_per_second",
                "What arrives, served or not: rows, or cost where inputs vary",
                |it| it.load,
            ),
            (
                "foil_capacity_rows_per_second",
                "What one replica carries within the SLO, in the same unit; 0: unknown",
                |it| it.capacity,
            ),
        ];
        for (name, help, get) in rates {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (model, counts) in &self.models {
                put_seconds(&mut family, &labels(model, counts), get(&counts.scale))?;
            }
        }
        Ok(())
    }
}
