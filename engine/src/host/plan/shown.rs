//! A plan for people and as JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::fleet::devices::inventory::{DeviceId, Gpu, Health, Host, Inventory, Slice};
use crate::fleet::placement::{CONTEXT_BYTES, Demand, Plan, Seat, Standing};
use crate::table::{counted, gib, render};

/// Devices of a fleet that are told one by one; beyond that the unused ones are only counted.
const UNUSED_TOLD_MAX: usize = 16;

pub(super) struct Shown<'a> {
    pub(super) inventory: &'a Inventory,
    pub(super) demands: &'a [Demand],
    pub(super) plan: &'a Plan,
    pub(super) took_ms: f64,
}

/// A device with what is on it.
struct Use {
    host: String,
    device: String,
    kind: String,
    memory_bytes: u64,
    replicas: usize,
    taken_bytes: u64,
    busy: f64,
}

impl Shown<'_> {
    pub(super) fn for_people(&self) -> String {
        let parts = [self.seats(), self.short(), self.devices(), self.summary()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
    }

    fn seats(&self) -> String {
        if self.plan.seats.is_empty() {
            return String::new();
        }
        let several = self.inventory.hosts.len() > 1;
        let mut seats: Vec<&Seat> = self.plan.seats.iter().collect();
        seats.sort_by(|a, b| (&a.model, &a.device, &a.cpus).cmp(&(&b.model, &b.device, &b.cpus)));
        let rows: Vec<_> = seats.iter().map(|seat| row(seat, several)).collect();
        let table = render(["MODEL", "HOST", "DEVICE", "CPUS", "MEMORY"], &rows);
        let whys = std::iter::once("WHY").chain(seats.iter().map(|seat| seat.why.as_str()));
        beside(&table, whys)
    }

    /// Who has less than it asks for, and why.
    fn short(&self) -> String {
        let all = self.plan.standings.iter().zip(self.demands);
        let lines: Vec<String> = all.filter_map(|(it, demand)| lack(it, demand)).collect();
        if lines.is_empty() { String::new() } else { format!("Short:\n{}", lines.concat()) }
    }

    fn devices(&self) -> String {
        let (used, unused): (Vec<Use>, Vec<Use>) =
            self.uses().into_iter().partition(|it| it.replicas > 0);
        let told = unused.len() <= UNUSED_TOLD_MAX;
        let rows: Vec<_> =
            used.iter().chain(unused.iter().filter(|_| told)).map(Use::row).collect();
        let header = ["HOST", "DEVICE", "KIND", "REPLICAS", "MEMORY", "OF", "BUSY"];
        let table = render(header, &rows);
        if told {
            table
        } else {
            format!("{table}{} more devices have nothing on them\n", unused.len())
        }
    }

    fn summary(&self) -> String {
        let (placed, all) = (self.plan.standings.iter().filter(|it| it.replicas > 0), self.demands);
        let share = self.on_time_share() * 100.0;
        let models = counted(all.len(), "model");
        let replicas = counted(self.plan.seats.len(), "replica");
        format!(
            "{} of {models} placed with {replicas}; {share:.1} % of the rate on time; planned in {:.0} ms\n",
            placed.count(),
            self.took_ms
        )
    }

    fn on_time_share(&self) -> f64 {
        let sum = |of: fn(&Standing) -> f64| self.plan.standings.iter().map(of).sum::<f64>();
        let (on_time, rate) = (sum(|it| it.on_time_rows_s), sum(|it| it.rate_rows_s));
        if rate > 0.0 { on_time / rate } else { 1.0 }
    }

    pub(super) fn as_json(&self) -> Value {
        let short = self.plan.standings.iter().zip(self.demands).filter_map(|(it, demand)| {
            let missing = demand.replicas_min.saturating_sub(it.replicas);
            let why = it.short.as_ref()?.why();
            Some(json!({ "model": it.model, "missing": missing, "why": why }))
        });
        json!({
            "placed": self.plan.seats.iter().map(seat_json).collect::<Value>(),
            "short": short.collect::<Value>(),
            "models": self.plan.standings.iter().map(standing_json).collect::<Value>(),
            "devices": self.uses().iter().map(Use::json).collect::<Value>(),
            "on_time_share": self.on_time_share(),
            "took_ms": self.took_ms,
        })
    }

    /// Of every device that can take replicas, in the inventory's order.
    fn uses(&self) -> Vec<Use> {
        let mut seats: BTreeMap<&DeviceId, Vec<&Seat>> = BTreeMap::new();
        for seat in &self.plan.seats {
            seats.entry(&seat.device).or_default().push(seat);
        }
        let of = |id: DeviceId, kind: String, memory_bytes| {
            let on_it = seats.get(&id).map_or(&[][..], Vec::as_slice);
            Use::new(id, kind, memory_bytes, on_it)
        };
        self.inventory
            .hosts
            .iter()
            .flat_map(devices)
            .map(|(id, kind, bytes)| of(id, kind, bytes))
            .collect()
    }
}

