//! `foil-bench compare`: two servers in interleaved pairs, ratios with intervals, a budget as an exit code.
//!
//! Both halves of a pair get the same payloads at the same moments, one right after the other; which goes first
//! alternates. A pair with a half that was the generator's own fault gives no ratio, is counted and is
//! repeated. Figures of separate
//! blocks are deliberately absent: a slow minute would pass for a difference.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::json;

use crate::budget::{Budget, BudgetError, Figure, Judged, Standing};
use crate::compare::spread;
use crate::environment::Environment;
use crate::interrupt::stop_flag;
use crate::interval::{Interval, VALUES_MIN, median_interval};
use crate::output::figures::{quantity, time};
use crate::output::html::{self, Better, Compared, Comparison};
use crate::report::{Table, count, us};
use crate::rounds::{Ask, Asked, Figures, Length, PageArgs, Round, Rounds, SECONDS_MAX};
use crate::run::RunError;

const PAIRS_MAX: u64 = 1_001;
/// A disturbed machine disturbs some pairs; one that disturbs half of them is no place to compare.
const ATTEMPTS: u64 = 2;
const FIGURES: [Figure; 4] = [Figure::P50, Figure::P99, Figure::P999, Figure::RpsMin];

/// Compares two servers of one model in interleaved pairs.
///
/// Ratios are B's figure over A's: the median of the pairs, and where the true one lies at least 95 times of 100. With
/// `--budget` a limit counts as broken when the whole interval is past it, so noise alone rarely breaks one.
///
/// Exit codes: 0 within the budget or undecided, 3 too few valid pairs or a limited figure without samples, 4 broken.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The server that is compared with, as in http://127.0.0.1:8000, or a scenario.toml
    pub a: String,
    /// The server that is judged
    pub b: String,
    #[command(flatten)]
    pub ask: Ask,
    #[command(flatten)]
    pub page: PageArgs,
    /// Valid pairs that are wanted; up to twice as many are run
    #[arg(long, default_value_t = 15)]
    pub runs: u64,
    /// Requests a second, of independent callers; closed loop without
    #[arg(long)]
    pub rate: Option<f64>,
    /// Measured time of each run
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// A TOML file of limits: `[ratios]` with p50, p99, p999 or rps_min
    #[arg(long)]
    pub budget: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    #[error("give 1 to {PAIRS_MAX} --runs of 0.1 to {SECONDS_MAX} --seconds")]
    Numbers,
    #[error("a budget needs {VALUES_MIN} --runs or more: fewer pairs give no interval")]
    FewRuns,
    #[error("{path} can't be read: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Budget(#[from] BudgetError),
    #[error(transparent)]
    Run(#[from] RunError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Kept,
    /// The pairs can't tell.
    Invalid,
    OverBudget,
}

