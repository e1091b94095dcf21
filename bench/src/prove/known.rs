//! Delays that were planned, and what must be seen of them.

use std::time::Duration;

use super::{Args, Check, ProveError, against, ms};
use crate::arrivals::{Arrivals, Pattern};
use crate::plan::{Load, Plan, Wait};
use crate::synthetic::{Behaviour, Delay, Stall};

const RATE: f64 = 1_000.0;
const SPAN: Duration = Duration::from_secs(10);
const CONNECTIONS: usize = 16;
/// Enough for all who are due during the stall.
const CONNECTIONS_MAX: usize = 512;
const STALL: Stall = Stall { start_ns: 5_000_000_000, span_ns: 200_000_000 };

pub(super) fn checks(args: &Args) -> Result<Vec<Check>, ProveError> {
    Ok([constant(args)?, exponential(args)?, stalled(args)?, omitting(args)?].concat())
}

fn open(pattern: Pattern) -> Result<Plan, ProveError> {
    let arrivals = Arrivals::of(&pattern, Some(RATE), 1)?;
    Ok(Plan {
        connections_max: CONNECTIONS_MAX,
        load: Load::Open(arrivals),
        wait: Wait::Spin,
        ..Plan::closed(CONNECTIONS, SPAN)
    })
}

fn constant(args: &Args) -> Result<Vec<Check>, ProveError> {
    let behaviour = Behaviour::new(Delay::Constant { us: 2_000 }, None, 1);
    let measured = against(args, behaviour, &open(Pattern::Poisson)?)?;
    Ok(vec![
        Check::new("2 ms always: p50, ms", 2.0, ms(&measured.latency, 0.5)?, 0.05),
        Check::new(
            "2 ms always: sends a second",
            RATE,
            measured.sent as f64 / SPAN.as_secs_f64(),
            0.03,
        ),
        Check::new(
            "2 ms always: model of Server-Timing, ms",
            2.0,
            ms(&measured.stages.model, 0.5)?,
            0.01,
        ),
    ])
}

fn exponential(args: &Args) -> Result<Vec<Check>, ProveError> {
    const MEAN_MS: f64 = 4.0;
    let behaviour = Behaviour::new(Delay::Exponential { mean_us: 4_000 }, None, 2);
    let measured = against(args, behaviour, &open(Pattern::Poisson)?)?;
    // The standard error of the p99 of 10,000 is 2 %.
    let quantiles: [(f64, f64); 3] = [(0.5, 0.05), (0.9, 0.05), (0.99, 0.06)];
    let check = |(quantile, within): (f64, f64)| {
        let name = format!("exponential, mean 4 ms: p{:.0}, ms", quantile * 100.0);
        let foretold = -(1.0 - quantile).ln() * MEAN_MS;
        Ok(Check::new(name, foretold, ms(&measured.latency, quantile)?, within))
    };
    quantiles.into_iter().map(check).collect()
}

/// Of 10 s, 0.2 s stand still. Who is due x ms before the end of it waits x ms, so the share that waits longer than x is
/// (200 - x) / 10,000: a thousandth waits 190 ms or longer, and 1.9 % of the requests wait 10 ms or longer.
fn stalled(args: &Args) -> Result<Vec<Check>, ProveError> {
    let behaviour = Behaviour::new(Delay::Constant { us: 1_000 }, Some(STALL), 3);
    let measured = against(args, behaviour, &open(Pattern::Constant)?)?;
    let late = measured.latency.histogram().count_between(10_000_000, u64::MAX) as f64;
    Ok(vec![
        Check::new("stall of 200 ms: p99.9, ms", 190.0, ms(&measured.latency, 0.999)?, 0.03),
        Check::new("stall of 200 ms: longest, ms", 200.0, ms(&measured.latency, 1.0)?, 0.03),
        Check::new("stall of 200 ms: waited 10 ms or longer", 190.0, late, 0.05),
    ])
}

/// The same server, asked by whoever waits for an answer before asking again: one request of thousands meets the stall,
/// and the p99.9 hides it. So must tools that count from the send.
fn omitting(args: &Args) -> Result<Vec<Check>, ProveError> {
    let behaviour = Behaviour::new(Delay::Constant { us: 1_000 }, Some(STALL), 3);
    let plan = Plan { wait: Wait::Spin, ..Plan::closed(1, SPAN) };
    let measured = against(args, behaviour, &plan)?;
    let name = "stall, asked one by one";
    Ok(vec![
        Check::new(format!("{name}: longest, ms"), 200.0, ms(&measured.latency, 1.0)?, 0.03),
        Check::new(format!("{name}: p50, ms"), 1.0, ms(&measured.latency, 0.5)?, 0.1),
        // Far from the 190 ms of those who don't wait for each other, on a machine that has hiccups of its own.
        Check::at_most(format!("{name}: p99.9, ms"), 10.0, ms(&measured.latency, 0.999)?),
    ])
}
