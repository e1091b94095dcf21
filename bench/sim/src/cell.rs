//! One experiment of one model: who serves what, on what.

use crate::arrivals::Load;
use crate::baselines::Kind;
use crate::device::Device;
use crate::run::Run;
use crate::world::{self, Setup, play};

/// The SLO of every experiment, milliseconds.
pub(crate) const SLO_MS: f64 = 20.0;
/// Time before anything is counted.
pub(crate) const LEAD_MS: f64 = 200.0;

/// Milliseconds counted: shorter for more replicas, which take more requests.
pub(crate) fn span_ms(replicas: usize) -> f64 {
    if replicas == 1 { 2500.0 } else { 900.0 }
}

#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) device: Device,
    pub(crate) replicas: usize,
    pub(crate) load: Load,
    pub(crate) hard: bool,
    pub(crate) end_ms: f64,
}

impl Cell {
    pub(crate) fn new(device: Device, replicas: usize, load: Load) -> Cell {
        Cell { device, replicas, load, hard: true, end_ms: LEAD_MS + span_ms(replicas) }
    }

    pub(crate) fn run(&self, kind: Kind, seed: u64) -> Run {
        let arrivals = self.load.draw(self.end_ms, seed);
        let alike = Setup::alike(self.device, self.replicas, SLO_MS, seed);
        let setup = Setup { hard: self.hard, ..alike };
        play(&setup, world::alike(&arrivals, SLO_MS), kind.controller(&setup))
    }

    pub(crate) fn attained(&self, kind: Kind, seed: u64) -> f64 {
        self.run(kind, seed).attained(LEAD_MS, self.end_ms)
    }
}
