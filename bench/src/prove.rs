//! `foil-bench prove`: the load generator against what is known: servers with planned delays, and the tools that others
//! trust driving the same servers.
//!
//! Runs on real time and so on a real machine: a busy one fails it, and that says nothing bad of the generator.

mod capacity;
mod cost;
mod known;
mod loadgen;
mod tools;

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::arrivals::ArrivalError;
use crate::clock::wait_until;
use crate::http::get;
use crate::measured::Measured;
use crate::plan::{Expect, Plan, Target};
use crate::report::Table;
use crate::run::RunError;
use crate::session::{SessionError, conduct};
use crate::synthetic::{Behaviour, Synthetic};
use crate::threads::{PinError, pin};
use crate::twin::{Twin, TwinError};

/// Bare hyper starts in milliseconds.
const READY_WAIT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// One line of JSON after the table
    #[arg(long)]
    json: bool,
    /// wrk's program; without it that comparison is left out
    #[arg(long)]
    wrk: Option<PathBuf>,
    /// NVIDIA's perf_analyzer 2.46; without it that comparison is left out
    #[arg(long)]
    perf_analyzer: Option<PathBuf>,
    /// A Python that imports MLPerf's mlperf_loadgen; without it that comparison is left out
    #[arg(long)]
    loadgen_python: Option<PathBuf>,
    /// Interleaved pairs of each comparison
    #[arg(long, default_value_t = 7)]
    pairs: usize,
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    #[arg(long, default_value_t = 1)]
    client_core: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Pin(#[from] PinError),
    #[error(transparent)]
    Twin(#[from] TwinError),
    #[error(transparent)]
    Arrivals(#[from] ArrivalError),
    #[error("the synthetic server failed: {0}")]
    Server(#[from] std::io::Error),
    #[error("{tool} failed: {output}")]
    Tool { tool: &'static str, output: String },
    #[error("a run gave too few answers to judge: {0}")]
    TooFew(&'static str),
}

/// One thing that was foretold, and what came.
#[derive(Clone, Debug, PartialEq)]
struct Check {
    name: String,
    foretold: f64,
    found: f64,
    allowed: Allowed,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Allowed {
    /// Off by this share of what was foretold, either way.
    Within(f64),
    /// No more than what was foretold.
    AtMost,
}

impl Check {
    fn new(name: impl Into<String>, foretold: f64, found: f64, within: f64) -> Check {
        Check { name: name.into(), foretold, found, allowed: Allowed::Within(within) }
    }

    fn at_most(name: impl Into<String>, bound: f64, found: f64) -> Check {
        Check { name: name.into(), foretold: bound, found, allowed: Allowed::AtMost }
    }

    fn holds(&self) -> bool {
        match self.allowed {
            Allowed::Within(share) => (self.found / self.foretold - 1.0).abs() <= share,
            Allowed::AtMost => self.found <= self.foretold,
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Allowed::Within(share) => write!(f, "± {:.0} %", share * 100.0),
            Allowed::AtMost => write!(f, "at most"),
        }
    }
}

/// True when everything came as foretold.
pub fn run(args: &Args) -> Result<bool, ProveError> {
    let mut checks = known::checks(args)?;
    checks.extend(tools::checks(args)?);
    if let Some(python) = &args.loadgen_python {
        checks.extend(loadgen::checks(args, python)?);
    }
    checks.extend(cost::checks(args)?);
    checks.extend(capacity::checks(args)?);
    print!("{}", table(&checks));
    let tools = [
        ("wrk", &args.wrk),
        ("perf_analyzer", &args.perf_analyzer),
        ("LoadGen", &args.loadgen_python),
    ];
    for (tool, path) in tools {
        if path.is_none() {
            println!("not compared with {tool}: no program given");
        }
    }
    if args.json {
        println!("{}", as_json(&checks));
    }
    Ok(checks.iter().all(Check::holds))
}

fn table(checks: &[Check]) -> Table {
    let mut table = Table::new(&["check", "foretold", "found", "allowed", "holds"]);
    for check in checks {
        table.row([
            check.name.clone(),
            format!("{:.3}", check.foretold),
            format!("{:.3}", check.found),
            check.allowed.to_string(),
            if check.holds() { "yes" } else { "NO" }.to_owned(),
        ]);
    }
    table
}

fn as_json(checks: &[Check]) -> Value {
    let rows = checks.iter().map(|check| {
        json!({
            "check": check.name,
            "foretold": check.foretold,
            "found": check.found,
            "allowed": check.allowed.to_string(),
            "holds": check.holds(),
        })
    });
    rows.collect()
}

/// Drives a synthetic server on the server's core.
fn against(args: &Args, behaviour: Behaviour, plan: &Plan) -> Result<Measured, ProveError> {
    serving(args, behaviour, |address| Ok(drive(args, &plain_get(address), plan)?))
}

fn serving<T>(
    args: &Args,
    behaviour: Behaviour,
    during: impl FnOnce(SocketAddr) -> Result<T, ProveError>,
) -> Result<T, ProveError> {
    let mut server = Synthetic::bind(([127, 0, 0, 1], 0).into(), behaviour)?;
    let address = server.address()?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let served = scope.spawn(|| {
            pin(args.server_core)?;
            Ok::<_, ProveError>(server.serve(&|| done.load(Ordering::Relaxed))?)
        });
        let found = during(address);
        done.store(true, Ordering::Relaxed);
        served.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        found
    })
}

/// Bare hyper on the server's core, as a process.
fn on_floor<T>(
    args: &Args,
    during: impl FnOnce(SocketAddr, u32) -> Result<T, ProveError>,
) -> Result<T, ProveError> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let listen = address.to_string();
    let arguments = ["floor".as_ref(), "--listen".as_ref(), listen.as_ref()];
    let floor = Twin::start(args.server_core, &arguments)?;
    if !wait_until(READY_WAIT, || get(address, "/").is_ok()) {
        return Err(ProveError::TooFew("bare hyper did not start"));
    }
    during(address, floor.process())
}

/// On the client's core.
fn drive(args: &Args, target: &Target, plan: &Plan) -> Result<Measured, SessionError> {
    conduct(target, plan, Some(args.client_core), std::sync::Arc::default(), &mut |_| {})
}

fn plain_get(address: SocketAddr) -> Target {
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes();
    Target::one(address, request, Expect::default())
}

fn ms(measured: &crate::record::Latencies, quantile: f64) -> Result<f64, ProveError> {
    let ns = measured.percentile_ns(quantile, 1).ok_or(ProveError::TooFew("no latencies"))?;
    Ok(ns as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_holds_on_both_sides_of_what_was_foretold() {
        let held = |found| Check::new("x", 200.0, found, 0.05).holds();
        assert_eq!([189.0, 191.0, 209.0, 211.0].map(held), [false, true, true, false]);
        let bounded = |found| Check::at_most("x", 100.0, found).holds();
        assert_eq!([3.0, 100.0, 101.0].map(bounded), [true, true, false]);
    }
}