#[derive(Clone, Debug, Serialize)]
struct Pair {
    a: Figures,
    b: Figures,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Ratio {
    figure: Figure,
    a: Option<f64>,
    b: Option<f64>,
    /// None: too few valid pairs with this figure.
    ratio: Option<Interval>,
}

pub fn run(args: &Args) -> Result<Ending, CompareError> {
    let budget = budget_of(args)?;
    let stop = stop_flag().map_err(RunError::Signals)?;
    let a = Rounds::open(&args.a, &args.ask, &stop)?;
    let b = Rounds::open(&args.b, &args.ask, &stop)?;
    let asked = args.rate.map_or(a.closed(), Asked::Poisson);
    let pairs = measured(args, asked, &a, &b)?;
    let ratios = FIGURES.map(|figure| ratio(figure, &pairs));
    let judged = budget.map_or_else(Vec::new, |budget| budget.judge(|figure| of(&ratios, figure)));
    let valid = valid(&pairs);
    print!("{}", table(&ratios, &judged));
    let (said, environment) =
        (sentence(asked, pairs.len(), valid), Environment::capture(None, None));
    println!("{said}");
    args.page.write(|| page(args, &ratios, valid, &said, &environment))?;
    if args.ask.json {
        let told = json!({
            "pairs": pairs,
            "valid": valid,
            "ratios": ratios,
            "budget": judged,
            "environment": environment,
        });
        println!("{told}");
    }
    Ok(ending(valid, args.runs, &judged))
}

fn budget_of(args: &Args) -> Result<Option<Budget>, CompareError> {
    if !((1..=PAIRS_MAX).contains(&args.runs) && (0.1..=SECONDS_MAX).contains(&args.seconds)) {
        return Err(CompareError::Numbers);
    }
    let Some(path) = &args.budget else { return Ok(None) };
    if args.runs < VALUES_MIN as u64 {
        return Err(CompareError::FewRuns);
    }
    let read = std::fs::read_to_string(path);
    let text = read.map_err(|source| CompareError::Read { path: path.clone(), source })?;
    Ok(Some(Budget::parse(&text)?))
}

fn measured(args: &Args, asked: Asked, a: &Rounds, b: &Rounds) -> Result<Vec<Pair>, CompareError> {
    let length = Length::of(args.seconds);
    let mut pairs: Vec<Pair> = Vec::new();
    for number in 1..=args.runs * ATTEMPTS {
        let run = |rounds: &Rounds| rounds.run(asked, length, number);
        let (first, second) = if number.is_multiple_of(2) { (b, a) } else { (a, b) };
        let halves = [run(first)?, run(second)?];
        if halves.iter().any(Round::is_stopped) {
            break;
        }
        let [first, second] = halves.map(|half| half.figures());
        let (a, b) = if number.is_multiple_of(2) { (second, first) } else { (first, second) };
        let pair = Pair { a, b };
        eprintln!("{number}: {}", progress(&pair));
        pairs.push(pair);
        if valid(&pairs) as u64 >= args.runs {
            break;
        }
    }
    Ok(pairs)
}

fn valid(pairs: &[Pair]) -> usize {
    pairs.iter().filter(|pair| pair.is_valid()).count()
}

fn progress(pair: &Pair) -> String {
    let half = |half: &Figures| {
        let invalid = half.verdict.reasons.join("; ");
        let said =
            if half.verdict.valid { String::new() } else { format!(" (invalid: {invalid})") };
        format!("p50 {} µs, {}/s{said}", us(half.p50_us), count(half.answered_per_second))
    };
    format!("A {}; B {}", half(&pair.a), half(&pair.b))
}

impl Pair {
    fn is_valid(&self) -> bool {
        self.a.verdict.valid && self.b.verdict.valid
    }

