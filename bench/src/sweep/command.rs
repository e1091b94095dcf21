//! `foil-bench sweep`: the shell of the sweep.

use serde_json::json;

use super::{Curve, Point, SHARES, Sample};
use crate::environment::Environment;
use crate::interrupt::stop_flag;
use crate::output::html::{self, RateRow, Rates, RowState};
use crate::report::{Table, count, us};
use crate::rounds::{Ask, Asked, Figures, Length, PageArgs, Rounds, SECONDS_MAX, samples_min};
use crate::run::RunError;

const REPEATS_MAX: u64 = 25;

/// Latency against throughput, from idle to past saturation; the knee is marked.
///
/// Rates are shares of the capacity, which a short closed loop estimates unless it is given. All rates are run once, then
/// all again, so that a slow minute of the machine doesn't fall on one of them alone.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The server, as in http://127.0.0.1:8000, or a scenario.toml that names it
    #[arg(value_name = "URL|SCENARIO")]
    pub target: String,
    #[command(flatten)]
    pub ask: Ask,
    #[command(flatten)]
    pub page: PageArgs,
    /// Requests a second that the shares are of; by default what a closed loop gets
    #[arg(long)]
    pub capacity: Option<f64>,
    /// Shares of the capacity, in percent
    #[arg(long, value_delimiter = ',', default_values_t = SHARES.map(|share| share * 100.0))]
    pub shares: Vec<f64>,
    /// Runs of each rate
    #[arg(long, default_value_t = 3)]
    pub repeats: u64,
    /// Measured time of each run; longer where the percentile needs more requests
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// The percentile whose knee is looked for, in percent
    #[arg(long, default_value_t = 99.0)]
    pub percentile: f64,
}

#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    #[error(
        "give --shares above 0, 1 to {REPEATS_MAX} --repeats of 0.1 to {SECONDS_MAX} --seconds and a --percentile of 50 to 99.99"
    )]
    Numbers,
    #[error("a closed loop got no answer, so there is nothing to sweep; give --capacity")]
    NoCapacity,
    #[error(transparent)]
    Run(#[from] RunError),
}

/// False: no run of some rate was valid.
pub fn run(args: &Args) -> Result<bool, SweepError> {
    check(args)?;
    let stop = stop_flag().map_err(RunError::Signals)?;
    let rounds = Rounds::open(&args.target, &args.ask, &stop)?;
    let capacity = match args.capacity {
        Some(capacity) => capacity,
        None => rounds.closed_loop_rate()?,
    };
    if capacity <= 0.0 {
        return Err(SweepError::NoCapacity);
    }
    let mut shares = args.shares.clone();
    shares.sort_by(f64::total_cmp);
    let rates: Vec<f64> = shares.iter().map(|share| share / 100.0 * capacity).collect();
    let (curve, figures) = measured(args, &rounds, &rates)?;
    print!("{}", table(&curve, args));
    let (said, environment) = (sentence(&curve, capacity, args), Environment::capture(None, None));
    println!("{said}");
    args.page.write(|| page(args, &curve, &said, &environment))?;
    if args.ask.json {
        println!(
            "{}",
            json!({ "capacity": capacity, "curve": curve, "runs": figures, "environment": environment })
        );
    }
    Ok(!curve.points.iter().any(Point::is_invalid))
}

fn check(args: &Args) -> Result<(), SweepError> {
    let sane = !args.shares.is_empty()
        && args.shares.iter().all(|&share| share.is_finite() && share > 0.0)
        && (1..=REPEATS_MAX).contains(&args.repeats)
        && (0.1..=SECONDS_MAX).contains(&args.seconds)
        && (50.0..=99.99).contains(&args.percentile);
    sane.then_some(()).ok_or(SweepError::Numbers)
}

