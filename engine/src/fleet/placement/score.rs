//! What a set of seats is worth: rows a second on time by weight, less what they cost.
//!
//! A fluid model. A model's rate is shared out by what its replicas can do, so that all of them are equally busy; who
//! shares a device that is asked for more time than it has gets his part of it. That is the reasoning of planners which
//! score placements without playing every request: AlpaServe (OSDI '23) has a simulator for it and finds that sharing
//! devices pays under bursts; Proteus (ASPLOS '24) shares queries by capacity, since even shares triple the violations;
//! INFaaS (ATC '21) counts replicas as demand over the rate of one. It does not see bursts: the curves' capacities leave
//! the time to wait for a batch, and rates their head-room.
//!
//! One model's change is scored by what it touches: its devices, and the neighbours there if one of them is overloaded.

use std::collections::HashMap;

use super::ask::Seat;
use super::demand::Demand;
use crate::fleet::devices::inventory::{DeviceId, Inventory};

/// In what one replica carries: what it is worth to have a model's least replicas rather than none, beyond what they
/// carry. Two that would carry what one does are there for when one dies.
const SHORT_COST: f64 = 0.1;
/// Likewise: what a replica beyond the least must carry to be worth its place.
const EXTRA_COST: f64 = 0.01;

/// A replica in the model's eyes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Placed {
    /// None: CPUs of its own.
    pub(super) device: Option<usize>,
    pub(super) rows_s: f64,
}

#[derive(Clone, Debug)]
pub(super) struct Score {
    devices: Vec<Device>,
    by_id: HashMap<DeviceId, usize>,
    models: Vec<Flow>,
    total: f64,
}

#[derive(Clone, Debug)]
struct Device {
    /// What it has of time: 1, or the CPUs that those who are not pinned share.
    time: f64,
    load: f64,
    users: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Flow {
    rate_rows_s: f64,
    /// What one replica carries where it does most, at most the rate.
    unit_rows_s: f64,
    weight: f64,
    replicas_min: u32,
    rows_s: f64,
    replicas: Vec<Placed>,
    worth: f64,
}

impl Score {
    pub(super) fn new(inventory: &Inventory, demands: &[Demand]) -> Score {
        let mut score = Score {
            devices: Vec::new(),
            by_id: HashMap::new(),
            models: demands.iter().map(Flow::new).collect(),
            total: 0.0,
        };
        for host in &inventory.hosts {
            let shared = score.add_device(host.cpus.all().count() as f64);
            let node = |id| DeviceId::Cpu { host: host.name.clone(), node: id };
            score.by_id.extend(host.cpus.nodes.iter().map(|it| (node(it.id), shared)));
            for gpu in &host.gpus {
                let slices = gpu.slices.iter().flatten().map(|slice| &slice.uuid);
                for uuid in slices.chain([&gpu.uuid]) {
                    let id = DeviceId::Gpu { host: host.name.clone(), uuid: uuid.clone() };
                    let at = score.add_device(1.0);
                    score.by_id.insert(id, at);
                }
            }
        }
        (0..score.models.len()).for_each(|model| score.rescore(model));
        score
    }

    fn add_device(&mut self, time: f64) -> usize {
        self.devices.push(Device { time, load: 0.0, users: Vec::new() });
        self.devices.len() - 1
    }

    pub(super) fn total(&self) -> f64 {
        self.total
    }

    /// What the model lacks to the most that it could be worth.
    pub(super) fn lack(&self, model: usize) -> f64 {
        let flow = &self.models[model];
        flow.weight * flow.rate_rows_s - flow.worth
    }

    pub(super) fn on_time_rows_s(&self, model: usize) -> f64 {
        self.served(&self.models[model])
    }

    pub(super) fn placed(&self, seat: &Seat, demand: &Demand) -> Placed {
        let shares = seat.cpus.is_empty();
        let device = self.by_id.get(&seat.device).copied().filter(|_| shares);
        let rows_s = demand.choice(seat.class).map_or(0.0, |it| demand.replica_rows_s(it));
        Placed { device, rows_s }
    }

