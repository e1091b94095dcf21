//! Which classes are let in when not all can be: the dearest first, and of the cheapest still a little.
//!
//! Nothing is held back while the arrivals of all classes fit what the replicas can do. Above that each class gets what
//! the dearer ones leave. Let in is who the running sum of its class's share says, so that equal arrivals have equal
//! answers.

use std::time::Duration;

use crate::batch::batch_size::Arrival;
use crate::batch::rate::Rate;
use crate::clock::Time;

/// Load up to which classes fill the replicas: at the capacity itself one in twenty of all classes would be late.
const FILL: f64 = 0.95;

/// Share of a class that is let in whatever the others bring, so that none starves.
const SHARE_MIN: f64 = 0.05;

#[derive(Debug)]
pub(super) struct Gate {
    memory: Duration,
    /// By class, as they are met.
    classes: Vec<Class>,
}

#[derive(Debug)]
struct Class {
    id: u8,
    worth: u32,
    offered: Rate,
    credit: f64,
}

impl Gate {
    pub(super) fn new(memory: Duration) -> Gate {
        Gate { memory, classes: Vec::new() }
    }

    /// Counts an arrival, let in or not.
    pub(super) fn offer(&mut self, now: Time, task: &Arrival) {
        let class = self.class_of(task);
        class.worth = task.worth;
        class.offered.add(now, task.cost);
    }

    /// More than one class was met: otherwise there is nobody to give way to.
    pub(super) fn has_classes(&self) -> bool {
        self.classes.len() > 1
    }

    /// `capacity` is cost per nanosecond; nothing is known yet while it is zero.
    pub(super) fn lets_in(&mut self, now: Time, task: &Arrival, capacity: f64) -> bool {
        if capacity <= 0.0 {
            return true;
        }
        let share = self.share(now, task.worth, FILL * capacity);
        let class = self.class_of(task);
        if share >= 1.0 {
            class.credit = 1.0;
            return true;
        }
        class.credit += share;
        let lets_in = class.credit >= 1.0;
        class.credit -= f64::from(u8::from(lets_in));
        lets_in
    }

    /// Share of its arrivals that a class may bring.
    fn share(&self, now: Time, worth: u32, room: f64) -> f64 {
        let sum = |of: fn(&u32, &u32) -> bool| -> f64 {
            let such = self.classes.iter().filter(|class| of(&class.worth, &worth));
            such.map(|class| class.offered.at(now)).sum()
        };
        let (dearer, equal, all) =
            (sum(|it, own| it > own), sum(|it, own| it == own), sum(|_, _| true));
        if all <= room {
            return 1.0;
        }
        ((room - dearer) / equal.max(f64::MIN_POSITIVE)).clamp(SHARE_MIN, 1.0)
    }

    fn class_of(&mut self, task: &Arrival) -> &mut Class {
        let found = self.classes.iter().position(|class| class.id == task.class);
        let at = found.unwrap_or_else(|| {
            let offered = Rate::new(self.memory);
            let (id, worth) = (task.class, task.worth);
            self.classes.push(Class { id, worth, offered, credit: 1.0 });
            self.classes.len() - 1
        });
        &mut self.classes[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PER_MS: f64 = 1e-6;

    /// Shares let in of a dear and a cheap class, at these rates per millisecond and a capacity of 10.
    fn shares(dear: u64, cheap: u64) -> [f64; 2] {
        let mut gate = Gate::new(Duration::from_millis(100));
        let (mut came, mut let_in) = ([0.0f64; 2], [0.0f64; 2]);
        for nth in 0..20_000u64 {
            let class = usize::from(nth % (dear + cheap) >= dear);
            let now = Time::from_nanos(1 + nth * 1_000_000 / (dear + cheap));
            let worth = if class == 0 { 4 } else { 1 };
            let due = now.after(Duration::from_millis(20));
            let task = Arrival { cost: 1, due, class: class as u8, worth, is_hard: true };
            gate.offer(now, &task);
            let lets_in = gate.lets_in(now, &task, 10.0 * PER_MS);
            if nth > 5_000 {
                came[class] += 1.0;
                let_in[class] += f64::from(u8::from(lets_in));
            }
        }
        [let_in[0] / came[0], let_in[1] / came[1]]
    }

    #[test]
    fn all_are_let_in_while_there_is_room() {
        assert_eq!(shares(4, 5), [1.0, 1.0]);
    }

    #[test]
    fn the_cheap_give_way_first() {
        let [dear, cheap] = shares(7, 7);
        assert_eq!(dear, 1.0);
        assert!((cheap - 2.5 / 7.0).abs() < 0.03, "{cheap}");
    }

    #[test]
    fn nobody_starves() {
        let [dear, cheap] = shares(12, 8);
        assert!((dear - 9.5 / 12.0).abs() < 0.03, "{dear}");
        assert!((cheap - SHARE_MIN).abs() < 0.01, "{cheap}");
    }
}