fn measured(
    args: &Args,
    rounds: &Rounds,
    rates: &[f64],
) -> Result<(Curve, Vec<Figures>), SweepError> {
    let mut samples = vec![Vec::new(); rates.len()];
    let mut figures = Vec::new();
    'repeats: for repeat in 1..=args.repeats {
        for (rate, samples) in rates.iter().zip(&mut samples) {
            let needed_s = samples_min(args.percentile / 100.0) as f64 / rate;
            let seconds = args.seconds.max(needed_s).min(SECONDS_MAX);
            let round = rounds.run(Asked::Poisson(*rate), Length::of(seconds), repeat)?;
            if round.is_stopped() {
                break 'repeats;
            }
            let tail_us = round.percentile_us(args.percentile / 100.0);
            let ran = round.figures();
            eprintln!("{}/s: {}", count(*rate), progress(&ran, tail_us));
            samples.push(Sample {
                offered: ran.offered_per_second,
                achieved: ran.answered_per_second,
                p50_us: ran.p50_us,
                tail_us,
                failures: ran.failures.total(),
                is_valid: ran.verdict.valid,
            });
            figures.push(ran);
        }
    }
    let points = rates.iter().zip(&samples).map(|(&rate, samples)| Point::of(rate, samples));
    Ok((Curve::of(points.collect()), figures))
}

fn progress(ran: &Figures, tail_us: Option<f64>) -> String {
    let invalid = ran.verdict.reasons.join("; ");
    let said = if ran.verdict.valid { String::new() } else { format!(", invalid: {invalid}") };
    format!("{} answered/s, {} µs{said}", count(ran.answered_per_second), us(tail_us))
}

fn table(curve: &Curve, args: &Args) -> Table {
    let tail = format!("p{}, µs", args.percentile);
    let header = ["requests/s", "answered/s", "p50, µs", &tail, "failures", "invalid runs", ""];
    let mut table = Table::new(&header);
    for (at, point) in curve.points.iter().enumerate() {
        table.row([
            count(point.rate),
            point.achieved.map_or_else(|| "-".to_owned(), |achieved| count(achieved.median)),
            us(point.p50_us.map(|spread| spread.median)),
            us(point.tail_us.map(|spread| spread.median)),
            count(point.failures as f64),
            point.invalid_runs.to_string(),
            mark(curve, at).to_owned(),
        ]);
    }
    table
}

fn page(args: &Args, curve: &Curve, said: &str, environment: &Environment) -> String {
    let rows: Vec<RateRow> = curve.points.iter().map(row).collect();
    let knee = curve.knee.map_or_else(
        || "no knee".to_owned(),
        |at| format!("knee at {} requests/s", count(curve.points[at].rate)),
    );
    let none_valid = curve.points.iter().all(Point::is_invalid);
    let reasons =
        if none_valid { vec!["no run of any rate was valid".to_owned()] } else { Vec::new() };
    html::sweep(&Rates {
        heading: &knee,
        under: &format!("{}, open loop, Poisson", args.target),
        tail: &format!("p{}", args.percentile),
        slo_us: None,
        rows: &rows,
        chosen: curve.knee,
        reasons: &reasons,
        remarks: &[said.to_owned()],
        environment,
    })
}

fn row(point: &Point) -> RateRow {
    let (achieved, invalid) = (point.achieved.map(|spread| spread.median), point.invalid_runs);
    let state = match achieved {
        None => RowState::Invalid,
        Some(_) if point.keeps_up => RowState::Held,
        Some(_) => RowState::Missed,
    };
    RateRow {
        rate: point.rate,
        answered_per_second: achieved,
        p50_us: point.p50_us.map(|spread| spread.median),
        tail_us: point.tail_us.map(|spread| spread.median),
        failures: point.failures,
        state,
        evidence: if invalid == 0 { String::new() } else { format!("{invalid} invalid runs") },
    }
}

fn mark(curve: &Curve, at: usize) -> &'static str {
    if curve.knee == Some(at) {
        "knee"
    } else if curve.points[at].achieved.is_none() {
        "no valid run"
    } else if !curve.points[at].keeps_up {
        "saturated"
    } else {
        ""
    }
}

fn sentence(curve: &Curve, capacity: f64, args: &Args) -> String {
    let rate = |at: Option<usize>| {
        at.map_or_else(|| "none".to_owned(), |at| format!("{}/s", count(curve.points[at].rate)))
    };
    format!(
        "shares of {} requests/s; medians of {} runs; knee (most throughput over p{}): {}; first rate not kept up with: {}",
        count(capacity),
        args.repeats,
        args.percentile,
        rate(curve.knee),
        rate(curve.saturated),
    )
}
