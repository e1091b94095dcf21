//! `foil-bench run`: one load on one server, watched while it goes on and reported with a verdict on itself.

use serde_json::{Value, json};

use crate::clock::unix_s;
use crate::environment::{CpuTimes, Environment};
use crate::http::get;
use crate::interrupt;
use crate::measured::Measured;
use crate::outcome::{Circumstances, Outcome};
use crate::output::files::{FileArgs, FileError, Files};
use crate::output::hdr::{IntervalLog, LogError};
use crate::output::progress::Progress;
use crate::output::terminal;
use crate::plan::{Target, Wait};
use crate::scenario::flags::{Flags, LoadFlags};
use crate::scenario::{Planned, Scenario, ScenarioError};
use crate::session::{SessionError, conduct};
use crate::span;
use crate::verdict::judge;

/// Loads a server, open or closed loop, and says whether the figures may be believed.
///
/// Open loop (--rate, --trace, or a scenario's load): requests are due by a schedule, and latency counts from when
/// they were due. Closed loop: each connection asks again as soon as it is answered. Ctrl-C ends it with a report.
///
/// Exit codes: 0 all answers were right, 1 some were not, 3 the load generator itself was too late: INVALID.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The server, as in http://127.0.0.1:8000, or a scenario.toml that names it
    #[arg(value_name = "URL|SCENARIO")]
    pub target: String,
    /// Measured time; 10 s unless told otherwise, and a trace's own length
    #[arg(long)]
    pub seconds: Option<f64>,
    /// Ends the run early after this many
    #[arg(long)]
    pub requests: Option<u64>,
    /// The latest an answer may be, as in 20ms: judges the generator's own lag, and is drawn in reports
    #[arg(long, value_parser = span::checked)]
    pub slo: Option<String>,
    /// One line of JSON after the table
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub files: FileArgs,
    #[command(flatten)]
    pub load: LoadFlags,
    #[command(flatten)]
    pub flags: Flags,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("Ctrl-C can't be caught here: {0}")]
    Signals(std::io::Error),
}

/// What the command's exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    AllRight,
    /// Some answers were wrong or missing.
    Failures,
    /// The load generator itself was not up to it.
    Invalid,
}

pub fn run(args: &Args) -> Result<Ending, RunError> {
    let scenario = scenario_of(args)?;
    let planned = scenario.planned(0)?;
    let target = scenario.target()?;
    let files = Files::of(&args.files)?;
    let (outcome, whole) = measure(&scenario, planned, &target, &files)?;
    terminal::print(&outcome);
    for path in files.write(&outcome, &whole)? {
        eprintln!("wrote {}", path.display());
    }
    if args.json {
        println!("{}", serde_json::to_string(&outcome).unwrap_or_default());
    }
    Ok(ending(&outcome))
}

fn scenario_of(args: &Args) -> Result<Scenario, ScenarioError> {
    let mut scenario = Scenario::of(&args.target, &args.flags)?;
    args.load.apply(&mut scenario);
    scenario.slo = args.slo.clone().or(scenario.slo);
    scenario.run.seconds = args.seconds.or(scenario.run.seconds);
    scenario.run.requests = args.requests.or(scenario.run.requests);
    Ok(scenario)
}

fn measure(
    scenario: &Scenario,
    planned: Planned,
    target: &Target,
    files: &Files,
) -> Result<(Outcome, Measured), RunError> {
    let Planned { plan, terms, label } = planned;
    let before = CpuTimes::now();
    let stop = interrupt::stop_flag().map_err(RunError::Signals)?;
    let mut sink = files.interval_log()?;
    let mut log = sink.as_mut().map(|sink| sink.begin(&label, unix_s())).transpose()?;
    let mut progress = Progress::new(plan.measure);
    let mut timeline = Vec::new();
    let whole = conduct(target, &plan, scenario.run.core, stop, &mut |sight| {
        progress.look(sight);
        timeline.push(sight.into());
        if let Some(log) = &mut log {
            log.look(sight);
        }
    })?;
    progress.finish();
    log.map_or(Ok(()), IntervalLog::end)?;
    let circumstances = Circumstances {
        load: label,
        scenario: told(scenario),
        verdict: judge(&whole, terms),
        environment: Environment::capture(before, server_name(target)),
        timeline,
        never_sleeps: plan.wait == Wait::Spin,
    };
    Ok((Outcome::new(&whole, circumstances), whole))
}

/// What was asked for, defaults and all, without what says nothing.
fn told(scenario: &Scenario) -> Value {
    let mut told = without_nothing(json!(scenario));
    // Reports draw it.
    if let (Ok(Some(slo)), Value::Object(fields)) = (scenario.slo(), &mut told) {
        fields.insert("slo_ms".to_owned(), json!(slo.as_secs_f64() * 1e3));
    }
    told
}

fn without_nothing(value: Value) -> Value {
    let says_nothing =
        |value: &Value| value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| (name, without_nothing(value)));
            Value::Object(fields.filter(|(_, value)| !says_nothing(value)).collect())
        }
        other => other,
    }
}

/// From the page that servers of the Open Inference Protocol have about themselves.
fn server_name(target: &Target) -> Option<String> {
    let page: Value = serde_json::from_slice(&get(target.address, "/v2").ok()?.body).ok()?;
    Some(format!("{} {}", page["name"].as_str()?, page["version"].as_str()?))
}

fn ending(outcome: &Outcome) -> Ending {
    match outcome.totals.failures.total() {
        _ if !outcome.verdict.valid => Ending::Invalid,
        0 if outcome.totals.answered > 0 => Ending::AllRight,
        _ => Ending::Failures,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing_is_left_out() {
        let value = json!({ "a": null, "b": { "c": null }, "d": [null], "e": 0 });
        assert_eq!(without_nothing(value), json!({ "d": [null], "e": 0 }));
    }
}
