//! One run against one server, and pairs of runs.

use std::time::Duration;

use serde::Serialize;

use super::OverheadError;
use super::ask::Form;
use super::servers::Server;
use crate::clock::Clock;
use crate::driver;
use crate::grpc;
use crate::measured::Failures;
use crate::plan::{Edge, Plan, Target, Transport, Wait};
use crate::proc::{cpu_ns, own_thread_cpu_ns};
use crate::threads::on_core;

/// Connections, caches and the allocator settle within this.
const WARM_UP: Duration = Duration::from_millis(300);
/// A spinning client that got less of its core shared it with others: its figures are theirs too.
pub(crate) const CLIENT_SHARE_MIN: f64 = 0.93;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) pairs: usize,
    pub(crate) measure: Duration,
    /// Where the client is pinned, if it is.
    pub(crate) client_core: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scenario {
    pub(super) form: Form,
    pub(super) connections: usize,
}

impl Scenario {
    /// As in the keys of the result: `bin_c64`.
    pub(super) fn name(self) -> String {
        format!("{}_c{}", self.form.name(), self.connections)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Sample {
    pub(super) requests_per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: Option<f64>,
    /// Run time of the server's whole tree.
    pub(super) cpu_us: f64,
    /// How much of its core the client had.
    pub(super) client_share: f64,
}

impl Sample {
    pub(super) fn is_disturbed(&self) -> bool {
        self.client_share < CLIENT_SHARE_MIN
    }
}

/// Runs that shared the moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub(super) floor: Sample,
    pub(super) foil: Sample,
    pub(super) mosec: Option<Sample>,
}

impl Pair {
    pub(super) fn is_disturbed(&self) -> bool {
        self.floor.is_disturbed() || self.foil.is_disturbed()
    }
}

/// As many undisturbed pairs as asked, or the best of twice as many tries.
pub(super) fn pairs(
    setup: &Setup,
    scenario: Scenario,
    floor: &Server,
    foil: &Server,
    mosec: Option<&Server>,
) -> Result<Vec<Pair>, OverheadError> {
    let encoding = scenario.form.encoding();
    let targets = (floor.target(encoding)?, foil.target(encoding)?);
    let third = match mosec {
        Some(server) => Some((server, server.target(encoding)?)),
        None => None,
    };
    calm(setup.pairs, Pair::is_disturbed, |attempt| {
        let run = |server, target| sample(setup, scenario.connections, server, target);
        let floor_first = attempt % 2 == 0;
        let before = if floor_first { Some(run(floor, &targets.0)?) } else { None };
        let ours = run(foil, &targets.1)?;
        let theirs = before.map_or_else(|| run(floor, &targets.0), Ok)?;
        let mosec = third.as_ref().map(|(server, target)| run(server, target)).transpose()?;
        Ok(Pair { floor: theirs, foil: ours, mosec })
    })
}

/// As many undisturbed rounds as asked, or the best of twice as many tries. A round gets its number, to alternate by.
pub(crate) fn calm<R, E>(
    wanted: usize,
    is_disturbed: impl Fn(&R) -> bool,
    mut round: impl FnMut(usize) -> Result<R, E>,
) -> Result<Vec<R>, E> {
    let (mut calm, mut disturbed) = (Vec::new(), Vec::new());
    for attempt in 0..2 * wanted {
        let done = round(attempt)?;
        if is_disturbed(&done) {
            disturbed.push(done)
        } else {
            calm.push(done)
        }
        if calm.len() == wanted {
            break;
        }
    }
    calm.extend(disturbed);
    calm.truncate(wanted);
    Ok(calm)
}

pub(super) fn sample(
    setup: &Setup,
    connections: usize,
    server: &Server,
    target: &Target,
) -> Result<Sample, OverheadError> {
    let plan =
        Plan { wait: Wait::Spin, warm_up: WARM_UP, ..Plan::closed(connections, setup.measure) };
    let watched = on_core(setup.client_core, || watched(server, target, &plan))??;
    let name = server.name;
    if watched.failures.total() > 0 {
        return Err(OverheadError::Failed { server: name, failures: watched.failures });
    }
    let p50_us = watched.p50_us.ok_or(OverheadError::Silent { server: name })?;
    let Watched { requests_per_second, p99_us, cpu_us, client_share, .. } = watched;
    Ok(Sample { requests_per_second, p50_us, p99_us, cpu_us, client_share })
}

/// A run with what the server's tree and the client had of their cores meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched {
    pub(crate) requests_per_second: f64,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    /// Of each answer. Not a number where there is none.
    pub(crate) cpu_us: f64,
    pub(crate) client_share: f64,
    pub(crate) failures: Failures,
}

pub(crate) fn watched(
    server: &Server,
    target: &Target,
    plan: &Plan,
) -> Result<Watched, OverheadError> {
    let processes = server.processes();
    let clock = Clock::start();
    let mut marks = Vec::with_capacity(2);
    let drive = match target.transport {
        Transport::Http1 => driver::drive,
        Transport::Grpc => grpc::drive,
    };
    let measured = drive(target, plan, &mut |edge| {
        let client = (clock.now_ns(), own_thread_cpu_ns().unwrap_or(0));
        let server_cpu_ns = cpu_ns(&processes);
        // What the reading itself took must not count as the client's absence.
        let resumed = (clock.now_ns(), own_thread_cpu_ns().unwrap_or(0));
        marks.push((server_cpu_ns, if edge == Edge::MeasureStarts { resumed } else { client }));
    })?;
    let [start, end] = marks[..] else {
        return Err(OverheadError::Silent { server: server.name });
    };
    let summary = measured.latency.summary();
    Ok(Watched {
        requests_per_second: measured.requests_per_second(),
        p50_us: summary.p50_us,
        p99_us: summary.p99_us,
        cpu_us: (end.0 - start.0) as f64 / 1e3 / measured.answered as f64,
        client_share: (end.1.1 - start.1.1) as f64 / (end.1.0 - start.1.0) as f64,
        failures: measured.failures,
    })
}
