//! All models at once: seats in a good order, then changes that make the whole better, a bounded number of them.
//!
//! First each model gets its least replicas, then as many as its rate asks for. The order matters where not all have
//! room, so several are tried: the hardest to place first (first fit decreasing, which for memory alone is within a
//! fifth of the best), and the most valuable for its memory first. Each is then improved (`moves`); the best is the plan.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::ask::{Ask, Choice, Kind, Seat};
use super::board::Board;
use super::demand::{Demand, Plan, Standing};
use super::score::Score;
use crate::fleet::devices::inventory::Inventory;

/// More models than this are ordered one way only: each costs as much again and gains little among many.
const MODELS_ORDERED_TWICE: usize = 200;

/// A state of seats in the making.
#[derive(Clone, Debug)]
pub(super) struct Draft<'a> {
    pub(super) demands: &'a [Demand],
    /// What one replica of each asks for.
    pub(super) asks: &'a [Ask],
    pub(super) board: Board,
    pub(super) score: Score,
    /// By model, in the order in which the score has them.
    pub(super) seats: Vec<Vec<Seat>>,
    /// Nobody's least replicas make room for others any more.
    pub(super) holds_least: bool,
    pub(super) tried: u32,
    pub(super) kept: u32,
}

#[derive(Clone, Copy, Debug)]
enum Order {
    HardestFirst,
    DearestFirst,
}

pub(super) fn plan(inventory: &Inventory, demands: &[Demand]) -> Plan {
    let asks: Vec<Ask> = demands.iter().map(Demand::ask_of_one).collect();
    let start = Draft::new(inventory, demands, &asks);
    let orders: &[Order] = if demands.len() <= MODELS_ORDERED_TWICE {
        &[Order::HardestFirst, Order::DearestFirst]
    } else {
        &[Order::HardestFirst]
    };
    let drafts = orders.iter().map(|order| {
        let mut draft = start.clone();
        draft.fill(*order);
        draft.improve();
        draft.holds_least = true;
        if draft.fill_least() {
            draft.improve();
        }
        draft
    });
    // The first of equals, so that a tie has one end.
    let best = drafts.reduce(|best, next| match next.score.total() > best.score.total() {
        true => next,
        false => best,
    });
    best.unwrap_or(start).into_plan()
}

/// What these seats are worth to those demands.
pub(super) fn worth(inventory: &Inventory, demands: &[Demand], seats: &[Seat]) -> f64 {
    let at = (0..).zip(demands).map(|(at, demand)| (demand.ask.model.as_str(), at));
    let places: HashMap<&str, usize> = at.collect();
    let mut score = Score::new(inventory, demands);
    for seat in seats {
        let Some(&model) = places.get(seat.model.as_str()) else { continue };
        let placed = score.placed(seat, &demands[model]);
        score.put(model, placed);
    }
    score.total()
}

impl<'a> Draft<'a> {
    fn new(inventory: &Inventory, demands: &'a [Demand], asks: &'a [Ask]) -> Draft<'a> {
        let (score, board) = (Score::new(inventory, demands), Board::new(inventory));
        let seats = vec![Vec::new(); demands.len()];
        Draft { demands, asks, board, score, seats, holds_least: false, tried: 0, kept: 0 }
    }

    pub(super) fn count(&self, model: usize) -> u32 {
        self.seats[model].len() as u32
    }

    pub(super) fn put(&mut self, model: usize, seat: Seat) {
        let placed = self.score.placed(&seat, &self.demands[model]);
        self.score.put(model, placed);
        self.board.take(&seat);
        self.seats[model].push(seat);
    }

    /// Takes one away; the last one comes into its place.
    pub(super) fn lift(&mut self, model: usize, place: usize) -> Seat {
        self.score.lift(model, place);
        let seat = self.seats[model].swap_remove(place);
        self.board.leave(&seat);
        seat
    }

    fn fill(&mut self, order: Order) {
        let mut models: Vec<usize> = (0..self.demands.len()).collect();
        models.sort_by_key(|&model| (order.key(&self.demands[model]), model));
        for &model in &models {
            self.fill_to(model, self.demands[model].replicas_min);
        }
        for &model in &models {
            self.fill_to(model, self.demands[model].replicas_wanted());
        }
    }

    /// A model's least replicas are its owner's word wherever there is room, whatever they are worth.
    fn fill_least(&mut self) -> bool {
        let count = |draft: &Self| draft.seats.iter().map(Vec::len).sum::<usize>();
        let before = count(self);
        for model in 0..self.demands.len() {
            self.fill_to(model, self.demands[model].replicas_min);
        }
        count(self) > before
    }

    fn fill_to(&mut self, model: usize, count: u32) {
        while self.count(model) < count {
            let Ok(seat) = self.board.seat(&self.asks[model]) else { return };
            self.put(model, seat);
        }
    }

    fn into_plan(self) -> Plan {
        let standings = (0..self.demands.len()).map(|model| self.standing(model)).collect();
        let worth = self.score.total();
        let seats = self.seats.into_iter().flatten().collect();
        Plan { seats, standings, worth, tried: self.tried, kept: self.kept }
    }

    fn standing(&self, model: usize) -> Standing {
        let (demand, replicas) = (&self.demands[model], self.count(model));
        let rate_rows_s = demand.ask.rate_rows_s;
        let on_time_rows_s = self.score.on_time_rows_s(model).min(rate_rows_s);
        let is_short = replicas < demand.replicas_wanted();
        let short = is_short.then(|| self.board.seat(&self.asks[model]).err()).flatten();
        let model = demand.ask.model.clone();
        Standing { model, replicas, rate_rows_s, on_time_rows_s, short }
    }
}

impl Order {
    /// The smallest first.
    fn key(self, demand: &Demand) -> (Reverse<u64>, Reverse<u64>) {
        let bytes = demand.ask.options.iter().map(room).min().unwrap_or(0);
        let value = demand.weight * demand.rate_rows_s();
        match self {
            Order::HardestFirst => (Reverse(bytes), Reverse(value as u64)),
            Order::DearestFirst => {
                let per_gb = value * (1 << 30) as f64 / bytes.max(1) as f64;
                (Reverse(per_gb as u64), Reverse(bytes))
            }
        }
    }
}

/// What a choice needs of a device, in bytes: one that wants it all is as hard to place as can be.
fn room(choice: &Choice) -> u64 {
    match choice.on {
        Kind::Gpu { whole: true, .. } => u64::MAX,
        _ => choice.memory_bytes,
    }
}
