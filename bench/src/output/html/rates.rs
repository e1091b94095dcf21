//! Reports of many rates: a sweep from idle to past saturation, and the search for the highest rate that holds. Pure.

use super::super::chart::{Along, Axis, Chart, Dots, Ink, Line, Marks, Rule, Shape, Unit};
use super::super::figures::{DASH, quantity, time_or_dash};
use super::super::markup::{section, table};
use super::charts::{objective, room_for};
use super::page::{Page, Standing, banner, environment};
use crate::environment::Environment;
use crate::report::count;

/// What the runs at one rate came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowState {
    /// The promise held, or the answers kept up.
    Held,
    Missed,
    /// More runs would be needed.
    Undecided,
    /// The load generator wasn't up to it.
    Invalid,
}

/// All runs at one rate.
#[derive(Clone, Debug)]
pub struct RateRow {
    /// Due requests a second.
    pub rate: f64,
    pub answered_per_second: Option<f64>,
    pub p50_us: Option<f64>,
    /// The percentile that is looked at.
    pub tail_us: Option<f64>,
    pub failures: u64,
    pub state: RowState,
    /// As in "3 of 3 runs held".
    pub evidence: String,
}

pub struct Rates<'a> {
    /// The answer in one line, as in "12,000 requests/s hold, 12,400 do not".
    pub heading: &'a str,
    /// What was loaded and what was promised.
    pub under: &'a str,
    /// As in "p99".
    pub tail: &'a str,
    pub slo_us: Option<f64>,
    /// Ascending by rate.
    pub rows: &'a [RateRow],
    /// The knee of a sweep, the highest rate of a search that held.
    pub chosen: Option<usize>,
    /// Why the whole can't be used; empty where it can.
    pub reasons: &'a [String],
    pub remarks: &'a [String],
    pub environment: &'a Environment,
}

/// Latency against throughput, with its knee.
pub fn sweep(rates: &Rates<'_>) -> String {
    let mut chart =
        chart(rates, "sweep", "Latency against throughput", "answered requests/s", |row| {
            row.answered_per_second
        });
    chart.rules.extend(chosen(rates).and_then(|row| {
        let name = format!("knee, {}/s due", quantity(row.rate));
        Some(Rule { name, along: Along::Vertical(row.answered_per_second?) })
    }));
    let told = "<p>Each dot is one rate, the median of its valid runs. Up to the knee more load costs little latency; \
                right of it latency buys no more throughput.</p>\n";
    page("Hydrofoil sweep", rates, &(told.to_owned() + &chart.render()))
}

/// The highest rate that keeps a promise, and what it rests on.
pub fn max_rate(rates: &Rates<'_>) -> String {
    let mut chart =
        chart(rates, "search", "Latency at each rate", "due requests/s", |row| Some(row.rate));
    chart.rules.extend(chosen(rates).map(|row| Rule {
        name: format!("highest that held, {}/s", quantity(row.rate)),
        along: Along::Vertical(row.rate),
    }));
    let any = rates.rows.iter().any(|row| row.tail_us.is_some());
    page(
        "Hydrofoil search for the highest rate",
        rates,
        &if any { chart.render() } else { String::new() },
    )
}

fn chosen<'a>(rates: &Rates<'a>) -> Option<&'a RateRow> {
    rates.rows.get(rates.chosen?)
}