impl Use {
    fn new(id: DeviceId, kind: String, memory_bytes: u64, seats: &[&Seat]) -> Use {
        let context_bytes = if id.gpu().is_some() { CONTEXT_BYTES } else { 0 };
        Use {
            host: id.host().to_owned(),
            device: id.to_string(),
            kind,
            memory_bytes,
            replicas: seats.len(),
            taken_bytes: seats.iter().map(|seat| seat.memory_bytes + context_bytes).sum(),
            busy: seats.iter().fold(0.0, |sum, seat| sum + seat.busy),
        }
    }

    fn row(&self) -> [String; 7] {
        let is_used = self.replicas > 0;
        let when_used = |text: String| if is_used { text } else { String::new() };
        [
            self.host.clone(),
            self.device.clone(),
            self.kind.clone(),
            when_used(self.replicas.to_string()),
            when_used(gib(self.taken_bytes)),
            gib(self.memory_bytes),
            when_used(format!("{:.0} %", self.busy * 100.0)),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "host": self.host, "device": self.device, "kind": self.kind, "replicas": self.replicas,
            "memory_bytes": self.memory_bytes, "taken_bytes": self.taken_bytes, "busy": self.busy,
        })
    }
}

fn devices(host: &Host) -> Vec<(DeviceId, String, u64)> {
    let node = host.cpus.nodes.iter().map(|node| {
        let id = DeviceId::Cpu { host: host.name.clone(), node: node.id };
        let count: usize = node.cores.iter().map(Vec::len).sum();
        (id, format!("{count} CPUs"), node.memory_bytes)
    });
    let id = |uuid: &String| DeviceId::Gpu { host: host.name.clone(), uuid: uuid.clone() };
    let gpu = |gpu: &Gpu| -> Vec<(DeviceId, String, u64)> {
        let sick = if gpu.health == Health::Healthy { "" } else { ", out of service" };
        let slice = |it: &Slice| (id(&it.uuid), format!("{}{sick}", it.profile), it.memory_bytes);
        match &gpu.slices {
            Some(slices) => slices.iter().map(slice).collect(),
            None => vec![(id(&gpu.uuid), format!("{}{sick}", gpu.name), gpu.memory_bytes)],
        }
    };
    node.chain(host.gpus.iter().flat_map(gpu)).collect()
}

fn row(seat: &Seat, several_hosts: bool) -> [String; 5] {
    let cpus = seat.cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    [
        seat.model.clone(),
        if several_hosts { seat.device.host().to_owned() } else { String::new() },
        seat.device.to_string(),
        cpus,
        if seat.memory_bytes > 0 { gib(seat.memory_bytes) } else { String::new() },
    ]
}

/// A table with a last column that no width cuts.
fn beside<'a>(table: &str, texts: impl Iterator<Item = &'a str>) -> String {
    let width = table.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    table.lines().zip(texts).map(|(line, text)| format!("{line:width$}  {text}\n")).collect()
}

fn lack(standing: &Standing, demand: &Demand) -> Option<String> {
    let Standing { model, replicas, rate_rows_s, on_time_rows_s, short } = standing;
    // Less than a hundredth is no shortage to act upon.
    let carries = *on_time_rows_s >= rate_rows_s * 0.99;
    if *replicas >= demand.replicas_min && carries {
        return None;
    }
    let most = demand.replicas_max;
    let why = match short {
        Some(reason) => reason.why(),
        None if *replicas >= most && most == 1 => {
            "that is what one replica does; raise replicas_max".to_owned()
        }
        None if *replicas >= most => format!("that is what {most} replicas do; raise replicas_max"),
        None => {
            "its devices are shared; more replicas would take from others what they gain".to_owned()
        }
    };
    let counts = counted(*replicas as usize, "replica");
    let rates = format!("{on_time_rows_s:.0} of {rate_rows_s:.0} rows/s on time");
    Some(format!("  {model}: {counts}, {rates}: {why}\n"))
}

fn seat_json(seat: &Seat) -> Value {
    json!({
        "model": seat.model, "host": seat.device.host(), "device": seat.device.to_string(),
        "cpus": seat.cpus, "mems": seat.mems, "threads": seat.threads,
        "memory_bytes": seat.memory_bytes, "whole": seat.whole, "busy": seat.busy, "why": seat.why,
    })
}

fn standing_json(standing: &Standing) -> Value {
    let Standing { model, replicas, rate_rows_s, on_time_rows_s, .. } = standing;
    json!({ "model": model, "replicas": replicas, "rate": rate_rows_s, "on_time": on_time_rows_s })
}
