//! Flags that say the same as a scenario's fields, and go over them.

use std::path::PathBuf;

use super::Scenario;
use super::load::LoadSpec;
use crate::arrivals::Pattern;
use crate::request::{Protocol, Source};

/// How a server is asked, whatever the load.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "How the server is asked")]
pub struct Flags {
    #[arg(long)]
    pub model: Option<String>,
    #[arg(long)]
    pub version: Option<u64>,
    /// oip-binary unless told otherwise
    #[arg(long, value_enum)]
    pub protocol: Option<Protocol>,
    /// Rows of each request, 1 unless told otherwise
    #[arg(long)]
    pub rows: Option<u64>,
    /// random, constant, or a .npy or .jsonl file
    #[arg(long)]
    pub payload: Option<String>,
    /// Of every element of a constant payload
    #[arg(long)]
    pub value: Option<f64>,
    /// How many different random requests go out in turn, 1 unless told otherwise
    #[arg(long)]
    pub variants: Option<u64>,
    /// With --protocol http
    #[arg(long)]
    pub method: Option<String>,
    /// With --protocol http, as in /predict
    #[arg(long)]
    pub path: Option<String>,
    /// With --protocol http; {{seed}}, {{index}} and {{random}} are replaced
    #[arg(long)]
    pub body: Option<String>,
    /// The only right status; any from 200 to 299 unless given
    #[arg(long)]
    pub status: Option<u16>,
    /// Every answer must equal the first one to the same request, byte by byte
    #[arg(long)]
    pub same_answer: bool,
    /// Answers must have these values: a .npy or .jsonl file
    #[arg(long)]
    pub reference: Option<PathBuf>,
    /// How far a value may be off, as a share of one and of itself; 0.0001 unless told otherwise
    #[arg(long)]
    pub tolerance: Option<f64>,
    /// 64 unless told otherwise
    #[arg(long)]
    pub connections: Option<usize>,
    /// An open loop opens more where all are busy, up to this many
    #[arg(long)]
    pub connections_max: Option<usize>,
    /// Unmeasured seconds before, 1 unless told otherwise
    #[arg(long)]
    pub warm_up: Option<f64>,
    /// Of payloads and arrivals
    #[arg(long)]
    pub seed: Option<u64>,
    /// Pins the generator to this core, where it then never sleeps
    #[arg(long)]
    pub core: Option<usize>,
    /// Allows a server on another machine
    #[arg(long)]
    pub allow_remote: bool,
}

/// The load of a single run; a closed loop without any.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "The load: a closed loop unless one of these is given")]
pub struct LoadFlags {
    /// Requests a second that are due, whether or not the server keeps up
    #[arg(long)]
    pub rate: Option<f64>,
    /// Gaps between the due times; other patterns stand in a scenario file
    #[arg(long, value_enum)]
    pub arrivals: Option<Gaps>,
    /// Coefficient of variation of gamma gaps
    #[arg(long, default_value_t = 2.0)]
    pub cv: f64,
    /// Plays a trace again: a CSV with a column of times
    #[arg(long, value_name = "CSV")]
    pub trace: Option<PathBuf>,
    /// Times as fast as the trace happened; or give --rate
    #[arg(long)]
    pub speed: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Gaps {
    Constant,
    Poisson,
    Gamma,
}

impl Flags {
    pub(super) fn apply(&self, scenario: &mut Scenario) {
        let request = &mut scenario.request;
        over(&mut request.model, &self.model.clone().map(Some));
        over(&mut request.version, &self.version.map(Some));
        over(&mut request.protocol, &self.protocol);
        over(&mut request.rows, &self.rows);
        over(&mut request.payload, &self.payload.clone().map(Source::from));
        over(&mut request.value, &self.value.map(Some));
        over(&mut request.variants, &self.variants);
        over(&mut request.method, &self.method.clone().map(Some));
        over(&mut request.path, &self.path.clone().map(Some));
        over(&mut request.body, &self.body.clone().map(Some));
        over(&mut request.seed, &self.seed);
        over(&mut request.check.status, &self.status.map(Some));
        over(&mut request.check.reference, &self.reference.clone().map(Some));
        over(&mut request.check.tolerance, &self.tolerance);
        request.check.same_answer |= self.same_answer;
        let run = &mut scenario.run;
        over(&mut run.connections, &self.connections);
        over(&mut run.connections_max, &self.connections_max.map(Some));
        over(&mut run.warm_up, &self.warm_up);
        over(&mut run.core, &self.core.map(Some));
        run.allow_remote |= self.allow_remote;
    }
}

impl LoadFlags {
    /// What they say, if they say anything.
    pub fn load(&self) -> Option<LoadSpec> {
        if let Some(trace) = &self.trace {
            return Some(LoadSpec::Replay {
                // From here on, not from where a scenario lies.
                trace: std::path::absolute(trace).unwrap_or_else(|_| trace.clone()),
                speed: self.speed,
                rate: self.rate,
            });
        }
        let pattern = match self.arrivals {
            Some(Gaps::Constant) => Pattern::Constant,
            Some(Gaps::Gamma) => Pattern::Gamma { cv: self.cv },
            Some(Gaps::Poisson) | None => Pattern::Poisson,
        };
        let said = self.rate.is_some() || self.arrivals.is_some();
        said.then_some(LoadSpec::Open { pattern, rate: self.rate })
    }

    /// A rate alone keeps the scenario's pattern.
    pub fn apply(&self, scenario: &mut Scenario) {
        match (&mut scenario.load, self.rate, self.load()) {
            (LoadSpec::Open { rate, .. }, Some(given), _)
                if self.arrivals.is_none() && self.trace.is_none() =>
            {
                *rate = Some(given);
            }
            (load, _, Some(said)) => *load = said,
            (_, _, None) => {}
        }
    }
}

fn over<T: Clone>(field: &mut T, flag: &Option<T>) {
    if let Some(value) = flag {
        field.clone_from(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_alone_keeps_the_pattern_and_a_pattern_replaces_it() {
        let gamma = LoadSpec::Open { pattern: Pattern::Gamma { cv: 3.0 }, rate: Some(1.0) };
        let mut scenario = Scenario::at("http://127.0.0.1:1");
        scenario.load = gamma;
        LoadFlags { rate: Some(9.0), ..LoadFlags::default() }.apply(&mut scenario);
        let faster = LoadSpec::Open { pattern: Pattern::Gamma { cv: 3.0 }, rate: Some(9.0) };
        assert_eq!(scenario.load, faster);
        let flags =
            LoadFlags { rate: Some(9.0), arrivals: Some(Gaps::Constant), ..LoadFlags::default() };
        flags.apply(&mut scenario);
        let constant = LoadSpec::Open { pattern: Pattern::Constant, rate: Some(9.0) };
        assert_eq!(scenario.load, constant);
        LoadFlags::default().apply(&mut scenario);
        assert_eq!(scenario.load, constant);
    }

    #[test]
    fn no_flag_is_a_closed_loop() {
        assert_eq!(LoadFlags::default().load(), None);
        let poisson = LoadFlags { rate: Some(5.0), ..LoadFlags::default() };
        assert!(matches!(poisson.load(), Some(LoadSpec::Open { pattern: Pattern::Poisson, .. })));
    }
}