fn chart(
    rates: &Rates<'_>,
    id: &'static str,
    title: &'static str,
    label: &'static str,
    x_of: fn(&RateRow) -> Option<f64>,
) -> Chart {
    let x = Axis::over(label, Unit::Quantity, rates.rows.iter().filter_map(x_of));
    let values = rates.rows.iter().flat_map(|row| [row.p50_us, row.tail_us]).flatten();
    let y = Axis::over("latency", Unit::Time, values.chain(room_for(rates.slo_us)));
    let mut chart = Chart::new(id, title, x, y);
    let line = |name: &str, ink, of: fn(&RateRow) -> Option<f64>| {
        let points = rates.rows.iter().filter_map(|row| Some((x_of(row)?, of(row))));
        Line { name: name.to_owned(), ink, points: points.collect(), dots: Dots::Shown }
    };
    chart.lines = vec![
        line(rates.tail, Ink::Second, |row| row.tail_us),
        line("median", Ink::Main, |row| row.p50_us),
    ];
    let stood_out = |state: RowState| {
        let rows = rates.rows.iter().filter(move |row| row.state == state);
        rows.filter_map(|row| Some((x_of(row)?, row.tail_us?))).collect::<Vec<_>>()
    };
    chart.marks = vec![
        marks("missed", Shape::Ring, stood_out(RowState::Missed)),
        marks("invalid: the load generator's fault", Shape::Cross, stood_out(RowState::Invalid)),
    ];
    chart.rules.extend(rates.slo_us.map(objective));
    chart.description = format!("{}. {} rates from idle upward.", rates.heading, rates.rows.len());
    chart.notes = notes(rates, x_of);
    chart
}

fn marks(name: &str, shape: Shape, at: Vec<(f64, f64)>) -> Marks {
    Marks { name: name.to_owned(), shape, ink: Ink::Bad, at }
}

/// Past saturation a higher rate may be answered more slowly: sorted by where they stand.
fn notes(rates: &Rates<'_>, x_of: fn(&RateRow) -> Option<f64>) -> Vec<(f64, String)> {
    let note = |row: &RateRow| {
        let (p50, tail) = (time_or_dash(row.p50_us), time_or_dash(row.tail_us));
        let told = format!("{}/s due: median {p50}, {} {tail}", quantity(row.rate), rates.tail);
        Some((x_of(row)?, told))
    };
    let mut notes: Vec<(f64, String)> = rates.rows.iter().filter_map(note).collect();
    notes.sort_by(|a, b| a.0.total_cmp(&b.0));
    notes
}

fn page(kind: &str, rates: &Rates<'_>, figure: &str) -> String {
    let standing = Standing::of(rates.reasons);
    let body = [
        banner(standing, rates.reasons, rates.remarks),
        section("The curve", figure),
        section("Each rate", &rows(rates)),
        environment(rates.environment),
    ];
    let body = body.concat();
    Page { kind, heading: rates.heading, under: rates.under.to_owned(), standing, body }.render()
}

fn rows(rates: &Rates<'_>) -> String {
    let header = ["due/s", "answered/s", "median", rates.tail, "failures", "verdict", "evidence"];
    let row = |row: &RateRow| {
        let state = match row.state {
            RowState::Held => "held",
            RowState::Missed => "missed",
            RowState::Undecided => "undecided",
            RowState::Invalid => "INVALID",
        };
        vec![
            quantity(row.rate),
            row.answered_per_second.map_or_else(|| DASH.to_owned(), quantity),
            time_or_dash(row.p50_us),
            time_or_dash(row.tail_us),
            count(row.failures as f64),
            state.to_owned(),
            row.evidence.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = rates.rows.iter().map(row).collect();
    table("medians over the valid runs at each rate", &header, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::examples::{good, rates_of};

    #[test]
    fn a_sweep_marks_its_knee_and_what_missed() {
        let (rows, environment) = (rates_of(8), good().environment);
        let page = sweep(&Rates {
            heading: "the knee is at 6,000 requests/s <b>",
            under: "noop",
            tail: "p99",
            slo_us: Some(20_000.0),
            rows: &rows,
            chosen: Some(5),
            reasons: &[],
            remarks: &[],
            environment: &environment,
        });
        assert!(page.contains("knee, 6,000/s due") && page.contains("objective 20.0 ms"));
        assert!(page.contains("class=\"ring bad\"") && !page.contains("<b>"));
    }

    #[test]
    fn a_search_that_found_nothing_has_a_report() {
        let environment = good().environment;
        let page = max_rate(&Rates {
            heading: "no rate held",
            under: "",
            tail: "p99",
            slo_us: None,
            rows: &[],
            chosen: None,
            reasons: &["every run was late".to_owned()],
            remarks: &[],
            environment: &environment,
        });
        assert!(page.contains("INVALID</strong>") && !page.contains("NaN"));
    }
}
