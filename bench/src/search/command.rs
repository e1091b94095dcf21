//! `foil-bench max-rate`: the shell of the search.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::evidence::{Observed, Promise, RateEvidence, Trial, Verdict, Vote};
use super::{Bounds, Found, Step, Stopped, WIDTH_MIN, interrupted, next};
use crate::compare::spread;
use crate::environment::Environment;
use crate::interrupt::stop_flag;
use crate::output::html::{self, RateRow, Rates, RowState};
use crate::report::{Table, count, us};
use crate::rounds::{
    Ask, Asked, Figures, Length, PageArgs, Round, Rounds, SECONDS_MAX, samples_min,
};
use crate::run::RunError;
use crate::span;

/// Where the search begins: half of what a closed loop gets, which most servers hold.
const START_SHARE: f64 = 0.5;
/// A server that a closed loop gets nothing out of is asked this.
const START_MIN: f64 = 1.0;

/// The highest rate at which the server keeps a promise, as an interval.
///
/// A run holds when at least `--percentile` of all that was due in it was answered right within `--slo` of when it was
/// due, failures were at most `--failures` and the answers kept up with 99 % of what was due. A rate is judged by
/// several runs, and the ends of the interval by at least four each.
///
/// Exit codes: 0 an interval with two ends, 1 none was found, 3 the load generator was the limit.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The server, as in http://127.0.0.1:8000, or a scenario.toml that names it
    #[arg(value_name = "URL|SCENARIO")]
    pub target: String,
    #[command(flatten)]
    pub ask: Ask,
    #[command(flatten)]
    pub page: PageArgs,
    /// The latest an answer may be, as in 20ms or 1s
    #[arg(long, value_parser = span::parse)]
    pub slo: Duration,
    /// The share that must be in time, in percent
    #[arg(long, default_value_t = 99.0)]
    pub percentile: f64,
    /// The share that may fail, in percent
    #[arg(long, default_value_t = 0.1)]
    pub failures: f64,
    /// How wide the interval may be, in percent of its lower end
    #[arg(long, default_value_t = 3.0)]
    pub width: f64,
    /// Measured time of each run; longer where the percentile needs more requests
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// The first rate; by default half of what a closed loop gets
    #[arg(long)]
    pub start: Option<f64>,
    /// The lowest rate that is tried
    #[arg(long, default_value_t = 1.0)]
    pub rate_min: f64,
    /// The highest rate that is tried
    #[arg(long, default_value_t = 1e6)]
    pub rate_max: f64,
    /// Runs after which the search says what it knows
    #[arg(long, default_value_t = 80)]
    pub runs_max: usize,
    /// Measured seconds after which it does
    #[arg(long, default_value_t = 1_200.0)]
    pub seconds_max: f64,
}

#[derive(Debug, thiserror::Error)]
pub enum MaxRateError {
    #[error(
        "give a --percentile of 50 to 99.99, --failures of 0 to 100, a --width of 0.5 or more and --seconds of 0.1 to {SECONDS_MAX}"
    )]
    Numbers,
    #[error("give --rate-min, --start and --rate-max above 0 and in ascending order")]
    Rates,
    #[error(transparent)]
    Run(#[from] RunError),
}

/// What was found, and every run it rests on.
pub struct Searched {
    pub found: Found,
    pub ran: Vec<Ran>,
}

/// One run and what it showed.
#[derive(Clone, Debug, Serialize)]
pub struct Ran {
    #[serde(flatten)]
    trial: Trial,
    observed: Observed,
    percentile_us: Option<f64>,
    figures: Figures,
}

pub fn run(args: &Args) -> Result<Stopped, MaxRateError> {
    let promise = promise_of(args)?;
    let stop = stop_flag().map_err(RunError::Signals)?;
    let rounds = Rounds::open(&args.target, &args.ask, &stop)?.with_slo(args.slo);
    let bounds = bounds_of(args, &rounds)?;
    let searched = search(&rounds, &promise, &bounds, args.seconds)?;
    let (found, ran) = (&searched.found, &searched.ran);
    print!("{}", table(found, ran));
    let (said, environment) = (sentence(found, args), Environment::capture(None, None));
    println!("{said}");
    args.page.write(|| page(args, found, ran, &said, &environment))?;
    if args.ask.json {
        println!(
            "{}",
            json!({ "promise": promise, "found": found, "runs": ran, "environment": environment })
        );
    }
    Ok(found.stopped)
}

