//! How many replicas a model needs for what it is asked. Pure: a function of one look after another.
//!
//! Once a second the load, the cost that arrived whether it was served or not, is held against what one replica carries
//! within the SLO. Two numbers are kept: how many are needed *at least*, so that replicas are busy for at most
//! `BUSY_MAX` of their capacity, and how many *at most*, at `BUSY_MIN`; each with the doubt that so few arrivals
//! leave taken into account. More are started when two looks in a row say that there are too few, or that work was
//! turned away while all that were wanted were live. Fewer are kept only when for `limits.scale_down_s` none of the looks
//! wanted as many: a load that comes and goes within that keeps its replicas. Between the two bounds nothing changes, so
//! under a constant load the number never goes up and back again.

use std::time::Duration;

use crate::clock::Time;

/// Between two looks.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Share of its capacity that a replica may be used for: beyond it queues grow faster than the load.
const BUSY_MAX: f64 = 0.7;

/// Below this share one replica less could carry it all; well under [`BUSY_MAX`], lest a load in between flaps.
const BUSY_MIN: f64 = 0.5;

/// Looks in a row that must want more.
const UP_LOOKS: u32 = 2;

/// Over how many looks the load is smoothed.
const SMOOTHED_LOOKS: f64 = 5.0;

/// Standard deviations by which the measured load may be off.
const DOUBT: f64 = 3.0;

/// Between how many replicas the engine may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub min: u32,
    pub max: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoundsError {
    #[error("at least one replica is needed; say replicas_min = 1")]
    None,
    #[error("replicas_max = {max} is less than replicas_min = {min}")]
    Crossed { min: u32, max: u32 },
}

impl Bounds {
    pub fn new(min: u32, max: u32) -> Result<Bounds, BoundsError> {
        match (min, max) {
            (0, _) => Err(BoundsError::None),
            _ if max < min => Err(BoundsError::Crossed { min, max }),
            _ => Ok(Bounds { min, max }),
        }
    }
}

/// What is seen of a model at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    pub now: Time,
    /// Cost that has arrived since the start.
    pub arrived: u64,
    /// Tasks turned away since the start for want of time or room.
    pub turned_away: u64,
    /// Cost per second that a replica carries within the SLO, more than 0; None while nothing is known.
    pub capacity: Option<f64>,
    pub live: u32,
    /// As many as it was told to have.
    pub wanted: u32,
}

/// What was made of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Demand {
    /// Cost per second.
    pub load: f64,
    /// Replicas that would carry it, whatever the bounds say: what an autoscaler of hosts wants to know.
    pub needed: u32,
}

/// Of one model.
#[derive(Clone, Debug)]
pub struct Autoscale {
    /// So long no look may have wanted as many as there are before any goes.
    calm_wait: Duration,
    before: Option<Look>,
    load: Option<f64>,
    /// Looks in a row that wanted more than there are, and the fewest that any of them wanted.
    up: Option<(u32, u32)>,
    /// When a look last wanted as many as there are, and the most that any has wanted since.
    calm: Option<(Time, u32)>,
}

impl Autoscale {
    pub fn new(calm_wait: Duration) -> Autoscale {
        Autoscale { calm_wait, before: None, load: None, up: None, calm: None }
    }

    /// How many there should be from now on; None: as many as there are.
    pub fn look(&mut self, bounds: Option<Bounds>, look: Look) -> (Demand, Option<u32>) {
        let Some(before) = self.before.replace(look) else { return (Demand::default(), None) };
        // Where the engine may not choose, or somebody else has since, what was wanted before says nothing.
        if bounds.is_none() || look.wanted != before.wanted {
            (self.up, self.calm) = (None, None);
        }
        let load = self.smoothed(&before, &look);
        let Some(capacity) = look.capacity else {
            return (Demand { load, needed: look.wanted }, None);
        };
        let span = SMOOTHED_LOOKS * LOOK_EVERY.as_secs_f64();
        let doubt = DOUBT * (load / span).sqrt();
        let replicas = |load: f64, busy: f64| (load.max(0.0) / (capacity * busy)).ceil() as u32;
        let demand = Demand { load, needed: replicas(load, BUSY_MAX).max(1) };
        let Some(Bounds { min, max }) = bounds else { return (demand, None) };
        let swamped = look.turned_away > before.turned_away && look.live >= look.wanted;
        let at_least = replicas(load - doubt, BUSY_MAX);
        let at_least = if swamped { at_least.max(look.wanted + 1) } else { at_least };
        let at_most = replicas(load + doubt, BUSY_MIN).max(at_least);
        let more = self.more(at_least.clamp(min, max), look.wanted);
        let wanted = more.or_else(|| self.fewer(look.now, at_most.clamp(min, max), look.wanted));
        (demand, wanted)
    }

    /// Cost per second, over the last looks.
    fn smoothed(&mut self, before: &Look, look: &Look) -> f64 {
        let seconds = look.now.since(before.now).as_secs_f64().max(1e-3);
        let rate = look.arrived.saturating_sub(before.arrived) as f64 / seconds;
        let load = self.load.map_or(rate, |load| load + (rate - load) / SMOOTHED_LOOKS);
        self.load = Some(load);
        load
    }

    fn more(&mut self, at_least: u32, wanted: u32) -> Option<u32> {
        if at_least <= wanted {
            self.up = None;
            return None;
        }
        self.calm = None;
        let (looks, fewest) =
            self.up.map_or((1, at_least), |(looks, fewest)| (looks + 1, fewest.min(at_least)));
        self.up = (looks < UP_LOOKS).then_some((looks, fewest));
        (looks >= UP_LOOKS).then_some(fewest)
    }

    fn fewer(&mut self, now: Time, at_most: u32, wanted: u32) -> Option<u32> {
        if at_most >= wanted {
            self.calm = None;
            return None;
        }
        let (since, most) =
            self.calm.map_or((now, at_most), |(since, most)| (since, most.max(at_most)));
        let is_over = now.since(since) >= self.calm_wait;
        self.calm = (!is_over).then_some((since, most));
        is_over.then_some(most)
    }
}

#[cfg(test)]
mod tests;