    /// `None` where a half hasn't the figure, or where it is nothing to divide by.
    fn of(&self, figure: Figure) -> Option<(f64, f64)> {
        let half = |half: &Figures| match figure {
            Figure::P50 => half.p50_us,
            Figure::P99 => half.p99_us,
            Figure::P999 => half.p999_us,
            Figure::RpsMin => Some(half.answered_per_second),
        };
        Some((half(&self.a)?, half(&self.b)?)).filter(|(a, _)| *a > 0.0)
    }
}

fn ratio(figure: Figure, pairs: &[Pair]) -> Ratio {
    let valid = pairs.iter().filter(|pair| pair.is_valid());
    let figures: Vec<(f64, f64)> = valid.filter_map(|pair| pair.of(figure)).collect();
    let ratios: Vec<f64> = figures.iter().map(|(a, b)| b / a).collect();
    let middle = |half: fn(&(f64, f64)) -> f64| {
        spread(&figures.iter().map(half).collect::<Vec<_>>()).map(|spread| spread.median)
    };
    Ratio {
        figure,
        a: middle(|pair| pair.0),
        b: middle(|pair| pair.1),
        ratio: median_interval(&ratios),
    }
}

fn of(ratios: &[Ratio], figure: Figure) -> Option<Interval> {
    ratios.iter().find(|ratio| ratio.figure == figure).and_then(|ratio| ratio.ratio)
}

/// A broken limit is broken whatever else wasn't measured.
fn ending(valid: usize, wanted: u64, judged: &[Judged]) -> Ending {
    let any = |standing| judged.iter().any(|judged| judged.standing == standing);
    if any(Standing::Broken) {
        Ending::OverBudget
    } else if (valid as u64) < wanted.min(VALUES_MIN as u64) || any(Standing::Unmeasured) {
        Ending::Invalid
    } else {
        Ending::Kept
    }
}

fn table(ratios: &[Ratio], judged: &[Judged]) -> Table {
    let mut table = Table::new(&["", "A", "B", "B / A", "95 %", "limit", ""]);
    for ratio in ratios {
        let limited = judged.iter().find(|judged| judged.figure == ratio.figure);
        let (name, figure): (_, fn(f64) -> String) = match ratio.figure {
            Figure::P50 => ("p50, µs", |value| us(Some(value))),
            Figure::P99 => ("p99, µs", |value| us(Some(value))),
            Figure::P999 => ("p99.9, µs", |value| us(Some(value))),
            Figure::RpsMin => ("answers/s", count),
        };
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        table.row([
            name.to_owned(),
            or_dash(ratio.a.map(figure)),
            or_dash(ratio.b.map(figure)),
            or_dash(ratio.ratio.map(|ratio| format!("{:.3}", ratio.median))),
            or_dash(ratio.ratio.map(|ratio| format!("{:.3} to {:.3}", ratio.low, ratio.high))),
            or_dash(limited.map(|judged| judged.limit.to_string())),
            limited.map_or_else(String::new, |judged| judged.standing.to_string()),
        ]);
    }
    table
}

fn page(
    args: &Args,
    ratios: &[Ratio],
    valid: usize,
    said: &str,
    environment: &Environment,
) -> String {
    let rows: Vec<Compared> = ratios.iter().filter_map(compared).collect();
    let reasons = if valid == 0 { vec!["no pair was valid".to_owned()] } else { Vec::new() };
    html::comparison(&Comparison {
        heading: &format!("{} beside {}", args.b, args.a),
        under: said,
        first: &args.a,
        second: &args.b,
        rows: &rows,
        reasons: &reasons,
        remarks: &[],
        environment,
    })
}

/// None where there were too few pairs for an interval.
fn compared(ratio: &Ratio) -> Option<Compared> {
    let Interval { median, low, high } = ratio.ratio?;
    let (name, better, told): (_, _, fn(f64) -> String) = match ratio.figure {
        Figure::P50 => ("latency, p50", Better::Lower, time),
        Figure::P99 => ("latency, p99", Better::Lower, time),
        Figure::P999 => ("latency, p99.9", Better::Lower, time),
        Figure::RpsMin => ("answers a second", Better::Higher, quantity),
    };
    let (first, second) = (told(ratio.a?), told(ratio.b?));
    Some(Compared { name: name.to_owned(), first, second, ratio: median, low, high, better })
}

fn sentence(asked: Asked, pairs: usize, valid: usize) -> String {
    let load = match asked {
        Asked::Closed(connections) => format!("closed loop, {connections} connections"),
        Asked::Poisson(rate) => format!("open loop, Poisson, {} requests/s", count(rate)),
    };
    format!("{load}; {valid} of {pairs} pairs are valid; medians, and ratios pair by pair")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::Failures;
    use crate::verdict::Verdict;

    fn half(p50_us: f64, valid: bool) -> Figures {
        Figures {
            offered_per_second: 100.0,
            answered_per_second: 100.0,
            due: 500,
            p50_us: Some(p50_us),
            p90_us: None,
            p99_us: None,
            p999_us: None,
            failures: Failures::default(),
            verdict: Verdict { valid, ..Verdict::default() },
        }
    }

    fn pairs(valid: bool) -> Vec<Pair> {
        (1..=9)
            .map(|n| {
                let slow = f64::from(n);
                Pair { a: half(100.0 * slow, valid), b: half(120.0 * slow, true) }
            })
            .collect()
    }

    #[test]
    fn ratios_are_taken_pair_by_pair() {
        let found = ratio(Figure::P50, &pairs(true));
        let ratio = found.ratio.expect("enough pairs");
        assert!([ratio.low, ratio.median, ratio.high].iter().all(|at| (at - 1.2).abs() < 1e-9));
        assert_eq!((found.a, found.b), (Some(500.0), Some(600.0)));
    }

    #[test]
    fn a_pair_that_was_the_generators_fault_gives_no_ratio() {
        let mut all = pairs(true);
        all.extend(pairs(false));
        let found = ratio(Figure::P50, &all);
        assert_eq!(found.a, Some(500.0));
        assert_eq!(ratio(Figure::P50, &pairs(false)).ratio, None);
        assert_eq!(ratio(Figure::P99, &pairs(true)).ratio, None, "nobody has a p99");
    }

    #[test]
    fn a_broken_limit_outweighs_an_unmeasured_one() {
        let judged = |text: &str| {
            let budget = Budget::parse(text).expect("a budget");
            budget.judge(|figure| ratio(figure, &pairs(true)).ratio)
        };
        assert_eq!(ending(9, 9, &judged("[ratios]\np50 = 1.1\np99 = 1.1")), Ending::OverBudget);
        assert_eq!(ending(9, 9, &judged("[ratios]\np50 = 1.3\np99 = 1.1")), Ending::Invalid);
        assert_eq!(ending(9, 9, &judged("[ratios]\np50 = 1.3")), Ending::Kept);
        assert_eq!((ending(9, 9, &[]), ending(5, 9, &[])), (Ending::Kept, Ending::Invalid));
    }
}
