//! The best of all placements of a small fleet: every replica on every device, or nowhere. Knows by itself what fits, so
//! that the planner's books are checked too; only the worth is the engine's.

use engine::fleet::devices::inventory::DeviceId;
use engine::fleet::placement::{CONTEXT_BYTES, Choice, Demand, Kind, Seat, worth};

use super::fleets::Fleet;

pub(super) struct Found {
    pub(super) worth: f64,
    pub(super) tried: u64,
}

/// A GPU, or a host's CPUs: small fleets' hosts have one node, whose CPUs are a core each.
#[derive(Clone)]
struct Device {
    id: DeviceId,
    free_bytes: u64,
    seats: u32,
    is_whole: bool,
    /// Of a host.
    free_cpus: Vec<usize>,
}

struct Search<'a> {
    fleet: &'a Fleet,
    missing_max: u32,
    devices: Vec<Device>,
    seats: Vec<Seat>,
    found: Found,
}

/// Among placements that lack no more least replicas than that: they are their owners' word, whatever they are worth.
pub(super) fn best(fleet: &Fleet, missing_max: u32) -> Found {
    let mut devices = Vec::new();
    for host in &fleet.inventory.hosts {
        let node = &host.cpus.nodes[0];
        let id = DeviceId::Cpu { host: host.name.clone(), node: node.id };
        let free_cpus = node.cores.iter().flatten().copied().collect();
        devices.push(Device { free_cpus, ..empty(id, node.memory_bytes) });
        let gpus = host.gpus.iter().map(|gpu| {
            let id = DeviceId::Gpu { host: host.name.clone(), uuid: gpu.uuid.clone() };
            empty(id, gpu.memory_bytes)
        });
        devices.extend(gpus);
    }
    let found = Found { worth: f64::NEG_INFINITY, tried: 0 };
    let mut search = Search { fleet, missing_max, devices, seats: Vec::new(), found };
    search.from(0, 0, 0);
    search.found
}

fn empty(id: DeviceId, free_bytes: u64) -> Device {
    Device { id, free_bytes, seats: 0, is_whole: false, free_cpus: Vec::new() }
}

impl Search<'_> {
    /// Everything from this model's next replica on. A model's replicas are alike: they take places in ascending order.
    fn from(&mut self, model: usize, replicas: u32, place: usize) {
        let Some(demand) = self.fleet.demands.get(model) else { return self.score() };
        self.from(model + 1, 0, 0);
        if replicas == demand.replicas_max {
            return;
        }
        let options = &demand.ask.options;
        for place in place..options.len() * self.devices.len() {
            let (choice, at) = (&options[place % options.len()], place / options.len());
            let before = self.devices[at].clone();
            if let Some(seat) = sit(&mut self.devices[at], demand, choice) {
                self.seats.push(seat);
                self.from(model, replicas + 1, place);
                self.seats.pop();
            }
            self.devices[at] = before;
        }
    }

    /// A placement without a model's least replicas though one has room is none.
    fn score(&mut self) {
        let Fleet { inventory, demands } = self.fleet;
        let lacks = missing(demands, &self.seats) > self.missing_max;
        if lacks || demands.iter().any(|demand| self.is_left_out(demand)) {
            return;
        }
        self.found.tried += 1;
        self.found.worth = self.found.worth.max(worth(inventory, demands, &self.seats));
    }

    fn is_left_out(&self, demand: &Demand) -> bool {
        let count = self.seats.iter().filter(|seat| seat.model == demand.ask.model).count();
        let has_room = |choice: &Choice| {
            let mut devices = self.devices.iter().cloned();
            devices.any(|mut device| sit(&mut device, demand, choice).is_some())
        };
        count < demand.replicas_min as usize && demand.ask.options.iter().any(has_room)
    }
}

/// Least replicas that these seats don't give.
pub(super) fn missing(demands: &[Demand], seats: &[Seat]) -> u32 {
    let count = |model: &str| seats.iter().filter(|seat| seat.model == model).count() as u32;
    demands.iter().map(|it| it.replicas_min.saturating_sub(count(&it.ask.model))).sum()
}

fn sit(device: &mut Device, demand: &Demand, choice: &Choice) -> Option<Seat> {
    let mut seat = Seat {
        model: demand.ask.model.clone(),
        class: choice.class,
        device: device.id.clone(),
        cpus: Vec::new(),
        mems: None,
        threads: 0,
        memory_bytes: choice.memory_bytes,
        whole: false,
        busy: 0.0,
        why: String::new(),
    };
    let is_gpu = device.id.gpu().is_some();
    match choice.on {
        Kind::Gpu { whole, .. } => {
            let needed = choice.memory_bytes + CONTEXT_BYTES;
            let is_open = !device.is_whole && (!whole || device.seats == 0);
            if !is_gpu || !is_open || needed > device.free_bytes {
                return None;
            }
            device.free_bytes -= needed;
            device.is_whole = whole;
            seat.whole = whole;
        }
        Kind::Cpu { threads, .. } => {
            let is_short = device.free_cpus.len() < threads as usize;
            if is_gpu || is_short || choice.memory_bytes > device.free_bytes {
                return None;
            }
            device.free_bytes -= choice.memory_bytes;
            seat.threads = threads;
            seat.cpus = device.free_cpus.drain(..threads as usize).collect();
        }
    }
    device.seats += 1;
    Some(seat)
}
