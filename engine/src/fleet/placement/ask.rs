//! What a replica asks for, and what it was given.

use std::time::Duration;

use super::curve::Curve;
use crate::fleet::devices::inventory::DeviceId;
use crate::ids::DeviceClass;

/// What a replica of unknown speed is put down as taking of its device: two of them are taken to fill it.
const BUSY_UNMEASURED: f64 = 0.5;

/// What one replica asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    pub model: String,
    /// In the order of wish.
    pub options: Vec<Choice>,
    /// None: batches take what the engine allows a model without one.
    pub slo: Option<Duration>,
    /// What this replica is to carry; zero where nobody knows yet.
    pub rate_rows_s: f64,
}

/// One kind of device that it can run on.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    pub class: DeviceClass,
    pub on: Kind,
    /// A GPU's for a GPU, the host's for a CPU: as declared, or the measured peak where that is more. Zero: unknown, and
    /// it fits everywhere.
    pub memory_bytes: u64,
    /// None: not measured yet.
    pub curve: Option<Curve>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Cpu {
        /// CPUs of its own, in whole physical cores of one node; 0: not pinned.
        threads: u32,
        /// Just these, as whoever runs the engine said, whoever else is there.
        exact: Option<Vec<usize>>,
    },
    Gpu {
        /// The beginning of a GPU's name (with or without its maker's), of a slice's profile, or of a UUID.
        name: Option<String>,
        /// It shares its GPU or slice with nobody.
        whole: bool,
    },
}

/// What a replica was given, taken until it is gone.
#[derive(Clone, Debug, PartialEq)]
pub struct Seat {
    pub model: String,
    pub class: DeviceClass,
    /// For a replica that is not pinned: the node that its memory is counted on.
    pub device: DeviceId,
    /// Empty: not pinned.
    pub cpus: Vec<usize>,
    /// The node to take memory from, on hosts with several: its CPUs', or the one beside its GPU.
    pub mems: Option<u32>,
    /// What its thread count is to be; 0: nothing was said.
    pub threads: u32,
    /// As asked; a GPU's seat takes [`super::CONTEXT_BYTES`] more.
    pub memory_bytes: u64,
    pub whole: bool,
    /// The share of the device's time that it needs, 0 to 1: measured, else a guess.
    pub busy: f64,
    /// A sentence for people: why here.
    pub why: String,
}

impl Ask {
    /// Of its device's time, where it runs as `choice`.
    pub(super) fn busy(&self, choice: &Choice) -> f64 {
        let Some(curve) = &choice.curve else { return BUSY_UNMEASURED };
        match curve.capacity(self.slo, 1) {
            Some(capacity) => (self.rate_rows_s / capacity.rows_s).min(1.0),
            None => 1.0,
        }
    }
}
