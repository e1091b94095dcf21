use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::evidence::Verdict;
use super::*;

const BOUNDS: Bounds = Bounds {
    start_rate: 100.0,
    rate_min: 1.0,
    rate_max: 1e6,
    width: 0.03,
    runs_max: 200,
    seconds_max: 1e9,
};

/// Plays a server: at each rate, and as the so-many-th run, it votes.
fn search(bounds: &Bounds, mut server: impl FnMut(f64, usize) -> Vote) -> (Found, Vec<Trial>) {
    let mut trials = Vec::new();
    loop {
        match next(bounds, &trials) {
            Step::Done(found) => return (found, trials),
            Step::Run { rate } => {
                let vote = server(rate, trials.len());
                trials.push(trial(rate, vote, 10.0));
            }
        }
    }
}

fn trial(rate: f64, vote: Vote, seconds: f64) -> Trial {
    Trial { rate, vote, surplus: if vote == Vote::Held { 1.0 } else { -1.0 }, seconds }
}

fn votes(holds: bool) -> Vote {
    if holds { Vote::Held } else { Vote::Missed(Miss::TooLate) }
}

fn verdict_at(found: &Found, at: Option<f64>) -> &RateEvidence {
    found.evidence.iter().find(|rate| Some(rate.rate) == at).expect("the end was run")
}

#[test]
fn the_interval_of_a_steady_server_holds_its_capacity_and_is_as_narrow_as_asked() {
    for capacity in [1.7, 99.0, 101.0, 3_210.0, 777_777.0] {
        let (found, trials) = search(&BOUNDS, |rate, _| votes(rate <= capacity));
        let (held, missed) = (found.held.expect("held"), found.missed.expect("missed"));
        assert!(held <= capacity && capacity < missed, "{found:?}");
        assert!(missed <= held * 1.03, "{found:?}");
        assert_eq!(found.stopped, Stopped::Narrow);
        assert!(trials.len() < 60, "{capacity}: {} runs", trials.len());
    }
}

#[test]
fn a_rate_far_from_the_edge_costs_two_runs_and_an_end_more() {
    let (found, _) = search(&BOUNDS, |rate, _| votes(rate <= 1_000.0));
    assert_eq!(found.evidence[0].held, 2);
    assert_eq!(verdict_at(&found, found.held).held, RUNS_PER_END);
    assert_eq!(verdict_at(&found, found.missed).missed, RUNS_PER_END);
}

#[test]
fn a_server_whose_runs_near_the_edge_are_chance_is_still_found() {
    let mut within = 0;
    for seed in 0..200 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let (found, trials) = search(&BOUNDS, |rate, _| {
            let odds = 1.0 / (1.0 + ((rate / 1_000.0 - 1.0) / 0.01).exp());
            votes(rng.random_bool(odds))
        });
        let interval = found.held.expect("held")..=found.missed.expect("missed");
        within += u32::from(interval.start() * 0.98 <= 1_000.0 && 1_000.0 <= interval.end() * 1.02);
        assert!(trials.len() <= BOUNDS.runs_max);
    }
    assert!(within >= 190, "{within} of 200");
}

#[test]
fn a_rate_that_held_above_one_that_missed_widens_the_interval() {
    let (held, missed) = (Vote::Held, Vote::Missed(Miss::TooLate));
    let at = |rate, vote| [trial(rate, vote, 1.0); RUNS_PER_RATE_MAX as usize];
    let trials = [at(100.0, held), at(102.0, missed), at(104.0, held), at(106.0, missed)].concat();
    let Step::Done(found) = next(&BOUNDS, &trials) else { panic!("nothing is left to run") };
    assert_eq!((found.held, found.missed), (Some(100.0), Some(106.0)));
    assert_eq!(found.stopped, Stopped::Contested);
}

#[test]
fn verdicts_that_contradict_each_other_are_run_again_first() {
    let at = |rate, vote| [trial(rate, vote, 1.0); 2];
    let trials = [at(100.0, Vote::Missed(Miss::TooLate)), at(110.0, Vote::Held)].concat();
    assert_eq!(next(&BOUNDS, &trials), Step::Run { rate: 100.0 });
}

#[test]
fn a_server_that_turns_slow_before_the_end_moves_the_interval_down() {
    let (found, _) =
        search(&BOUNDS, |rate, run| votes(rate <= if run < 19 { 1_000.0 } else { 900.0 }));
    let held = found.held.expect("held");
    assert!(held <= 900.0, "{found:?}");
    assert!(found.missed.expect("missed") >= 900.0);
}

#[test]
fn above_what_the_generator_can_offer_nothing_is_said_of_the_server() {
    let (found, trials) =
        search(&BOUNDS, |rate, _| if rate > 1_500.0 { Vote::Invalid } else { Vote::Held });
    assert_eq!((found.missed, found.stopped), (None, Stopped::GeneratorIsTheLimit));
    assert!(found.held.is_some_and(|held| held > 1_450.0), "{found:?}");
    assert!(found.generator_limit.is_some_and(|limit| limit > 1_500.0 && limit < 1_550.0));
    for rate in &found.evidence {
        assert!(rate.invalid <= INVALID_PER_RATE_MAX, "{rate:?}");
        assert!(rate.verdict != Verdict::Ceiling || rate.runs() == 0);
    }
    assert!(trials.len() < 60, "{} runs", trials.len());
}

