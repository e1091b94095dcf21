//! Whether a replica's process still runs, by its heartbeat. Pure: looks and their times come in.

use std::time::Duration;

use crate::clock::Time;

/// Between two looks at a model's replicas: four of them make the silence of a second that ends one by default.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Time between two looks that counts as silence: an engine that stood still itself, or whose machine did, must not hold
/// it against the replica, which may not have run either.
const LOOK_COUNTED_MAX: Duration = LOOK_EVERY.saturating_mul(2);

/// What was seen of one replica's heartbeat.
#[derive(Debug)]
pub struct Pulse {
    /// Longer than this it may not be silent.
    silence_max: Duration,
    beats: u32,
    looked: Time,
    silent: Duration,
}

impl Pulse {
    pub fn new(now: Time, silence_max: Duration) -> Pulse {
        Pulse { silence_max, beats: 0, looked: now, silent: Duration::ZERO }
    }

    /// A look found this many beats. How long there was none, if that is too long.
    pub fn handle_look(&mut self, now: Time, beats: u32) -> Option<Duration> {
        let passed = now.since(self.looked).min(LOOK_COUNTED_MAX);
        self.looked = now;
        self.silent = if beats == self.beats { self.silent + passed } else { Duration::ZERO };
        self.beats = beats;
        (self.silent >= self.silence_max).then_some(self.silent)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(ms: u64) -> Time {
        Time::ZERO.after(Duration::from_millis(ms))
    }

    #[test]
    fn a_second_of_silence_over_four_looks_is_too_long() {
        let mut pulse = Pulse::new(at(0), SECOND);
        assert_eq!(pulse.handle_look(at(250), 3), None);
        let looks = [500, 750, 1000].map(|ms| pulse.handle_look(at(ms), 3));
        assert_eq!(looks, [None; 3]);
        assert_eq!(pulse.handle_look(at(1250), 3), Some(SECOND));
    }

    #[test]
    fn an_engine_that_stood_still_looks_again_before_it_judges() {
        let mut pulse = Pulse::new(at(0), SECOND);
        assert_eq!(pulse.handle_look(at(60_000), 0), None);
        assert_eq!(pulse.handle_look(at(60_001), 1), None);
        assert_eq!(pulse.handle_look(at(120_000), 1), None);
        assert!(pulse.handle_look(at(180_000), 1).is_some(), "two such looks are a second");
    }

    proptest! {
        #[test]
        fn one_that_beats_between_looks_is_never_silent(gaps in prop::collection::vec(1u64..100_000, 1..50)) {
            let (mut pulse, mut now) = (Pulse::new(at(0), SECOND), 0);
            for (beats, gap) in (1..).zip(gaps) {
                now += gap;
                prop_assert_eq!(pulse.handle_look(at(now), beats), None);
            }
        }
    }
}
