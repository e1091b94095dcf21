//! GPUs and slices with what is on them, kept in the order in which a replica would like them: the least busy first,
//! then the one with the most free memory, then by UUID. The first that fits is the one.
//!
//! A GPU that is split into slices is its slices: nothing runs on the whole of it.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use super::ask::Seat;
use super::no_seat::Why;
use crate::fleet::devices::inventory::{DeviceId, Gpu, Host, Inventory, Slice};

/// What each process that uses a GPU takes of its memory for CUDA itself, whatever its model needs: 0.3 to 0.6 GB by
/// card and driver.
pub const CONTEXT_BYTES: u64 = 512 << 20;

/// Shares of a device's time that differ by less than 1/BUSY_STEPS are alike.
const BUSY_STEPS: f64 = 1e4;

/// Names of devices told at most when none is as asked for.
const NAMES_TOLD_MAX: usize = 6;

/// Makers that stand before a GPU's name, which nobody writes.
const MAKERS: [&str; 1] = ["nvidia "];

/// Busy share in steps, free memory, place among all by UUID.
type Rank = (u32, Reverse<u64>, usize);

#[derive(Clone, Debug, Default)]
pub(super) struct Gpus {
    /// By UUID.
    spots: Vec<Spot>,
    by_id: HashMap<DeviceId, usize>,
    order: BTreeSet<Rank>,
    /// The first that is split into nothing.
    unsliced: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) device: DeviceId,
    pub(super) mems: Option<u32>,
    /// For people: its name, or its profile.
    pub(super) name: String,
    /// What its name may begin with, in small letters.
    names: Vec<String>,
    sick: Option<String>,
    capacity_bytes: u64,
    /// By others than the replicas that have seats.
    used_bytes: u64,
    taken_bytes: u64,
    seats: u32,
    held_whole: bool,
    pub(super) busy: f64,
}

/// What is asked of a GPU.
#[derive(Clone, Copy, Debug)]
pub(super) struct GpuWish<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) whole: bool,
    pub(super) memory_bytes: u64,
}

impl Gpus {
    pub(super) fn new(inventory: &Inventory) -> Gpus {
        let mut spots: Vec<Spot> = inventory.hosts.iter().flat_map(spots_of).collect();
        spots.sort_by(|a, b| a.device.gpu().cmp(&b.device.gpu()));
        let by_id = (0..).zip(&spots).map(|(at, spot)| (spot.device.clone(), at)).collect();
        let order = (0..).zip(&spots).map(|(at, spot)| spot.rank(at)).collect();
        let mut gpus = inventory.hosts.iter().flat_map(|host| &host.gpus);
        let unsliced = gpus.find(|gpu| gpu.slices.as_ref().is_some_and(Vec::is_empty));
        Gpus { spots, by_id, order, unsliced: unsliced.map(|gpu| gpu.uuid.clone()) }
    }

    pub(super) fn len(&self) -> usize {
        self.spots.len()
    }

    pub(super) fn find(&self, wish: GpuWish<'_>) -> Result<&Spot, Why> {
        self.find_some(wish, 1).pop().ok_or_else(|| self.why_none(wish))
    }

    /// The first few that fit, the best first.
    pub(super) fn find_some(&self, wish: GpuWish<'_>, count_max: usize) -> Vec<&Spot> {
        let name = wish.name.map(str::to_lowercase);
        let spots = self.order.iter().map(|(_, _, at)| &self.spots[*at]);
        let liked = spots.filter(|spot| spot.is_named(name.as_deref()) && spot.fits(wish));
        liked.take(count_max).collect()
    }

    pub(super) fn take(&mut self, seat: &Seat) {
        self.change(seat, |spot| {
            spot.seats += 1;
            spot.taken_bytes += seat.memory_bytes + CONTEXT_BYTES;
            spot.held_whole |= seat.whole;
            spot.busy += seat.busy;
        });
    }

    pub(super) fn leave(&mut self, seat: &Seat) {
        self.change(seat, |spot| {
            spot.seats -= 1;
            spot.taken_bytes -= seat.memory_bytes + CONTEXT_BYTES;
            spot.held_whole &= !seat.whole;
            spot.busy = if spot.seats == 0 { 0.0 } else { (spot.busy - seat.busy).max(0.0) };
        });
    }

    fn change(&mut self, seat: &Seat, change: impl FnOnce(&mut Spot)) {
        // A device that is gone since holds nobody up.
        let Some(&at) = self.by_id.get(&seat.device) else { return };
        self.order.remove(&self.spots[at].rank(at));
        change(&mut self.spots[at]);
        self.order.insert(self.spots[at].rank(at));
    }