/// Runs what the policy asks for. `seconds`: of each run, longer where the percentile needs more requests.
pub fn search(
    rounds: &Rounds,
    promise: &Promise,
    bounds: &Bounds,
    seconds: f64,
) -> Result<Searched, RunError> {
    let mut ran: Vec<Ran> = Vec::new();
    loop {
        let trials: Vec<Trial> = ran.iter().map(|ran| ran.trial).collect();
        let rate = match next(bounds, &trials) {
            Step::Done(found) => return Ok(Searched { found, ran }),
            Step::Run { rate } => rate,
        };
        let needed_s = samples_min(promise.percentile) as f64 / rate;
        let seconds = seconds.max(needed_s).min(SECONDS_MAX);
        let number = ran.len() as u64 + 1;
        let round = rounds.run(Asked::Poisson(rate), Length::of(seconds), number)?;
        if round.is_stopped() {
            return Ok(Searched { found: interrupted(&trials), ran });
        }
        let one = Ran::of(&round, promise, rate, seconds);
        eprintln!("{}", progress(&one));
        ran.push(one);
    }
}

fn promise_of(args: &Args) -> Result<Promise, MaxRateError> {
    let sane = (50.0..=99.99).contains(&args.percentile)
        && (0.0..=100.0).contains(&args.failures)
        && args.width / 100.0 >= WIDTH_MIN
        && (0.1..=SECONDS_MAX).contains(&args.seconds);
    sane.then(|| Promise {
        slo_ns: crate::clock::nanos(args.slo),
        percentile: args.percentile / 100.0,
        failures_share_max: args.failures / 100.0,
        achieved_share_min: 0.99,
    })
    .ok_or(MaxRateError::Numbers)
}

fn bounds_of(args: &Args, rounds: &Rounds) -> Result<Bounds, MaxRateError> {
    let start_rate = match args.start {
        Some(rate) => rate,
        None => {
            let estimate = START_SHARE * rounds.closed_loop_rate()?;
            estimate.max(START_MIN).clamp(args.rate_min, args.rate_max.max(args.rate_min)).round()
        }
    };
    let rates = [0.0, args.rate_min, start_rate, args.rate_max];
    if !(rates.is_sorted() && args.rate_min > 0.0 && args.rate_max.is_finite()) {
        return Err(MaxRateError::Rates);
    }
    Ok(Bounds {
        start_rate,
        rate_min: args.rate_min,
        rate_max: args.rate_max,
        width: args.width / 100.0,
        runs_max: args.runs_max,
        seconds_max: args.seconds_max,
    })
}

impl Ran {
    fn of(round: &Round, promise: &Promise, rate: f64, seconds: f64) -> Ran {
        let measured = &round.measured;
        let observed = Observed {
            due: measured.due,
            answered: measured.answered,
            on_time: round.on_time(Duration::from_nanos(promise.slo_ns)),
            failures: measured.failures.total(),
        };
        let vote = if round.verdict.valid { promise.vote(&observed) } else { Vote::Invalid };
        Ran {
            trial: Trial { rate, vote, surplus: promise.surplus(&observed), seconds },
            observed,
            percentile_us: round.percentile_us(promise.percentile),
            figures: round.figures(),
        }
    }
}

fn progress(ran: &Ran) -> String {
    let share = 100.0 * ran.observed.on_time as f64 / ran.observed.due.max(1) as f64;
    let said = match ran.trial.vote {
        Vote::Held => "held".to_owned(),
        Vote::Missed(miss) => format!("missed: {miss}"),
        Vote::Invalid => format!("invalid: {}", ran.figures.verdict.reasons.join("; ")),
    };
    format!("{}/s: {share:.2} % in time, {said}", rate_text(ran.trial.rate))
}

/// What was the generator's own fault says nothing of the server.
fn valid_at(ran: &[Ran], rate: f64) -> impl Iterator<Item = &Ran> {
    ran.iter().filter(move |ran| ran.trial.rate == rate && ran.figures.verdict.valid)
}

