//! What there is with what is taken of it: the state that seats are found on.

use super::ask::{Ask, Choice, Kind, Seat};
use super::choose::{Offer, Spot, choose};
use super::cpus::Cpus;
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

    fn spot(&self, choice: &Choice) -> Result<Spot<'_>, Why> {
        let memory_bytes = choice.memory_bytes;
        match &choice.on {
            Kind::Cpu { threads, exact } => {
                self.cpus.find(*threads, exact.as_deref(), memory_bytes).map(Spot::Cpu)
            }
            Kind::Gpu { name, whole } => {
                let wish = GpuWish { name: name.as_deref(), whole: *whole, memory_bytes };
                let of = self.gpus.len();
                self.gpus.find(wish).map(|gpu| Spot::Gpu { gpu, of })
            }
        }
    }
}
