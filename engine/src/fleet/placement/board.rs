//! What there is with what is taken of it: the state that seats are found on.

use super::ask::{Ask, Choice, Kind, Seat};
use super::choose::{Offer, Spot, choose};
use super::cpus::{CpuWish, Cpus};
use super::gpus::{GpuWish, Gpus};
use super::no_seat::{NoSeat, Refusal, Why};
use crate::fleet::devices::inventory::{DeviceId, Inventory};

#[derive(Clone, Debug)]
pub(super) struct Board {
    gpus: Gpus,
    cpus: Cpus,
}

impl Board {
    pub(super) fn new(inventory: &Inventory) -> Board {
        Board { gpus: Gpus::new(inventory), cpus: Cpus::new(inventory) }
    }

    pub(super) fn take(&mut self, seat: &Seat) {
        match seat.device {
            DeviceId::Gpu { .. } => self.gpus.take(seat),
            DeviceId::Cpu { .. } => self.cpus.take(seat),
        }
    }

    pub(super) fn leave(&mut self, seat: &Seat) {
        match seat.device {
            DeviceId::Gpu { .. } => self.gpus.leave(seat),
            DeviceId::Cpu { .. } => self.cpus.leave(seat),
        }
    }

    /// Finds one, without taking it.
    pub(super) fn seat(&self, ask: &Ask) -> Result<Seat, NoSeat> {
        let (mut offers, mut refusals) = (Vec::new(), Vec::new());
        for choice in &ask.options {
            match self.spot(choice) {
                Ok(spot) => offers.push(Offer::new(ask, choice, spot)),
                Err(why) => refusals.push(Refusal { class: choice.class, why }),
            }
        }
        match choose(ask, offers, &refusals) {
            Some(seat) => Ok(seat),
            None => Err(NoSeat { model: ask.model.clone(), reasons: refusals }),
        }
    }

    /// The first few devices for each of its choices that fit, without taking any.
    pub(super) fn seats(&self, ask: &Ask, each_max: usize) -> Vec<Seat> {
        let mut seats = Vec::new();
        for choice in &ask.options {
            let found = match wish(choice) {
                Wish::Cpu(wish) => {
                    let spots = self.cpus.find_some(wish, each_max);
                    spots.into_iter().map(Spot::Cpu).collect::<Vec<_>>()
                }
                Wish::Gpu(wish) => {
                    let (spots, of) = (self.gpus.find_some(wish, each_max), self.gpus.len());
                    spots.into_iter().map(|gpu| Spot::Gpu { gpu, of }).collect()
                }
            };
            seats.extend(found.into_iter().map(|spot| Offer::new(ask, choice, spot).alone(ask)));
        }
        seats
    }

    fn spot(&self, choice: &Choice) -> Result<Spot<'_>, Why> {
        match wish(choice) {
            Wish::Cpu(wish) => self.cpus.find(wish).map(Spot::Cpu),
            Wish::Gpu(wish) => {
                let of = self.gpus.len();
                self.gpus.find(wish).map(|gpu| Spot::Gpu { gpu, of })
            }
        }
    }
}

enum Wish<'a> {
    Cpu(CpuWish<'a>),
    Gpu(GpuWish<'a>),
}

fn wish(choice: &Choice) -> Wish<'_> {
    let memory_bytes = choice.memory_bytes;
    match &choice.on {
        Kind::Cpu { threads, exact } => {
            Wish::Cpu(CpuWish { threads: *threads, exact: exact.as_deref(), memory_bytes })
        }
        Kind::Gpu { name, whole } => {
            Wish::Gpu(GpuWish { name: name.as_deref(), whole: *whole, memory_bytes })
        }
    }
}
