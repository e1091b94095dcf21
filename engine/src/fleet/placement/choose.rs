//! Which of the devices that a replica fits on it gets.
//!
//! Where all of them were measured: of those that keep the promise and carry the rate, the one whose batches are done
//! soonest at that rate. A CPU has a small fixed cost and a GPU a small one for each row, so that this is the CPU for rare
//! requests and the GPU beyond the break-even, wherever that lies (a constant for it, as INFaaS has, would be wrong for
//! every model but one). Where none carries the rate: the one that carries most. Where none keeps the promise: the one
//! that misses it by least. Before all were measured: the first in the order of wish that was not found to break the
//! promise.

use std::cmp::Reverse;
use std::time::Duration;

use super::ask::{Ask, Choice, Kind, Seat};
use super::cpus::CpuSpot;
use super::gpus;
use super::no_seat::{Refusal, Why};

/// Times that differ by less are alike, and the device that costs less is taken.
const ALIKE: f64 = 1.1;

/// Of a device's time, what a further replica can count on however busy it is: others give way in turn.
const SHARE_MIN: f64 = 0.05;

pub(super) enum Spot<'a> {
    Cpu(CpuSpot),
    Gpu { gpu: &'a gpus::Spot, of: usize },
}

/// A choice with the device found for it.
pub(super) struct Offer<'a> {
    choice: &'a Choice,
    spot: Spot<'a>,
    busy: f64,
    measured: Option<Measured>,
}

/// On the device as busy as it is.
#[derive(Clone, Copy, Debug)]
struct Measured {
    meets: bool,
    rows_s: f64,
    /// A batch at the rate that is asked for, where it is carried; else a row.
    ms: f64,
    carries: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Reason {
    Only,
    Wish,
    Soonest { ms: f64 },
    MostCapacity { rows_s: f64 },
    LeastLate { ms: f64, slo: Duration },
}

impl<'a> Offer<'a> {
    pub(super) fn new(ask: &Ask, choice: &'a Choice, spot: Spot<'a>) -> Offer<'a> {
        let left = (1.0 - spot.busy()).max(SHARE_MIN);
        let measured = choice.curve.as_ref().map(|curve| {
            let rows_s = curve.capacity(ask.slo, 1).map_or(0.0, |it| it.rows_s * left);
            let at_rate = curve.ms_at(ask.rate_rows_s / left).filter(|_| ask.rate_rows_s <= rows_s);
            let ms = at_rate.unwrap_or(curve.single_ms()) / left;
            Measured { meets: curve.meets(ask.slo), rows_s, ms, carries: at_rate.is_some() }
        });
        Offer { busy: ask.busy(choice), choice, spot, measured }
    }

    /// The seat that it would be, had there been no other.
    pub(super) fn alone(self, ask: &Ask) -> Seat {
        let why = device(&self);
        self.seat(ask, why)
    }

    fn seat(self, ask: &Ask, why: String) -> Seat {
        let (memory_bytes, busy) = (self.choice.memory_bytes, self.busy);
        let (threads, whole) = match self.choice.on {
            Kind::Cpu { threads, .. } => (threads, false),
            Kind::Gpu { whole, .. } => (0, whole),
        };
        let (device, cpus, mems) = match self.spot {
            Spot::Cpu(spot) => (spot.device, spot.cpus, spot.mems),
            Spot::Gpu { gpu, .. } => (gpu.device.clone(), Vec::new(), gpu.mems),
        };
        let (model, class) = (ask.model.clone(), self.choice.class);
        Seat { model, class, device, cpus, mems, threads, memory_bytes, whole, busy, why }
    }
}

impl Spot<'_> {
    fn busy(&self) -> f64 {
        match self {
            Spot::Cpu(spot) => spot.busy,
            Spot::Gpu { gpu, .. } => gpu.busy,
        }
    }

    fn is_gpu(&self) -> bool {
        matches!(self, Spot::Gpu { .. })
    }
}

/// The seat for the best of the offers; None without any.
pub(super) fn choose(ask: &Ask, mut offers: Vec<Offer<'_>>, refused: &[Refusal]) -> Option<Seat> {
    let (at, reason) = best(ask, &offers)?;
    let offer = offers.swap_remove(at);
    let why = sentence(&offer, reason, refused);
    Some(offer.seat(ask, why))
}

