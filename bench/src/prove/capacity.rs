//! The decisions beyond a single run against a queue that is understood: Poisson arrivals, one server, 2 ms each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Args, Check, ProveError, serving};
use crate::request::Protocol;
use crate::rounds::{Ask, Rounds};
use crate::scenario::flags::Flags;
use crate::search::command::{Searched, search};
use crate::search::{Bounds, Promise};
use crate::synthetic::{Behaviour, Delay};

const PROMISE: Promise = Promise {
    slo_ns: 20_000_000,
    percentile: 0.99,
    failures_share_max: 0.001,
    achieved_share_min: 0.99,
};
const SERVICE_MS: f64 = 2.0;
const SLO: Duration = Duration::from_nanos(PROMISE.slo_ns);
const SECONDS: f64 = 5.0;
const BOUNDS: Bounds = Bounds {
    start_rate: 300.0,
    rate_min: 10.0,
    rate_max: 1_000.0,
    width: 0.03,
    runs_max: 60,
    seconds_max: 240.0,
};
/// So far do searches lie from each other in made-up time: a p99 of 2,000 requests of a queue is a matter of some bursts.
const WITHIN: f64 = 0.08;

pub(super) fn checks(args: &Args) -> Result<Vec<Check>, ProveError> {
    let behaviour = Behaviour::new(Delay::Queue { us: (SERVICE_MS * 1e3) as u64 }, None, 6);
    let searched = serving(args, behaviour, |address| searched(args, address))?;
    let found = searched.found;
    let ends = found.held.zip(found.missed);
    let (held, missed) = ends.ok_or(ProveError::TooFew("the search found no interval"))?;
    let foretold = rate_of(SLO.as_secs_f64() * 1e3, PROMISE.percentile);
    Ok(vec![
        Check::new("queue of 2 ms, 99 % in 20 ms: rate held", foretold, held, WITHIN),
        Check::new("queue of 2 ms, 99 % in 20 ms: rate missed", foretold, missed, WITHIN),
    ])
}

fn searched(args: &Args, address: SocketAddr) -> Result<Searched, ProveError> {
    let flags =
        Flags { protocol: Some(Protocol::Http), core: Some(args.client_core), ..Flags::default() };
    let ask = Ask { json: false, flags };
    let url = format!("http://{address}");
    let rounds = Rounds::open(&url, &ask, &Arc::default())?.with_slo(SLO);
    Ok(search(&rounds, &PROMISE, &BOUNDS, SECONDS)?)
}

/// At which this share of requests has left after `within_ms`.
fn rate_of(within_ms: f64, share: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1e3 / SERVICE_MS);
    for _ in 0..50 {
        let middle = f64::midpoint(low, high);
        if left_share(middle, within_ms) >= share { low = middle } else { high = middle }
    }
    low
}

/// Erlang's distribution of the wait for a server with constant service (1909); the request's own service comes after it.
fn left_share(rate: f64, within_ms: f64) -> f64 {
    let (per_ms, wait_ms) = (rate / 1e3, within_ms - SERVICE_MS);
    let (mut sum, mut ahead, mut factorial) = (0.0, 0.0, 1.0);
    while ahead * SERVICE_MS <= wait_ms {
        let span = per_ms * (ahead * SERVICE_MS - wait_ms);
        sum += span.powf(ahead) / factorial * (-span).exp();
        ahead += 1.0;
        factorial *= ahead;
    }
    (1.0 - per_ms * SERVICE_MS) * sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrivals::{Arrivals, Pattern};
    use crate::compare::spread;
    use crate::search::{Observed, Step, Trial, next};

    /// Of the server's own code, in made-up time.
    #[test]
    fn the_foretold_rate_is_that_of_the_queue_played_out() {
        let rate = rate_of(20.0, 0.99);
        let arrivals = Arrivals::of(&Pattern::Poisson, Some(rate), 1).expect("a rate");
        let mut queue = Behaviour::new(Delay::Queue { us: 2_000 }, None, 1);
        let in_time =
            arrivals.take(1_000_000).filter(|&at_ns| queue.leaves_ns(at_ns) <= at_ns + 20_000_000);
        let share = in_time.count() as f64 / 1e6;
        assert!((share - 0.99).abs() < 0.001, "{share} at {rate}");
    }

    fn played(rate: f64, seed: u64) -> Trial {
        let arrivals = Arrivals::of(&Pattern::Poisson, Some(rate), seed).expect("a rate");
        let mut queue = Behaviour::new(Delay::Queue { us: 2_000 }, None, 1);
        let due: Vec<u64> = arrivals.take_while(|&at_ns| at_ns < 5_000_000_000).collect();
        let in_time = due.iter().filter(|&&at_ns| queue.leaves_ns(at_ns) <= at_ns + 20_000_000);
        let on_time = in_time.count() as u64;
        let due = due.len() as u64;
        let observed = Observed { due, answered: due, on_time, failures: 0 };
        let surplus = PROMISE.surplus(&observed);
        Trial { rate, vote: PROMISE.vote(&observed), surplus, seconds: 5.0 }
    }

    fn searched(seed: u64) -> f64 {
        let mut trials = Vec::new();
        loop {
            let number = trials.len() as u64;
            match next(&BOUNDS, &trials) {
                Step::Run { rate } => trials.push(played(rate, seed << 32 | number)),
                Step::Done(found) => {
                    let ends = found.held.zip(found.missed).expect("an interval");
                    return f64::midpoint(ends.0, ends.1);
                }
            }
        }
    }

    #[test]
    fn searches_in_made_up_time_find_the_foretold_rate() {
        let foretold = rate_of(20.0, 0.99);
        let found = spread(&(0..40).map(searched).collect::<Vec<_>>()).expect("searches");
        assert!((found.median / foretold - 1.0).abs() < 0.015, "{found:?}");
        assert!(found.min > foretold * (1.0 - WITHIN), "{found:?}");
        assert!(found.max < foretold * (1.0 + WITHIN), "{found:?}");
    }

    #[test]
    fn half_of_a_half_loaded_queue_find_nobody_there() {
        assert!((left_share(250.0, 2.0) - 0.5).abs() < 1e-9);
    }
}
