//! Where replicas run: pure, from what there is, what is taken and what is asked for.
//!
//! Laws, tested over random inventories: no device's memory is given out twice; no core is in two seats, but for CPUs that
//! someone asked for by number; a seat's cores are of one node; who has a GPU whole has it alone; equal input has equal
//! output. What was measured decides where it was (`choose`); until then the order of wish does.
//!
//! Nothing here knows how a seat is carried out, or whether the device is really there: an inventory is believed.

pub mod ask;
mod board;
mod choose;
mod cpus;
pub mod curve;
pub mod demand;
mod gpus;
mod moves;
pub mod no_seat;
mod plan;
mod score;
#[cfg(test)]
mod tests;

pub use self::ask::{Ask, Choice, Kind, Seat};
pub use self::curve::{Curve, CurveError};
pub use self::demand::{Demand, Plan, Standing};
pub use self::gpus::CONTEXT_BYTES;
pub use self::no_seat::{NoSeat, Refusal, Why};

use self::board::Board;
use super::devices::inventory::Inventory;

/// A seat for one replica beside those that are taken.
pub fn seat(inventory: &Inventory, taken: &[Seat], ask: &Ask) -> Result<Seat, NoSeat> {
    let mut board = Board::new(inventory);
    taken.iter().for_each(|seat| board.take(seat));
    board.seat(ask)
}

/// Seats for all of them.
pub fn plan(inventory: &Inventory, demands: &[Demand]) -> Plan {
    plan::plan(inventory, demands)
}

/// What seats are worth: rows a second on time by weight, less what they cost (see `score`).
pub fn worth(inventory: &Inventory, demands: &[Demand], seats: &[Seat]) -> f64 {
    plan::worth(inventory, demands, seats)
}
