//! Runs of one server under chosen loads, one after the other: what decisions beyond a single run are made of.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;

use crate::arrivals::Pattern;
use crate::measured::{Failures, Measured};
use crate::output::files::save;
use crate::plan::Target;
use crate::run::RunError;
pub use crate::scenario::SECONDS_MAX;
use crate::scenario::flags::Flags;
use crate::scenario::load::LoadSpec;
use crate::scenario::{Planned, Scenario, ScenarioError};
use crate::session::conduct;
use crate::verdict::{Terms, Verdict, judge};

/// Of a closed loop that estimates what a server can do.
const ESTIMATE_S: f64 = 2.0;

/// How a server is asked in each of the runs, and how the result is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Ask {
    /// One line of JSON after the table
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub flags: Flags,
}

/// The report of several runs, as a command may be asked for it.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct PageArgs {
    /// Writes the report into this file: one page of HTML that needs no network
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

impl PageArgs {
    pub fn write(&self, page: impl FnOnce() -> String) -> Result<(), RunError> {
        let Some(path) = &self.html else { return Ok(()) };
        save(path, &page())?;
        eprintln!("wrote {}", path.display());
        Ok(())
    }
}

/// The load of one run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Asked {
    /// So many connections, each asking again as soon as it is answered.
    Closed(usize),
    /// So many requests a second, of independent callers.
    Poisson(f64),
}

/// How long a run is.
#[derive(Clone, Copy, Debug)]
pub struct Length {
    pub seconds: f64,
    pub requests_max: u64,
}

pub struct Rounds {
    scenario: Scenario,
    target: Target,
    slo: Option<Duration>,
    stop: Arc<AtomicBool>,
}

/// One run, with the generator's verdict on itself.
#[derive(Clone, Debug)]
pub struct Round {
    pub measured: Measured,
    pub verdict: Verdict,
}

/// Its figures.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    pub offered_per_second: f64,
    pub answered_per_second: f64,
    pub due: u64,
    pub p50_us: Option<f64>,
    pub p90_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub p999_us: Option<f64>,
    pub failures: Failures,
    pub verdict: Verdict,
}

impl Length {
    pub fn of(seconds: f64) -> Length {
        Length { seconds, requests_max: u64::MAX }
    }
}

impl Rounds {
    /// Looks at the server and asks it once. `target`: a URL or a scenario, whose load is not looked at.
    pub fn open(target: &str, ask: &Ask, stop: &Arc<AtomicBool>) -> Result<Rounds, RunError> {
        Rounds::of(Scenario::of(target, &ask.flags)?, stop)
    }

    pub fn of(scenario: Scenario, stop: &Arc<AtomicBool>) -> Result<Rounds, RunError> {
        let slo = scenario.slo().map_err(ScenarioError::from)?;
        Ok(Rounds { target: scenario.target()?, scenario, slo, stop: Arc::clone(stop) })
    }

    /// The generator's lag is then measured against this objective.
    pub fn with_slo(self, slo: Duration) -> Rounds {
        Rounds { slo: Some(slo), ..self }
    }

    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// A closed loop over all connections.
    pub fn closed(&self) -> Asked {
        Asked::Closed(self.scenario.run.connections)
    }

    /// `number`: which repeat it is. Runs of one number have the same arrivals, others have others.
    pub fn run(&self, asked: Asked, length: Length, number: u64) -> Result<Round, RunError> {
        let Planned { plan, terms, .. } = self.scenario_of(asked, length).planned(number)?;
        let (core, stop) = (self.scenario.run.core, Arc::clone(&self.stop));
        let measured = conduct(&self.target, &plan, core, stop, &mut |_| {})?;
        let terms = Terms { slo: self.slo, ..terms };
        Ok(Round { verdict: judge(&measured, terms), measured })
    }

    /// Answers a second that a closed loop over all connections gets.
    pub fn closed_loop_rate(&self) -> Result<f64, RunError> {
        let round = self.run(self.closed(), Length::of(ESTIMATE_S), 0)?;
        Ok(round.measured.requests_per_second())
    }

    fn scenario_of(&self, asked: Asked, length: Length) -> Scenario {
        let mut scenario = self.scenario.clone();
        scenario.run.seconds = Some(length.seconds);
        scenario.run.requests = Some(length.requests_max);
        scenario.load = match asked {
            Asked::Closed(connections) => {
                scenario.run.connections = connections;
                LoadSpec::Closed
            }
            Asked::Poisson(rate) => LoadSpec::Open { pattern: Pattern::Poisson, rate: Some(rate) },
        };
        scenario
    }
}

impl Round {
    pub fn figures(&self) -> Figures {
        let (measured, summary) = (&self.measured, self.measured.latency.summary());
        Figures {
            offered_per_second: measured.due as f64 / measured.window.as_secs_f64(),
            answered_per_second: measured.requests_per_second(),
            due: measured.due,
            p50_us: summary.p50_us,
            p90_us: self.percentile_us(0.90),
            p99_us: summary.p99_us,
            p999_us: summary.p999_us,
            failures: measured.failures,
            verdict: self.verdict.clone(),
        }
    }

    /// Interrupted: a part of a run, and no evidence.
    pub fn is_stopped(&self) -> bool {
        self.measured.stopped
    }

    /// `None` where fewer than ten samples are beyond it.
    pub fn percentile_us(&self, percentile: f64) -> Option<f64> {
        let latency = &self.measured.latency;
        latency.percentile_ns(percentile, samples_min(percentile)).map(|ns| ns as f64 / 1e3)
    }

    /// The latency at this place from the highest, which is 1.
    pub fn latency_at_rank_us(&self, from_highest: u64) -> Option<f64> {
        let samples = self.measured.latency.summary().samples;
        let below = samples.checked_sub(from_highest)?;
        // The middle of the sample's share, so that no rounding reaches its neighbours.
        let quantile = (below as f64 + 0.5) / samples as f64;
        self.measured.latency.percentile_ns(quantile, 1).map(|ns| ns as f64 / 1e3)
    }

    /// Right answers at most this late.
    pub fn on_time(&self, slo: Duration) -> u64 {
        let slo_ns = crate::clock::nanos(slo);
        self.measured.latency.histogram().count_between(0, slo_ns)
    }
}

/// So many that ten lie beyond the percentile.
pub fn samples_min(percentile: f64) -> u64 {
    (10.0 / (1.0 - percentile)).round() as u64
}