    fn why_none(&self, wish: GpuWish<'_>) -> Why {
        if self.spots.is_empty() {
            let unsliced = self.unsliced.clone();
            return unsliced.map_or(Why::NoGpu, |uuid| Why::NoSlice { uuid });
        }
        let name = wish.name.map(str::to_lowercase);
        let is_named = |spot: &&Spot| spot.is_named(name.as_deref());
        let named: Vec<&Spot> = self.spots.iter().filter(is_named).collect();
        let Some(first) = named.first() else {
            let name = wish.name.unwrap_or_default().to_owned();
            return Why::NoneNamed { name, known: self.known() };
        };
        let healthy: Vec<&Spot> = named.iter().filter(|it| it.sick.is_none()).copied().collect();
        if let (Some(reason), true) = (&first.sick, healthy.is_empty()) {
            let uuid = first.device.to_string();
            return Why::Unhealthy { uuid, reason: reason.clone() };
        }
        let open: Vec<&Spot> = healthy.into_iter().filter(|it| it.is_open(wish.whole)).collect();
        match open.iter().map(|spot| spot.free_bytes()).max() {
            Some(free_bytes) => Why::GpuMemory { needed_bytes: wish.needed_bytes(), free_bytes },
            None if wish.whole => Why::NoneEmpty,
            None => Why::HeldWhole,
        }
    }

    fn known(&self) -> String {
        let names: BTreeSet<&str> = self.spots.iter().map(|spot| spot.name.as_str()).collect();
        let told: Vec<&str> = names.iter().take(NAMES_TOLD_MAX).copied().collect();
        let more = if names.len() > told.len() { " and others" } else { "" };
        format!("{}{more}", told.join(", "))
    }
}

impl GpuWish<'_> {
    fn needed_bytes(&self) -> u64 {
        self.memory_bytes.saturating_add(CONTEXT_BYTES)
    }
}

impl Spot {
    fn rank(&self, at: usize) -> Rank {
        ((self.busy * BUSY_STEPS) as u32, Reverse(self.free_bytes()), at)
    }

    /// What a replica has taken and not touched yet is no more free than what others use.
    fn free_bytes(&self) -> u64 {
        self.capacity_bytes.saturating_sub(self.used_bytes.saturating_add(self.taken_bytes))
    }

    fn is_named(&self, name: Option<&str>) -> bool {
        name.is_none_or(|name| self.names.iter().any(|own| own.starts_with(name)))
    }

    fn is_open(&self, whole: bool) -> bool {
        !self.held_whole && (!whole || self.seats == 0)
    }

    fn fits(&self, wish: GpuWish<'_>) -> bool {
        self.sick.is_none() && self.is_open(wish.whole) && wish.needed_bytes() <= self.free_bytes()
    }
}

fn spots_of(host: &Host) -> Vec<Spot> {
    let several_nodes = host.cpus.nodes.len() > 1;
    let mut spots = Vec::new();
    for gpu in &host.gpus {
        let mems = gpu.node.filter(|_| several_nodes);
        match &gpu.slices {
            None => spots.push(Spot { mems, ..whole_gpu(host, gpu) }),
            Some(slices) => {
                spots.extend(slices.iter().map(|it| Spot { mems, ..slice_of(host, gpu, it) }));
            }
        }
    }
    spots
}

fn whole_gpu(host: &Host, gpu: &Gpu) -> Spot {
    Spot {
        device: DeviceId::Gpu { host: host.name.clone(), uuid: gpu.uuid.clone() },
        mems: None,
        name: gpu.name.clone(),
        names: names([&gpu.name, &gpu.uuid]),
        sick: gpu.health.trouble().map(str::to_owned),
        capacity_bytes: gpu.memory_bytes.saturating_sub(gpu.reserved_bytes),
        used_bytes: gpu.used_bytes,
        taken_bytes: 0,
        seats: 0,
        held_whole: false,
        busy: 0.0,
    }
}

fn slice_of(host: &Host, gpu: &Gpu, slice: &Slice) -> Spot {
    Spot {
        device: DeviceId::Gpu { host: host.name.clone(), uuid: slice.uuid.clone() },
        name: format!("{} ({})", slice.profile, gpu.name),
        names: names([&gpu.name, &gpu.uuid, &slice.profile, &slice.uuid]),
        capacity_bytes: slice.memory_bytes,
        used_bytes: slice.used_bytes,
        ..whole_gpu(host, gpu)
    }
}

/// In small letters, with and without the maker.
fn names<const COUNT: usize>(given: [&String; COUNT]) -> Vec<String> {
    let mut names: Vec<String> = given.iter().map(|name| name.to_lowercase()).collect();
    let bare = MAKERS.iter().filter_map(|maker| names[0].strip_prefix(maker)).next();
    names.extend(bare.map(str::to_owned));
    names
}
