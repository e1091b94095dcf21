//! Other load generators on the same server, in turn with ours.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Args, Check, ProveError, drive, ms, on_floor, plain_get, serving};
use crate::compare::ratios;
use crate::plan::{Plan, Wait};
use crate::synthetic::{Behaviour, Delay};
use crate::threads::spawn_on;

const SPAN: Duration = Duration::from_secs(2);
/// What two trustworthy tools may differ by.
const WITHIN: f64 = 0.05;

/// The moment between an answer and the next question is all that is missing.
const WITHIN_LAW: f64 = 0.02;

/// What a tool found: requests a second, and its p50 in ms.
type Found = (f64, f64);

pub(super) fn checks(args: &Args) -> Result<Vec<Check>, ProveError> {
    let mut checks = Vec::new();
    if let Some(wrk) = &args.wrk {
        checks.extend(against_wrk(args, wrk)?);
    }
    if let Some(analyzer) = &args.perf_analyzer {
        checks.extend(against_perf_analyzer(args, analyzer)?);
    }
    Ok(checks)
}

/// Who goes first alternates.
fn pairs(
    count: usize,
    ours: impl Fn() -> Result<Found, ProveError>,
    theirs: impl Fn() -> Result<Found, ProveError>,
) -> Result<Vec<(Found, Found)>, ProveError> {
    let pair = |number: usize| {
        if number.is_multiple_of(2) {
            let theirs = theirs()?;
            Ok((ours()?, theirs))
        } else {
            Ok((ours()?, theirs()?))
        }
    };
    (0..count).map(pair).collect()
}

fn compared(name: &str, pairs: &[(Found, Found)]) -> Result<Vec<Check>, ProveError> {
    let ratio = |of: fn(&Found) -> f64| {
        let pairs: Vec<(f64, f64)> = pairs.iter().map(|(a, b)| (of(a), of(b))).collect();
        ratios(&pairs).map(|found| found.median).ok_or(ProveError::TooFew("no pairs"))
    };
    Ok(vec![
        Check::new(format!("{name}: requests/s, ours over theirs"), 1.0, ratio(|f| f.0)?, WITHIN),
        Check::new(format!("{name}: p50, ours over theirs"), 1.0, ratio(|f| f.1)?, WITHIN),
    ])
}

fn ours(args: &Args, address: SocketAddr, connections: usize) -> Result<Found, ProveError> {
    let warm_up = Duration::from_millis(300);
    let plan = Plan { wait: Wait::Sleep, warm_up, ..Plan::closed(connections, SPAN) };
    let measured = drive(args, &plain_get(address), &plan)?;
    Ok((measured.requests_per_second(), ms(&measured.latency, 0.5)?))
}

// ---- wrk ----

const WRK_CONNECTIONS: usize = 64;

/// A server of 3 ms, and bare hyper as fast as it goes. There the generators themselves are the limit, and wrk, which
/// sends only after a turn of its loop, has fewer requests under way than it has connections; ours must have as many
/// as Little's law (1961) says: their rate times their mean time.
fn against_wrk(args: &Args, wrk: &Path) -> Result<Vec<Check>, ProveError> {
    let both = |address| {
        let theirs = || wrk_run(args, wrk, address, WRK_CONNECTIONS);
        pairs(args.pairs, || ours(args, address, WRK_CONNECTIONS), theirs)
    };
    let behaviour = Behaviour::new(Delay::Constant { us: 3_000 }, None, 5);
    let calm = serving(args, behaviour, both)?;
    let (saturated, under_way) =
        on_floor(args, |address, _| Ok((both(address)?, under_way(args, address)?)))?;
    let mut checks = compared("wrk, 3 ms, 64 connections", &calm)?;
    checks.extend(compared("wrk on bare hyper, 64 connections", &saturated)?);
    let name = "bare hyper, 64 connections: requests under way (Little)";
    checks.push(Check::new(name, WRK_CONNECTIONS as f64, under_way, WITHIN_LAW));
    Ok(checks)
}

