//! MLPerf's own LoadGen on the same server, in turn with our presets of its scenarios.
//!
//! Its Python system under test costs some tenths of a millisecond for each query, so delays are long ones, and what the
//! exchange alone took there is compared too.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use super::tools::output_of;
use super::{Args, Check, ProveError, drive, ms, plain_get, serving};
use crate::arrivals::{Arrivals, Pattern};
use crate::measured::Measured;
use crate::mlperf::{Counted, Scenario};
use crate::plan::{Load, Plan};
use crate::synthetic::{Behaviour, Delay};

const PROGRAM: &str = include_str!("../../proofs/loadgen.py");
const SPAN: Duration = Duration::from_secs(15);
const DELAY: Delay = Delay::Exponential { mean_us: 10_000 };
const RATE: f64 = 200.0;
const CONNECTIONS_MAX: usize = 64;
/// Both servers draw the same delays in the same order; what differs is the tools, and where the run ends.
const SEED: u64 = 5;
const WITHIN: f64 = 0.05;
/// Some dozens of samples are beyond it.
const WITHIN_P99: f64 = 0.10;

#[derive(Debug, Deserialize)]
struct Told {
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    exchange_p50_ms: f64,
    exchange_p90_ms: f64,
    exchange_p99_ms: f64,
    /// Single stream only, as the others are.
    queries: u64,
    discarded: u64,
    estimate_ms: f64,
}

pub(super) fn checks(args: &Args, python: &Path) -> Result<Vec<Check>, ProveError> {
    Ok([single_stream(args, python)?, server(args, python)?].concat())
}

fn single_stream(args: &Args, python: &Path) -> Result<Vec<Check>, ProveError> {
    let name = "LoadGen, single stream";
    let theirs = told(args, python, "SingleStream")?;
    let measured = ours(args, &Plan::closed(1, SPAN))?;
    let mut checks = compared(name, &measured, &theirs)?;
    let preset = Scenario::SingleStream.preset();
    let seconds = SPAN.as_secs_f64();
    let rank_of = |queries| {
        let verdict = preset.verdict(Counted { seconds, queries, over: 0 });
        verdict.rank_from_highest.ok_or(ProveError::TooFew("too few queries for early stopping"))
    };
    let rank = rank_of(theirs.queries)? as f64;
    checks.push(Check::new(
        format!("{name}: latencies discarded + 1"),
        theirs.discarded as f64 + 1.0,
        rank,
        0.0,
    ));
    let samples = measured.latency.summary().samples;
    let quantile = (samples as f64 - rank_of(samples)? as f64 + 0.5) / samples as f64;
    let estimate_ms = ms(&measured.latency, quantile)?;
    checks.push(Check::new(
        format!("{name}: early-stopping estimate, ms"),
        theirs.estimate_ms,
        estimate_ms,
        WITHIN,
    ));
    Ok(checks)
}

fn server(args: &Args, python: &Path) -> Result<Vec<Check>, ProveError> {
    let theirs = told(args, python, "Server")?;
    let arrivals = Arrivals::of(&Pattern::Poisson, Some(RATE), 1)?;
    let plan = Plan {
        connections_max: CONNECTIONS_MAX,
        load: Load::Open(arrivals),
        ..Plan::closed(CONNECTIONS_MAX, SPAN)
    };
    compared("LoadGen, server", &ours(args, &plan)?, &theirs)
}

fn compared(name: &str, ours: &Measured, theirs: &Told) -> Result<Vec<Check>, ProveError> {
    let whole = [(0.5, theirs.p50_ms), (0.9, theirs.p90_ms), (0.99, theirs.p99_ms)];
    let exchange = [theirs.exchange_p50_ms, theirs.exchange_p90_ms, theirs.exchange_p99_ms];
    let mut checks = Vec::new();
    for ((quantile, whole_ms), exchange_ms) in whole.into_iter().zip(exchange) {
        let found = ms(&ours.latency, quantile)?;
        let within = if quantile > 0.95 { WITHIN_P99 } else { WITHIN };
        let percent = quantile * 100.0;
        checks.push(Check::new(format!("{name}: p{percent:.0}, ms"), whole_ms, found, within));
        let exchange = format!("{name}: p{percent:.0} of its HTTP exchange, ms");
        checks.push(Check::new(exchange, exchange_ms, found, within));
    }
    Ok(checks)
}

fn ours(args: &Args, plan: &Plan) -> Result<Measured, ProveError> {
    serving(args, Behaviour::new(DELAY, None, SEED), |address| {
        Ok(drive(args, &plain_get(address), plan)?)
    })
}

fn told(args: &Args, python: &Path, scenario: &str) -> Result<Told, ProveError> {
    serving(args, Behaviour::new(DELAY, None, SEED), |address: SocketAddr| {
        let mut command = Command::new(python);
        command.args(["-c", PROGRAM, &address.ip().to_string(), &address.port().to_string()]);
        command.args([scenario, &SPAN.as_secs().to_string(), &RATE.to_string()]);
        let told = output_of("LoadGen", args, command)?;
        let last = told.lines().next_back().unwrap_or_default();
        serde_json::from_str(last).map_err(|_| ProveError::Tool { tool: "LoadGen", output: told })
    })
}