fn best(ask: &Ask, offers: &[Offer<'_>]) -> Option<(usize, Reason)> {
    if offers.len() < 2 {
        return offers.first().map(|_| (0, Reason::Only));
    }
    let measured: Option<Vec<Measured>> = offers.iter().map(|offer| offer.measured).collect();
    let Some(measured) = measured else { return Some((by_wish(offers), Reason::Wish)) };
    let at = |which: &dyn Fn(&Measured) -> bool| -> Vec<usize> {
        (0..measured.len()).filter(|&at| which(&measured[at])).collect()
    };
    let (carriers, keepers) = (at(&|it| it.meets && it.carries), at(&|it| it.meets));
    if !carriers.is_empty() {
        return soonest(offers, &measured, carriers);
    }
    let most = |a: &usize, b: &usize| measured[*b].rows_s.total_cmp(&measured[*a].rows_s);
    if let Some(at) = keepers.into_iter().min_by(most) {
        return Some((at, Reason::MostCapacity { rows_s: measured[at].rows_s }));
    }
    let ms = |at: usize| measured[at].ms;
    let at = (0..offers.len()).min_by(|&a, &b| ms(a).total_cmp(&ms(b)))?;
    let slo = ask.slo.unwrap_or_default();
    Some((at, Reason::LeastLate { ms: ms(at), slo }))
}

/// Among those alike: a CPU before a GPU, which others can't do without; then by wish.
fn soonest(
    offers: &[Offer<'_>],
    measured: &[Measured],
    among: Vec<usize>,
) -> Option<(usize, Reason)> {
    let least_ms = among.iter().map(|&at| measured[at].ms).fold(f64::INFINITY, f64::min);
    let alike = among.into_iter().filter(|&at| measured[at].ms <= least_ms * ALIKE);
    let at = alike.min_by_key(|&at| (offers[at].spot.is_gpu(), at))?;
    Some((at, Reason::Soonest { ms: measured[at].ms }))
}

fn by_wish(offers: &[Offer<'_>]) -> usize {
    let may_keep = |offer: &Offer<'_>| offer.measured.is_none_or(|it| it.meets);
    (0..offers.len()).min_by_key(|&at| (Reverse(may_keep(&offers[at])), at)).unwrap_or(0)
}

/// Why this kind of device, then why this one of them.
fn sentence(offer: &Offer<'_>, reason: Reason, refused: &[Refusal]) -> String {
    let kind = match reason {
        Reason::Only => elsewhere(refused),
        Reason::Wish => "first wish that fits, until all its devices are measured; ".to_owned(),
        Reason::Soonest { ms } => format!("soonest at this rate ({ms:.1} ms a batch); "),
        Reason::MostCapacity { rows_s } => format!("carries the most ({rows_s:.0} rows/s); "),
        Reason::LeastLate { ms, slo } => {
            format!("nothing keeps {slo:?}, this comes nearest ({ms:.1} ms a row); ")
        }
    };
    format!("{kind}{}", device(offer))
}

fn elsewhere(refused: &[Refusal]) -> String {
    let Some(Refusal { why, .. }) = refused.first() else { return String::new() };
    let reason = match why {
        Why::NoGpu => "there is no GPU",
        Why::NoSlice { .. } => "the GPU is split and has no slice",
        Why::NoneNamed { .. } => "no GPU has the name asked for",
        Why::Unhealthy { .. } => "its GPU is out of service",
        Why::HeldWhole | Why::NoneEmpty => "no GPU is free",
        Why::GpuMemory { .. } => "no GPU has the memory",
        Why::NoCpu | Why::NotThere { .. } => "its CPUs aren't here",
        Why::NodeTooSmall { .. } | Why::CpusTaken { .. } | Why::Quota { .. } => {
            "too few CPUs are left"
        }
        Why::Memory { .. } => "no host has the memory",
    };
    format!("{reason}; ")
}

fn device(offer: &Offer<'_>) -> String {
    match (&offer.spot, &offer.choice.on) {
        (Spot::Gpu { of: 1, .. }, _) => "the only GPU".to_owned(),
        (Spot::Gpu { .. }, Kind::Gpu { whole: true, .. }) => "a GPU that nobody is on".to_owned(),
        (Spot::Gpu { gpu, .. }, _) if gpu.busy == 0.0 => "nobody is on this GPU".to_owned(),
        (Spot::Gpu { gpu, .. }, _) => {
            format!("the least busy GPU that fits ({:.0} % taken)", gpu.busy.min(1.0) * 100.0)
        }
        (Spot::Cpu(_), Kind::Cpu { exact: Some(_), .. }) => "the CPUs that were named".to_owned(),
        (Spot::Cpu(spot), _) if spot.cpus.is_empty() => "not pinned".to_owned(),
        (Spot::Cpu(spot), _) if spot.with_front_end => {
            "CPUs of the front end too, since the others are too few".to_owned()
        }
        (Spot::Cpu(_), _) => "the node with the most CPUs left".to_owned(),
    }
}