#[test]
fn an_invalid_run_is_repeated_and_counts_for_nothing() {
    let (found, _) =
        search(
            &BOUNDS,
            |rate, run| {
                if run % 3 == 1 { Vote::Invalid } else { votes(rate <= 1_000.0) }
            },
        );
    let (held, missed) = (found.held.expect("held"), found.missed.expect("missed"));
    assert!(held <= 1_000.0 && 1_000.0 < missed, "{found:?}");
}

#[test]
fn the_bounds_end_the_search_with_what_is_known() {
    let few = Bounds { runs_max: 5, ..BOUNDS };
    let (found, trials) = search(&few, |rate, _| votes(rate <= 1_000.0));
    assert_eq!((trials.len(), found.stopped), (5, Stopped::RunsSpent));
    assert_eq!((found.held, found.missed), (Some(200.0), None));
    let short = Bounds { seconds_max: 45.0, ..BOUNDS };
    assert_eq!(search(&short, |_, _| Vote::Held).0.stopped, Stopped::TimeSpent);
    let found = interrupted(&trials[..4]);
    assert_eq!((found.held, found.stopped), (Some(200.0), Stopped::Interrupted));
    let low = Bounds { rate_max: 1_000.0, ..BOUNDS };
    let (found, _) = search(&low, |_, _| Vote::Held);
    assert_eq!((found.held, found.stopped), (Some(1_000.0), Stopped::RateMaxHeld));
    let (found, _) = search(&BOUNDS, |_, _| votes(false));
    assert_eq!((found.held, found.missed), (None, Some(1.0)));
    assert_eq!(found.stopped, Stopped::NothingHeld);
    let (found, trials) = search(&BOUNDS, |_, _| Vote::Invalid);
    assert_eq!(trials.len(), 2 * INVALID_PER_RATE_MAX as usize);
    assert_eq!((found.held, found.stopped), (None, Stopped::GeneratorIsTheLimit));
}

/// Whatever a server answers, the search ends, within its bounds, and says nothing it didn't see.
#[test]
fn a_server_that_answers_by_dice_ends_the_search_too() {
    for seed in 0..300 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let odds: [f64; 2] = [rng.random(), rng.random()];
        let (found, trials) = search(&BOUNDS, |_, _| match rng.random::<f64>() {
            dice if dice < odds[0] => Vote::Held,
            dice if dice < odds[0].max(odds[1]) => Vote::Missed(Miss::TooSlow),
            _ => Vote::Invalid,
        });
        assert!(trials.len() <= BOUNDS.runs_max);
        let seen: u32 = found.evidence.iter().map(|rate| rate.runs() + rate.invalid).sum();
        assert_eq!(seen as usize, trials.len());
        assert!(found.held.zip(found.missed).is_none_or(|(held, missed)| held < missed));
        for rate in &found.evidence {
            assert!(rate.runs() <= RUNS_PER_RATE_MAX && rate.invalid <= INVALID_PER_RATE_MAX);
            let is_below =
                rate.verdict != Verdict::Held || found.missed.is_none_or(|m| rate.rate < m);
            let is_above =
                rate.verdict != Verdict::Missed || found.held.is_none_or(|h| rate.rate > h);
            assert!(is_below && is_above, "{found:?}");
        }
    }
}

/// Of an overload that comes in rare bursts most short runs see nothing.
#[test]
fn a_rate_whose_runs_together_miss_has_not_held() {
    let bounds = Bounds { start_rate: 400.0, ..BOUNDS };
    let good = Trial { surplus: 4.0, ..trial(400.0, Vote::Held, 1.0) };
    let burst = Trial { surplus: -30.0, ..trial(400.0, Vote::Missed(Miss::TooLate), 1.0) };
    let mut trials = vec![good, burst, good, good];
    assert_eq!(next(&bounds, &trials), Step::Run { rate: 400.0 }, "the votes lead by two");
    trials.extend([good; 3]);
    assert_eq!(next(&bounds, &trials), Step::Run { rate: 200.0 });
}

const PROMISE: Promise = Promise {
    slo_ns: 20_000_000,
    percentile: 0.99,
    failures_share_max: 0.001,
    achieved_share_min: 0.99,
};

#[test]
fn a_run_holds_when_enough_are_answered_right_in_time_and_pace() {
    let all = Observed { due: 10_000, answered: 10_000, on_time: 9_900, failures: 10 };
    assert_eq!(PROMISE.vote(&all), Vote::Held);
    assert_eq!(PROMISE.surplus(&all), 0.0);
    let late = Observed { on_time: 9_899, ..all };
    assert_eq!(PROMISE.vote(&late), Vote::Missed(Miss::TooLate));
    let failing = Observed { failures: 11, ..all };
    assert_eq!(PROMISE.vote(&failing), Vote::Missed(Miss::TooManyFailures));
    let behind = Observed { answered: 9_899, ..all };
    assert_eq!(PROMISE.vote(&behind), Vote::Missed(Miss::TooSlow));
    let idle = Observed { due: 0, answered: 0, on_time: 0, failures: 0 };
    assert_eq!(PROMISE.vote(&idle), Vote::Missed(Miss::NothingDue));
}
