//! Changes to a draft that make it better: one more replica, one less, one elsewhere, and one in another's place.
//!
//! Each is carried out, scored and undone unless it is better. Only models that lack something are looked at, those that
//! lack most first, each with a few devices for each of its choices: the least busy ones, which the board has in order.

use super::ask::Seat;
use super::plan::Draft;

/// Rounds over all models; most drafts are done after two.
const ROUNDS_MAX: u32 = 8;
/// Changes tried together: bounds the time of a plan, at some microseconds each.
const TRIES_MAX: u32 = 60_000;
/// Devices tried for each of a model's choices.
const SPOTS_MAX: usize = 8;
/// Others' replicas whose places are tried.
const OTHERS_MAX: usize = 24;
/// Of a row a second: what a change must gain, so that rounding is no reason for one.
const GAIN_LEAST: f64 = 1e-3;

impl Draft<'_> {
    pub(super) fn improve(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut gained = false;
            let cheapest = self.cheapest();
            for model in self.lacking() {
                gained |= self.improve_one(model, &cheapest);
            }
            if !gained || self.is_tired() {
                return;
            }
        }
    }

    fn improve_one(&mut self, model: usize, cheapest: &[usize]) -> bool {
        let mut gained = self.add(model, "for more on time");
        gained |= self.move_each(model);
        gained |= self.drop_each(model);
        gained | self.displace(model, cheapest)
    }

    /// Models that could be better off, those that lack most first.
    fn lacking(&self) -> Vec<usize> {
        let lack = |model: &usize| self.score.lack(*model);
        let lacks = |model: &usize| lack(model) > GAIN_LEAST * self.demands[*model].weight;
        let mut models: Vec<usize> = (0..self.demands.len()).filter(lacks).collect();
        models.sort_by(|a, b| lack(b).total_cmp(&lack(a)));
        models
    }

    /// All models, those whose replicas do least first: whose place is given away first.
    fn cheapest(&self) -> Vec<usize> {
        let value = |model: &usize| {
            let demand = &self.demands[*model];
            demand.weight * self.score.on_time_rows_s(*model) / f64::from(self.count(*model).max(1))
        };
        let is_there = |model: &usize| self.count(*model) > 0;
        let mut models: Vec<usize> = (0..self.demands.len()).filter(is_there).collect();
        models.sort_by(|a, b| value(a).total_cmp(&value(b)));
        models
    }

    fn is_tired(&self) -> bool {
        self.tried >= TRIES_MAX
    }

    fn least_gain(&self, model: usize) -> f64 {
        GAIN_LEAST * self.demands[model].weight
    }

    /// The best of the seats that the model could take now, and the score with it.
    fn best_seat(&mut self, model: usize, allowed: impl Fn(&Seat) -> bool) -> Option<(Seat, f64)> {
        let mut best: Option<(Seat, f64)> = None;
        let ask = &self.asks[model];
        for seat in self.board.seats(ask, SPOTS_MAX).into_iter().filter(allowed) {
            self.tried += 1;
            let placed = self.score.placed(&seat, &self.demands[model]);
            self.score.put(model, placed);
            let total = self.score.total();
            self.score.lift(model, self.seats[model].len());
            if best.as_ref().is_none_or(|(_, most)| total > *most) {
                best = Some((seat, total));
            }
        }
        best
    }

    /// As many more as are each worth it.
    fn add(&mut self, model: usize, why: &str) -> bool {
        let before = self.count(model);
        while self.has_room_for_one_more(model) && !self.is_tired() {
            let enough = self.score.total() + self.least_gain(model);
            let Some((seat, total)) = self.best_seat(model, |_| true) else { break };
            if total <= enough {
                break;
            }
            self.settle(model, seat, why);
        }
        self.count(model) > before
    }

    fn drop_each(&mut self, model: usize) -> bool {
        let mut gained = false;
        for place in (0..self.seats[model].len()).rev() {
            if self.count(model) <= self.demands[model].replicas_min || self.is_tired() {
                break;
            }
            let enough = self.score.total() + self.least_gain(model);
            self.tried += 1;
            let seat = self.lift(model, place);
            if self.score.total() > enough {
                self.kept += 1;
                gained = true;
            } else {
                self.put(model, seat);
            }
        }
        gained
    }

    fn move_each(&mut self, model: usize) -> bool {
        let mut gained = false;
        for place in (0..self.seats[model].len()).rev() {
            if self.is_tired() {
                break;
            }
            let enough = self.score.total() + self.least_gain(model);
            let seat = self.lift(model, place);
            match self.best_seat(model, |_| true).filter(|(_, total)| *total > enough) {
                Some((better, _)) => {
                    self.kept += 1;
                    self.settle(model, better, "moved for more on time");
                    gained = true;
                }
                None => self.put(model, seat),
            }
        }
        gained
    }

    /// Takes the place of another's replica, which goes elsewhere if it can.
    fn displace(&mut self, model: usize, cheapest: &[usize]) -> bool {
        if self.score.lack(model) <= self.least_gain(model) {
            return false;
        }
        let others = cheapest.iter().filter(|other| **other != model).take(OTHERS_MAX);
        for &other in others {
            for place in (0..self.seats[other].len()).rev() {
                if self.is_tired() {
                    return false;
                }
                if self.take_place(model, other, place) {
                    return true;
                }
            }
        }
        false
    }

    fn take_place(&mut self, model: usize, other: usize, place: usize) -> bool {
        if self.has_room_for_one_more(model) && self.try_place(model, other, place, None) {
            return true;
        }
        // Exchange: one of its own goes there, and the other may go where that was.
        (0..self.seats[model].len()).rev().any(|own| self.try_place(model, other, place, Some(own)))
    }

    fn has_room_for_one_more(&self, model: usize) -> bool {
        self.count(model) < self.demands[model].replicas_max
    }

    /// Its replica leaves, then one of the model's own if that is to be exchanged; whoever gains takes the room.
    fn try_place(&mut self, model: usize, other: usize, place: usize, own: Option<usize>) -> bool {
        let enough = self.score.total() + self.least_gain(model);
        let own = own.map(|own| self.lift(model, own));
        let theirs = self.lift(other, place);
        let counts = [model, other].map(|it| self.count(it));
        let there = |seat: &Seat| seat.device == theirs.device;
        if let Some((mine, _)) = self.best_seat(model, there) {
            self.settle(model, mine, "in another's place for more on time");
            self.add(model, "in another's place for more on time");
            self.add(other, "made room for another");
            let may_leave = !self.holds_least || !self.is_short(other);
            if self.score.total() > enough && may_leave {
                self.kept += 1;
                return true;
            }
        }
        for (it, count) in [model, other].into_iter().zip(counts) {
            while self.count(it) > count {
                self.lift(it, count as usize);
            }
        }
        self.put(other, theirs);
        own.into_iter().for_each(|seat| self.put(model, seat));
        false
    }

    fn is_short(&self, model: usize) -> bool {
        self.count(model) < self.demands[model].replicas_min
    }

    fn settle(&mut self, model: usize, mut seat: Seat, why: &str) {
        seat.why = format!("{why}; {}", seat.why);
        self.put(model, seat);
    }
}
