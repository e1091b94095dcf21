use proptest::prelude::*;

use super::*;

const CALM: Duration = Duration::from_secs(60);

/// A model of replicas that each carry `capacity`, under a load that the test sets, second by second.
struct World {
    scale: Autoscale,
    bounds: Option<Bounds>,
    capacity: f64,
    look: Look,
    /// Seconds at which the number was changed, and to what.
    changes: Vec<(u64, u32)>,
    second: u64,
}

impl World {
    fn new(min: u32, max: u32, capacity: f64) -> World {
        let look = Look {
            now: Time::ZERO,
            arrived: 0,
            turned_away: 0,
            capacity: Some(capacity),
            live: min,
            wanted: min,
        };
        let (scale, bounds) = (Autoscale::new(CALM), Bounds::new(min, max).ok());
        World { scale, bounds, capacity, look, changes: Vec::new(), second: 0 }
    }

    /// A second with so many arrivals. What a replica was told to be it is by the next second.
    fn second(&mut self, arrivals: u64) {
        self.second += 1;
        self.look.now = Time::ZERO.after(LOOK_EVERY * self.second as u32);
        self.look.arrived += arrivals;
        let carried = (self.capacity * f64::from(self.look.live)) as u64;
        self.look.turned_away += arrivals.saturating_sub(carried);
        let (_, wanted) = self.scale.look(self.bounds, self.look);
        self.look.live = self.look.wanted;
        if let Some(wanted) = wanted {
            self.changes.push((self.second, wanted));
            self.look.wanted = wanted;
        }
    }

    fn seconds(&mut self, count: u64, arrivals: u64) {
        (0..count).for_each(|_| self.second(arrivals));
    }

    fn wanted(&self) -> u32 {
        self.look.wanted
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    /// In (0, 1].
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64 + f64::EPSILON
    }
}

fn poisson(random: &mut Random, mean: f64) -> u64 {
    let (mut count, mut at) = (0, 0.0);
    loop {
        at -= random.next().ln() / mean;
        if at > 1.0 {
            return count;
        }
        count += 1;
    }
}

#[test]
fn a_load_that_rises_is_followed_within_seconds() {
    let mut world = World::new(1, 8, 100.0);
    world.seconds(30, 20);
    assert_eq!(world.wanted(), 1);
    world.seconds(15, 400);
    assert_eq!(world.wanted(), 6, "{:?}", world.changes);
    assert!(world.changes[0].0 <= 33, "{:?}", world.changes);
}

#[test]
fn one_second_of_many_is_no_load() {
    let mut world = World::new(1, 8, 1000.0);
    world.seconds(30, 500);
    world.second(1000);
    world.seconds(30, 500);
    assert_eq!(world.changes, []);
}

#[test]
fn replicas_go_only_when_a_whole_minute_wanted_fewer() {
    let mut world = World::new(1, 8, 100.0);
    world.seconds(20, 400);
    let many = world.wanted();
    for _ in 0..5 {
        world.seconds(40, 10);
        world.seconds(10, 400);
    }
    assert_eq!(world.wanted(), many, "a load that comes and goes keeps its replicas");
    let gone_at = world.second;
    world.seconds(200, 10);
    assert_eq!(world.wanted(), 1);
    let first = world.changes.iter().find(|change| change.1 < many).unwrap().0;
    assert!(first >= gone_at + CALM.as_secs(), "{:?}", world.changes);
}

#[test]
fn work_that_is_turned_away_calls_for_more_whatever_the_profile_says() {
    let mut world = World::new(1, 4, 50.0);
    world.look.capacity = Some(1e6);
    world.seconds(10, 100);
    assert!(world.wanted() >= 2, "{:?}", world.changes);
}

#[test]
fn looks_from_before_somebody_else_set_a_number_do_not_count() {
    let mut world = World::new(1, 20, 100.0);
    world.seconds(2, 400);
    world.look.wanted = 7;
    world.second(2000);
    assert_eq!(world.changes, [], "the first look that wants more than seven");
    world.second(2000);
    assert!(world.wanted() > 7, "{:?}", world.changes);
}

#[test]
fn time_without_bounds_is_no_time_in_which_fewer_were_wanted() {
    let mut world = World::new(1, 8, 100.0);
    world.seconds(20, 400);
    let many = world.wanted();
    world.seconds(40, 10);
    let bounds = world.bounds.take();
    world.seconds(100, 10);
    world.bounds = bounds;
    world.seconds(40, 10);
    assert_eq!(world.wanted(), many);
    world.seconds(40, 10);
    assert_eq!(world.wanted(), 1);
}

#[test]
fn nothing_is_known_of_a_model_that_never_ran() {
    let mut world = World::new(2, 4, 50.0);
    world.look.capacity = None;
    world.seconds(100, 1000);
    assert_eq!(world.changes, []);
}

#[test]
fn bounds_that_can_not_be_are_refused() {
    assert_eq!(Bounds::new(0, 3), Err(BoundsError::None));
    assert_eq!(Bounds::new(4, 3), Err(BoundsError::Crossed { min: 4, max: 3 }));
}

proptest! {
    /// Ten minutes of a constant mean: settles within the first, stays within the bounds, and what changes after that are
    /// at most two steps in one direction, never one and back.
    #[test]
    fn a_constant_load_never_flaps(
        seed: u64, mean in 0.5..3000.0_f64, capacity in 1.0..2000.0_f64, min in 1..3_u32, more in 0..12_u32,
    ) {
        let mut world = World::new(min, min + more, capacity);
        let mut random = Random(seed);
        for _ in 0..60 {
            let arrivals = poisson(&mut random, mean);
            world.second(arrivals);
        }
        let (settling, settled) = (world.changes.len(), world.wanted());
        for _ in 0..540 {
            let arrivals = poisson(&mut random, mean);
            world.second(arrivals);
            prop_assert!((min..=min + more).contains(&world.wanted()));
        }
        let later = &world.changes[settling..];
        let counts: Vec<_> = std::iter::once(settled).chain(later.iter().map(|it| it.1)).collect();
        let one_way = counts.is_sorted() || counts.iter().rev().is_sorted();
        prop_assert!(one_way, "{settled}, then {later:?}");
        prop_assert!(later.len() <= 2, "{settled}, then {later:?}");
    }

    /// Where the bounds allow it, what is wanted in the end carries the load, and not many times over.
    #[test]
    fn enough_are_wanted_and_not_many_more(mean in 5..2000_u64, capacity in 5.0..500.0_f64) {
        let mut world = World::new(1, 4000, capacity);
        world.seconds(300, mean);
        let wanted = f64::from(world.wanted());
        prop_assert!(wanted * capacity >= mean as f64 * 0.99);
        prop_assert!(wanted <= (mean as f64 / (capacity * BUSY_MIN)).ceil() + 2.0 + 6.0 * (mean as f64).sqrt() / capacity);
    }
}