fn table(found: &Found, ran: &[Ran]) -> Table {
    let header =
        ["requests/s", "held", "missed", "invalid", "in time, %", "at the percentile, µs", ""];
    let mut table = Table::new(&header);
    for rate in &found.evidence {
        let at_rate = || valid_at(ran, rate.rate);
        let due: u64 = at_rate().map(|ran| ran.observed.due).sum();
        let on_time: u64 = at_rate().map(|ran| ran.observed.on_time).sum();
        let figures: Vec<f64> = at_rate().filter_map(|ran| ran.percentile_us).collect();
        let middle = spread(&figures).map(|spread| spread.median);
        table.row([
            rate_text(rate.rate),
            rate.held.to_string(),
            rate.missed.to_string(),
            rate.invalid.to_string(),
            format!("{:.2}", 100.0 * on_time as f64 / due.max(1) as f64),
            us(middle),
            verdict_text(rate).to_owned(),
        ]);
    }
    table
}

fn page(args: &Args, found: &Found, ran: &[Ran], said: &str, environment: &Environment) -> String {
    let rows: Vec<RateRow> = found.evidence.iter().map(|rate| row(rate, ran)).collect();
    let end = |rate: Option<f64>| rate.map_or_else(|| "?".to_owned(), rate_text);
    let is_limit = matches!(found.stopped, Stopped::GeneratorIsTheLimit);
    let reasons = if is_limit { vec![found.stopped.to_string()] } else { Vec::new() };
    html::max_rate(&Rates {
        heading: &format!("{} to {} requests/s", end(found.held), end(found.missed)),
        under: &format!("{}: {} % within {:?}", args.target, args.percentile, args.slo),
        tail: &format!("p{}", args.percentile),
        slo_us: Some(args.slo.as_secs_f64() * 1e6),
        rows: &rows,
        chosen: found.evidence.iter().position(|rate| Some(rate.rate) == found.held),
        reasons: &reasons,
        remarks: &[said.to_owned()],
        environment,
    })
}

fn row(rate: &RateEvidence, ran: &[Ran]) -> RateRow {
    let at_rate = || valid_at(ran, rate.rate);
    let middle = |figure: fn(&Ran) -> Option<f64>| {
        spread(&at_rate().filter_map(figure).collect::<Vec<_>>()).map(|spread| spread.median)
    };
    let state = match rate.verdict {
        Verdict::Held => RowState::Held,
        Verdict::Missed => RowState::Missed,
        Verdict::Open => RowState::Undecided,
        Verdict::Ceiling => RowState::Invalid,
    };
    let RateEvidence { held, missed, invalid, .. } = *rate;
    RateRow {
        rate: rate.rate,
        answered_per_second: middle(|ran| Some(ran.figures.answered_per_second)),
        p50_us: middle(|ran| ran.figures.p50_us),
        tail_us: middle(|ran| ran.percentile_us),
        failures: at_rate().map(|ran| ran.observed.failures).sum(),
        state,
        evidence: format!("{held} held, {missed} missed, {invalid} invalid"),
    }
}

fn verdict_text(rate: &RateEvidence) -> &'static str {
    match rate.verdict {
        Verdict::Open => "open",
        Verdict::Held => "held",
        Verdict::Missed => "missed",
        Verdict::Ceiling => "the generator's limit",
    }
}

fn sentence(found: &Found, args: &Args) -> String {
    let end = |rate: Option<f64>| rate.map_or_else(|| "?".to_owned(), rate_text);
    let mut said = format!(
        "at most {:?} for {} % of the requests: {} to {} requests/s; {}",
        args.slo,
        args.percentile,
        end(found.held),
        end(found.missed),
        found.stopped,
    );
    if let Some(limit) = found.generator_limit {
        // Writing to a String can't fail.
        let _always = write!(said, "; the generator could not offer {}", rate_text(limit));
    }
    said
}

/// Small rates with their fraction.
fn rate_text(rate: f64) -> String {
    if rate < 100.0 { format!("{rate:.2}") } else { count(rate) }
}
