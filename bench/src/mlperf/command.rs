//! `foil-bench mlperf`: the shell of the scenarios.

use std::fmt::Write;
use std::time::Duration;

use serde_json::json;

use super::{Counted, Preset, Scenario, Verdict};
use crate::environment::Environment;
use crate::interrupt::stop_flag;
use crate::report::{Table, count, us};
use crate::rounds::{Ask, Asked, Length, Round, Rounds, SECONDS_MAX};
use crate::run::RunError;
use crate::scenario;
use crate::span;

/// Said with every result.
const NO_RESULT: &str = "not an MLPerf result: no LoadGen, no accuracy run, no audit";

/// A scenario of MLPerf inference, with its minimum counts and its early stopping.
///
/// A query is one HTTP request: of `--rows` rows, in multi-stream of eight times as many. Offline, all samples wait from
/// the start and each of `--connections` takes the next request as soon as it is answered.
///
/// Exit codes: 0 valid, 1 invalid by the scenario's own rules, 3 the load generator was at fault.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The server, as in http://127.0.0.1:8000, or a scenario.toml that names it
    #[arg(value_name = "URL|SCENARIO")]
    pub target: String,
    #[command(flatten)]
    pub ask: Ask,
    #[arg(long, value_enum)]
    pub scenario: Scenario,
    /// Server: requests a second. Offline: rows a second that are expected; by default what a closed loop gets
    #[arg(long)]
    pub rate: Option<f64>,
    /// Server: the latency that 99 % must keep
    #[arg(long, value_parser = span::parse, default_value = "10ms")]
    pub latency: Duration,
    /// Shorter than the scenario's 600 s, for a try; the result is then labelled
    #[arg(long)]
    pub seconds: Option<f64>,
}

#[derive(Debug, thiserror::Error)]
pub enum MlperfError {
    #[error("the server scenario needs the --rate that is to be tried")]
    NoRate,
    #[error("give --seconds of 0.1 to {SECONDS_MAX} and a --rate above 0")]
    Numbers,
    #[error(transparent)]
    Run(#[from] RunError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Valid,
    /// By the scenario's rules.
    Short,
    /// By the load generator's own.
    Invalid,
}

pub fn run(args: &Args) -> Result<Ending, MlperfError> {
    let preset = args.scenario.preset();
    let seconds = args.seconds.unwrap_or(preset.seconds_min);
    let rate_is_sane = args.rate.is_none_or(|rate| rate.is_finite() && rate > 0.0);
    if !(rate_is_sane && (0.1..=SECONDS_MAX).contains(&seconds)) {
        return Err(MlperfError::Numbers);
    }
    let stop = stop_flag().map_err(RunError::Signals)?;
    let mut asked =
        scenario::Scenario::of(&args.target, &args.ask.flags).map_err(RunError::from)?;
    let rows = asked.request.rows;
    asked.request.rows *= preset.samples_per_query;
    let mut rounds = Rounds::of(asked, &stop)?;
    if args.scenario == Scenario::Server {
        rounds = rounds.with_slo(args.latency);
    }
    let round = play(args, &preset, seconds, &rounds)?;
    let counted = counted(args, &preset, rows, &round);
    let verdict = preset.verdict(counted);
    print!("{}", table(&round));
    println!("{}", sentence(args, counted, &verdict, &round));
    if args.ask.json {
        let result_us = verdict.rank_from_highest.and_then(|rank| round.latency_at_rank_us(rank));
        println!(
            "{}",
            json!({
                "note": NO_RESULT,
                "preset": preset,
                "counted": counted,
                "verdict": verdict,
                "comparable": verdict.is_comparable(),
                "early_stopping_us": result_us,
                "run": round.figures(),
                "environment": Environment::capture(None, None),
            })
        );
    }
    Ok(ending(&verdict, &round))
}

fn play(args: &Args, preset: &Preset, seconds: f64, rounds: &Rounds) -> Result<Round, MlperfError> {
    let (asked, length) = match args.scenario {
        Scenario::SingleStream | Scenario::MultiStream => (Asked::Closed(1), Length::of(seconds)),
        Scenario::Server => {
            (Asked::Poisson(args.rate.ok_or(MlperfError::NoRate)?), Length::of(seconds))
        }
        Scenario::Offline => {
            let rows = rounds.scenario().request.rows;
            let expected = match args.rate {
                Some(rate) => rate,
                None => rounds.closed_loop_rate()? * rows as f64,
            };
            let samples = preset.offline_samples(expected, seconds);
            let requests_max = samples.div_ceil(rows.max(1));
            let length = Length { seconds: SECONDS_MAX, requests_max };
            (rounds.closed(), length)
        }
    };
    Ok(rounds.run(asked, length, 1)?)
}

/// `rows`: of one sample.
fn counted(args: &Args, preset: &Preset, rows: u64, round: &Round) -> Counted {
    let measured = &round.measured;
    let queries = match preset.scenario {
        Scenario::Offline => measured.answered * rows,
        Scenario::Server => measured.due,
        Scenario::SingleStream | Scenario::MultiStream => measured.latency.summary().samples,
    };
    let over = match preset.scenario {
        Scenario::Server => measured.due.saturating_sub(round.on_time(args.latency)),
        Scenario::SingleStream | Scenario::MultiStream | Scenario::Offline => 0,
    };
    Counted { seconds: measured.window.as_secs_f64(), queries, over }
}

fn ending(verdict: &Verdict, round: &Round) -> Ending {
    let is_clean = round.measured.failures.total() == 0;
    if !round.verdict.valid {
        Ending::Invalid
    } else if verdict.is_valid() && is_clean {
        Ending::Valid
    } else {
        Ending::Short
    }
}

fn table(round: &Round) -> Table {
    let figures = round.figures();
    let mut table = Table::new(&["µs", "p50", "p90", "p99", "p99.9"]);
    let cells = [figures.p50_us, figures.p90_us, figures.p99_us, figures.p999_us];
    let cells = cells.map(us);
    table.row(["latency".to_owned()].into_iter().chain(cells));
    table
}

fn sentence(args: &Args, counted: Counted, verdict: &Verdict, round: &Round) -> String {
    let rows_per_second = counted.queries as f64 / counted.seconds;
    let result = match args.scenario {
        Scenario::SingleStream | Scenario::MultiStream => {
            let rank = verdict.rank_from_highest;
            let latency_us = rank.and_then(|rank| round.latency_at_rank_us(rank));
            format!("early-stopping estimate {} µs", us(latency_us))
        }
        Scenario::Server => {
            let rate = count(args.rate.unwrap_or_default());
            format!(
                "{rate} requests/s, {} of {} later than {:?}",
                counted.over, counted.queries, args.latency
            )
        }
        Scenario::Offline => format!("{} samples/s", count(rows_per_second)),
    };
    let mut said = format!(
        "{:?}: {result}; {} queries in {:.0} s",
        args.scenario,
        count(counted.queries as f64),
        counted.seconds
    );
    // Writing to a String can't fail.
    for shortfall in &verdict.shortfalls {
        let _always = write!(said, "; {shortfall}");
    }
    if round.measured.failures.total() > 0 {
        let _always = write!(said, "; failures: {:?}", round.measured.failures);
    }
    for reason in &round.verdict.reasons {
        let _always = write!(said, "; the load generator: {reason}");
    }
    let label = if verdict.is_comparable() { "" } else { "NOT COMPARABLE; " };
    format!("{said}\n{label}{NO_RESULT}")
}