    pub(super) fn put(&mut self, model: usize, placed: Placed) {
        self.change(model, |flow| {
            flow.replicas.push(placed);
            placed
        });
        if let Some(at) = placed.device {
            self.devices[at].users.push(model);
        }
    }

    /// Takes the one in this place away; the last one comes into its place.
    pub(super) fn lift(&mut self, model: usize, place: usize) {
        let placed = self.change(model, |flow| flow.replicas.swap_remove(place));
        let users = placed.device.map(|at| &mut self.devices[at].users);
        if let Some(users) = users
            && let Some(place) = users.iter().rposition(|user| *user == model)
        {
            users.swap_remove(place);
        }
    }

    fn change(&mut self, model: usize, change: impl FnOnce(&mut Flow) -> Placed) -> Placed {
        let before = self.models[model].devices();
        let busy = self.models[model].busy();
        let was: Vec<f64> = before.iter().map(|&at| self.devices[at].share()).collect();
        before.iter().for_each(|&at| self.devices[at].load -= busy);
        let changed = change(&mut self.models[model]);
        // Not sum(), whose nothing is -0.0.
        let replicas = &self.models[model].replicas;
        self.models[model].rows_s = replicas.iter().fold(0.0, |sum, it| sum + it.rows_s);
        let busy = self.models[model].busy();
        let after = self.models[model].devices();
        let mut touched: Vec<(usize, f64)> = before.into_iter().zip(was).collect();
        for &at in &after {
            if !touched.iter().any(|(other, _)| *other == at) {
                touched.push((at, self.devices[at].share()));
            }
        }
        after.iter().for_each(|&at| self.devices[at].load += busy);
        self.rescore_beside(model, &touched);
        self.rescore(model);
        changed
    }

    /// The neighbours where a device gives another share of its time than before.
    fn rescore_beside(&mut self, model: usize, touched: &[(usize, f64)]) {
        for &(at, was) in touched {
            if self.devices[at].share() == was {
                continue;
            }
            let users = std::mem::take(&mut self.devices[at].users);
            users.iter().filter(|user| **user != model).for_each(|user| self.rescore(*user));
            self.devices[at].users = users;
        }
    }

    fn rescore(&mut self, model: usize) {
        let flow = &self.models[model];
        let worth = flow.weight * (self.served(flow) - flow.unit_rows_s * flow.costs());
        self.total += worth - flow.worth;
        self.models[model].worth = worth;
    }

    fn served(&self, flow: &Flow) -> f64 {
        let share = |placed: &Placed| placed.device.map_or(1.0, |at| self.devices[at].share());
        let rows_s = flow.replicas.iter().fold(0.0, |sum, it| sum + it.rows_s * share(it));
        flow.busy() * rows_s
    }
}

impl Device {
    /// Of what is asked of it, what it can give. Loads are added and taken away many times: a hair more is nothing.
    fn share(&self) -> f64 {
        if self.load <= self.time * (1.0 + 1e-9) { 1.0 } else { self.time / self.load }
    }
}

impl Flow {
    fn new(demand: &Demand) -> Flow {
        Flow {
            rate_rows_s: demand.rate_rows_s(),
            unit_rows_s: demand.replica_most_rows_s().min(demand.rate_rows_s()),
            weight: demand.weight,
            replicas_min: demand.replicas_min,
            rows_s: 0.0,
            replicas: Vec::new(),
            worth: 0.0,
        }
    }

    /// Of the time of each device that it is on.
    fn busy(&self) -> f64 {
        if self.rows_s > 0.0 { (self.rate_rows_s / self.rows_s).min(1.0) } else { 1.0 }
    }

    /// In units of its own.
    fn costs(&self) -> f64 {
        let count = self.replicas.len() as u32;
        let least = self.replicas_min;
        let short = f64::from(least.saturating_sub(count)) / f64::from(least.max(1));
        SHORT_COST * short + EXTRA_COST * f64::from(count.saturating_sub(least))
    }

    /// One for each replica that shares a device.
    fn devices(&self) -> Vec<usize> {
        self.replicas.iter().filter_map(|placed| placed.device).collect()
    }
}
