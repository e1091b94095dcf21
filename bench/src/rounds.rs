//! Runs of one server under chosen loads, one after the other: what decisions beyond a single run are made of.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;

use crate::arrivals::{Arrivals, Pattern};
use crate::measured::{Failures, Measured};
use crate::plan::{Load, Plan, Target, Wait};
use crate::run::{self, Body, RunError};
use crate::session::conduct;
use crate::verdict::{Terms, Verdict, judge};

/// An hour: long enough for any question, and an end for a forgotten one.
pub const SECONDS_MAX: f64 = 3_600.0;
/// Of a closed loop that estimates what a server can do.
const ESTIMATE_S: f64 = 2.0;

/// Of an open loop, that grows as it must: a server may close connections that never ask.
const OPEN_AT_FIRST: usize = 32;

/// How a server is asked, whatever the load.
#[derive(Clone, Debug, clap::Args)]
pub struct Ask {
    #[arg(long)]
    pub model: String,
    #[arg(long, value_enum, default_value = "binary")]
    pub body: Body,
    /// Rows of each request
    #[arg(long, default_value_t = 1)]
    pub rows: u64,
    /// The most that are open at once
    #[arg(long, default_value_t = 256)]
    pub connections: usize,
    /// Unmeasured time before each run
    #[arg(long, default_value_t = 0.5)]
    pub warm_up: f64,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Pins the driver to this core, where it then never sleeps
    #[arg(long)]
    pub core: Option<usize>,
    /// Allows a server on another machine
    #[arg(long)]
    pub allow_remote: bool,
    /// One line of JSON after the table
    #[arg(long)]
    pub json: bool,
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
    target: Target,
    ask: Ask,
    slo: Option<Duration>,
    /// Ends the run under way, and every later one at once.
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
    /// Looks at the server and asks it once.
    pub fn open(url: &str, ask: &Ask, stop: &Arc<AtomicBool>) -> Result<Rounds, RunError> {
        let address = run::address_of(url, ask.allow_remote)?;
        let target = run::target_of(&args_of(url, ask), address)?;
        Ok(Rounds::of(target, ask, stop))
    }

    pub fn of(target: Target, ask: &Ask, stop: &Arc<AtomicBool>) -> Rounds {
        Rounds { target, ask: ask.clone(), slo: None, stop: Arc::clone(stop) }
    }

    /// The generator's lag is then measured against this objective.
    pub fn with_slo(self, slo: Duration) -> Rounds {
        Rounds { slo: Some(slo), ..self }
    }

    /// `number`: which repeat it is. Runs of one number have the same arrivals, others have others.
    pub fn run(&self, asked: Asked, length: Length, number: u64) -> Result<Round, RunError> {
        let plan = self.plan(asked, length, number)?;
        let measured =
            conduct(&self.target, &plan, self.ask.core, Arc::clone(&self.stop), &mut |_| {})?;
        let open_loop = matches!(asked, Asked::Poisson(_));
        let terms = Terms { open_loop, slo: self.slo, connections_max: plan.connections_max };
        Ok(Round { verdict: judge(&measured, terms), measured })
    }

    /// Answers a second that a closed loop over all connections gets.
    pub fn closed_loop_rate(&self) -> Result<f64, RunError> {
        let asked = Asked::Closed(self.ask.connections);
        Ok(self.run(asked, Length::of(ESTIMATE_S), 0)?.measured.requests_per_second())
    }

    fn plan(&self, asked: Asked, length: Length, number: u64) -> Result<Plan, RunError> {
        let span = |seconds: f64| {
            let sane = (0.0..=SECONDS_MAX).contains(&seconds);
            sane.then(|| Duration::from_secs_f64(seconds)).ok_or(RunError::Numbers)
        };
        let seed = self.ask.seed.wrapping_add(number);
        let (connections, connections_max, load) = match asked {
            Asked::Closed(connections) => (connections, connections, Load::Closed),
            Asked::Poisson(rate) => {
                let arrivals = Arrivals::new(Pattern::Poisson, rate, seed);
                let most = self.ask.connections;
                (most.min(OPEN_AT_FIRST), most, Load::Open(arrivals.ok_or(RunError::Numbers)?))
            }
        };
        Ok(Plan {
            connections,
            connections_max,
            load,
            wait: if self.ask.core.is_some() { Wait::Spin } else { Wait::Sleep },
            warm_up: span(self.ask.warm_up)?,
            measure: span(length.seconds)?,
            requests_max: length.requests_max,
        })
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

fn args_of(url: &str, ask: &Ask) -> run::Args {
    run::Args {
        url: url.to_owned(),
        model: ask.model.clone(),
        version: None,
        body: ask.body,
        rows: ask.rows,
        connections: ask.connections,
        rate: None,
        arrivals: run::Gaps::Poisson,
        seconds: 1.0,
        warm_up: ask.warm_up,
        requests: u64::MAX,
        seed: ask.seed,
        core: ask.core,
        same_answer: false,
        allow_remote: ask.allow_remote,
        json: ask.json,
        files: crate::output::files::FileArgs::default(),
    }
}