fn under_way(args: &Args, address: SocketAddr) -> Result<f64, ProveError> {
    let measured = drive(args, &plain_get(address), &Plan::closed(WRK_CONNECTIONS, SPAN))?;
    Ok(measured.requests_per_second() * measured.latency.histogram().mean() / 1e9)
}

fn wrk_run(
    args: &Args,
    wrk: &Path,
    address: SocketAddr,
    connections: usize,
) -> Result<Found, ProveError> {
    let mut command = Command::new(wrk);
    command.args(["-t1", "--latency", "-c", &connections.to_string()]);
    command.args(["-d", &format!("{}s", SPAN.as_secs()), &format!("http://{address}/")]);
    let told = output_of("wrk", args, command)?;
    wrk_found(&told).ok_or(ProveError::Tool { tool: "wrk", output: told })
}

/// Of wrk 4's report.
fn wrk_found(told: &str) -> Option<Found> {
    let after =
        |start: &str| told.lines().find_map(|line| line.trim().strip_prefix(start)).map(str::trim);
    Some((after("Requests/sec:")?.parse().ok()?, in_ms(after("50%")?)?))
}

/// Of `512.00us`, `1.02ms` and `1.00s`.
fn in_ms(text: &str) -> Option<f64> {
    let units = [("us", 1e-3), ("ms", 1.0), ("s", 1e3)];
    let (number, scale) =
        units.iter().find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)))?;
    Some(number.parse::<f64>().ok()? * scale)
}

// ---- perf_analyzer ----

/// A server that takes 3 ms, four at a time: neither tool is the limit.
fn against_perf_analyzer(args: &Args, analyzer: &Path) -> Result<Vec<Check>, ProveError> {
    const CONNECTIONS: usize = 4;
    let behaviour = Behaviour::new(Delay::Constant { us: 3_000 }, None, 4);
    serving(args, behaviour, |address| {
        let theirs = || analyzer_run(args, analyzer, address, CONNECTIONS);
        let count = args.pairs.div_ceil(2);
        let pairs = pairs(count, || ours(args, address, CONNECTIONS), theirs)?;
        compared("perf_analyzer, 3 ms, 4 at a time", &pairs)
    })
}

fn analyzer_run(
    args: &Args,
    analyzer: &Path,
    address: SocketAddr,
    connections: usize,
) -> Result<Found, ProveError> {
    let mut command = Command::new(analyzer);
    command.args(["-m", "synthetic", "-x", "1", "-i", "http", "-u", &address.to_string()]);
    command.args(["--concurrency-range", &connections.to_string(), "--shape", "x:1,784"]);
    command.args(["--measurement-interval", "1000"]);
    let told = output_of("perf_analyzer", args, command)?;
    analyzer_found(&told).ok_or(ProveError::Tool { tool: "perf_analyzer", output: told })
}

fn analyzer_found(told: &str) -> Option<Found> {
    let after = |start: &str| {
        let line = told.lines().find_map(|line| line.trim().strip_prefix(start))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    Some((after("Throughput:")?, after("p50 latency:")? / 1e3))
}

/// On the client's core.
pub(super) fn output_of(
    tool: &'static str,
    args: &Args,
    mut command: Command,
) -> Result<String, ProveError> {
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped());
    let output = spawn_on(Some(args.client_core), &mut command)?.wait_with_output()?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(told);
    }
    Err(ProveError::Tool { tool, output: told + &String::from_utf8_lossy(&output.stderr) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_other_tools_are_read() {
        let wrk = "  Latency Distribution\n     50%  512.00us\n     99%    1.02ms\nRequests/sec:  98765.43\n";
        assert_eq!(wrk_found(wrk), Some((98_765.43, 0.512)));
        assert_eq!(in_ms("1.50s"), Some(1_500.0));
        let analyzer = "    Throughput: 1220.95 infer/sec\n    p50 latency: 3206 usec\n";
        assert_eq!(analyzer_found(analyzer), Some((1_220.95, 3.206)));
        assert_eq!(wrk_found("unable to connect"), None);
    }
}
