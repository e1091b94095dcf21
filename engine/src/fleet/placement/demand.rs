//! What models ask for together, and what a plan gives them.

use super::ask::{Ask, Choice, Seat};
use super::curve::HEAD_ROOM;
use super::no_seat::NoSeat;
use crate::ids::DeviceClass;

/// A model with no rate is taken to get this many rows a second: one that answers nobody is worth a little.
const RATE_LEAST_ROWS_S: f64 = 1.0;

/// What one model asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Demand {
    /// Of one replica, but with the rate of the whole model.
    pub ask: Ask,
    /// What a row of it on time is worth beside others'.
    pub weight: f64,
    pub replicas_min: u32,
    pub replicas_max: u32,
}

/// Who sits where, and how well each model fares.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub seats: Vec<Seat>,
    /// In the order of the demands.
    pub standings: Vec<Standing>,
    /// As [`super::worth`] has it.
    pub worth: f64,
    /// Changes that were tried beyond the first seats, and those of them that were kept.
    pub tried: u32,
    pub kept: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    pub model: String,
    pub replicas: u32,
    pub rate_rows_s: f64,
    pub on_time_rows_s: f64,
    /// Why there are fewer replicas than the least, or fewer than would carry the rate.
    pub short: Option<NoSeat>,
}

impl Demand {
    pub(super) fn rate_rows_s(&self) -> f64 {
        self.ask.rate_rows_s.max(RATE_LEAST_ROWS_S)
    }

    /// Rows a second on time of one replica that runs as `choice`. One of unknown speed is taken to be half busy.
    pub(super) fn replica_rows_s(&self, choice: &Choice) -> f64 {
        match &choice.curve {
            Some(curve) => curve.capacity(self.ask.slo, 1).map_or(0.0, |it| it.rows_s),
            None => 2.0 * self.rate_rows_s() / f64::from(self.replicas_min.max(1)),
        }
    }

    pub(super) fn replica_most_rows_s(&self) -> f64 {
        self.ask.options.iter().map(|it| self.replica_rows_s(it)).fold(0.0, f64::max)
    }

    pub(super) fn choice(&self, class: DeviceClass) -> Option<&Choice> {
        self.ask.options.iter().find(|choice| choice.class == class)
    }

    /// So many replicas carry the rate if they run where one does most.
    pub(super) fn replicas_wanted(&self) -> u32 {
        let most = self.replica_most_rows_s();
        let enough =
            if most > 0.0 { (self.ask.rate_rows_s * HEAD_ROOM / most).ceil() } else { 0.0 };
        (enough as u32).clamp(self.replicas_min, self.replicas_max.max(self.replicas_min))
    }

    /// As one of its replicas asks.
    pub(super) fn ask_of_one(&self) -> Ask {
        let rate_rows_s = self.ask.rate_rows_s / f64::from(self.replicas_wanted().max(1));
        Ask { rate_rows_s, ..self.ask.clone() }
    }
}
