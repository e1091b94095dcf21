//! Reports to pass on: one file each, readable on a phone and a desk, by day and by night. Pure.

mod charts;
mod comparison;
mod page;
mod rates;

use serde_json::Value;

pub use self::comparison::{Better, Compared, Comparison, comparison};
pub use self::rates::{RateRow, Rates, RowState, max_rate, sweep};

use self::page::{Card, Page, Standing, banner, cards, environment};
use super::figures::{failed_share, failures_in_words, percent, quantity, time, time_or_dash};
use super::markup::{facts, section, table};
use super::terminal::{HEADER, cells};
use crate::outcome::{Distribution, Outcome, StageTimes};
use crate::report::count;

const HOW_TO_READ: &str = "<p>Latency counts from the moment a request was due, not from when it was sent: what a stall \
makes late is late for everyone who would have come during it. Service counts from the send. The difference between \
the two is the wait for a free connection and the load generator's own lag, which is shown beside them; a run whose \
lag matters is INVALID. In a closed loop a request is due when the answer before it was read.</p>\n<p>The curve of percentiles widens the tail: each step to the right is ten times rarer. \
In its shaded part fewer than ten samples lie beyond, so that another run may well differ there. A percentile with \
fewer than ten samples beyond it is a dash in the tables.</p>\n";

pub fn render(outcome: &Outcome) -> String {
    let slo_us = slo_us(&outcome.scenario);
    let verdict = &outcome.verdict;
    let standing = if verdict.valid { Standing::Valid } else { Standing::Invalid };
    let remarks: Vec<String> =
        verdict.remarks.iter().cloned().chain(of_failures(outcome)).collect();
    let body = [
        banner(standing, &verdict.reasons, &remarks),
        cards(&headline(outcome)),
        latency(outcome, slo_us),
        timeline(outcome, slo_us),
        outcome.stages.as_ref().map(stages).unwrap_or_default(),
        failures(outcome),
        section("The load generator itself", &facts(&own_cost(outcome))),
        section("What was asked for", &facts(&scenario(&outcome.scenario))),
        environment(&outcome.environment),
        section("How to read this", HOW_TO_READ),
    ];
    let under = format!("{:.1} s measured, {}", outcome.totals.window_s, asked(&outcome.scenario));
    let page = Page {
        kind: "Hydrofoil load report",
        heading: &outcome.load,
        under: under.trim_end_matches([',', ' ']).to_owned(),
        standing,
        body: body.concat(),
    };
    page.render()
}

/// The scenario's `slo_ms`, where it has one.
pub fn slo_us(scenario: &Value) -> Option<f64> {
    scenario.get("slo_ms")?.as_f64().filter(|ms| *ms > 0.0).map(|ms| ms * 1e3)
}

/// A server that fails quickly must not look fast.
fn of_failures(outcome: &Outcome) -> Option<String> {
    let share = failed_share(&outcome.totals).filter(|_| outcome.totals.answered > 0)?;
    Some(format!("{} of the requests failed; latency is of right answers only", percent(share)))
}

fn asked(scenario: &Value) -> String {
    let named = |value: &Value, name: &str| value.get(name)?.as_str().map(str::to_owned);
    let model = named(scenario, "model").or_else(|| named(scenario.get("request")?, "model"));
    match (model, named(scenario, "url")) {
        (Some(model), Some(url)) => format!("{model} at {url}"),
        (model, url) => url.or(model).unwrap_or_default(),
    }
}

// ---- sections ----

fn headline(outcome: &Outcome) -> Vec<Card> {
    let (totals, summary) = (&outcome.totals, outcome.latency.summary);
    let failed = totals.failures.total();
    let latency = |what, us: Option<f64>, more: &str| Card {
        what,
        value: time_or_dash(us),
        more: us.map_or("too few answers to say", |_| more).to_owned(),
        alarm: false,
    };
    vec![
        latency("latency, median", summary.p50_us, "half took longer"),
        latency("latency, p99", summary.p99_us, "1 in 100 took longer"),
        latency("latency, p99.9", summary.p999_us, "1 in 1,000 took longer"),
        latency("latency, longest", summary.max_us, &samples(summary.samples)),
        Card {
            what: "throughput",
            value: format!("{}/s", quantity(totals.answered_per_second)),
            more: format!("of {}/s due", quantity(totals.offered_per_second)),
            alarm: totals.answered == 0,
        },
        Card {
            what: "failures",
            value: count(failed as f64),
            more: failed_share(totals).map_or_else(
                || "every answer was right".to_owned(),
                |share| format!("{} of the requests", percent(share)),
            ),
            alarm: failed > 0,
        },
    ]
}

fn samples(samples: u64) -> String {
    format!("of {} answers", count(samples as f64))
}

fn latency(outcome: &Outcome, slo_us: Option<f64>) -> String {
    if outcome.latency.summary.samples == 0 {
        return section(
            "Latency",
            "<p>Not one right answer came, so there is no latency to show.</p>\n",
        );
    }
    let mut rows = vec![
        row("latency, from the due time", &outcome.latency),
        row("service, from the send", &outcome.service),
        row("send lag", &outcome.send_lag),
        row("read lag", &outcome.read_lag),
    ];
    if outcome.blocked.summary.samples > 0 {
        rows.push(row("wait for a connection", &outcome.blocked));
    }
    let caption = samples(outcome.latency.summary.samples);
    section("Latency", &(charts::by_percentile(outcome, slo_us) + &table(&caption, &HEADER, &rows)))
}

fn row(name: &str, distribution: &Distribution) -> Vec<String> {
    std::iter::once(name.to_owned()).chain(cells(distribution)).collect()
}

fn timeline(outcome: &Outcome, slo_us: Option<f64>) -> String {
    if outcome.timeline.is_empty() {
        return String::new();
    }
    section("Over time", &charts::over_time(outcome, slo_us))
}

fn stages(stages: &StageTimes) -> String {
    let rows = [
        row("network and client", &stages.network),
        row("queue", &stages.queue),
        row("lane", &stages.lane),
        row("model", &stages.model),
    ];
    let told = "<p>As the server tells with each answer. The network's part is what the server doesn't account for: \
                the way there and back, its parsing, and the client. Means add up to the mean service time; \
                percentiles don't.</p>\n";
    let body =
        format!("{told}{}{}", charts::stage_bar(stages), table("each stage", &HEADER, &rows));
    section("Where the time went", &body)
}

fn failures(outcome: &Outcome) -> String {
    let failures = &outcome.totals.failures;
    let all = outcome.totals.due.max(failures.total()).max(1) as f64;
    let kinds = failures_in_words(failures);
    if kinds.is_empty() {
        return String::new();
    }
    let row = |(number, kind): (u64, &str)| {
        vec![kind.to_owned(), count(number as f64), percent(number as f64 / all)]
    };
    let rows: Vec<Vec<String>> = kinds.into_iter().map(row).collect();
    section("Failures", &table("by kind", &["what", "count", "of the requests"], &rows))
}

fn own_cost(outcome: &Outcome) -> Vec<(String, String)> {
    let (client, totals) = (&outcome.client, &outcome.totals);
    let p99 = |of: &Distribution| time_or_dash(of.summary.p99_us);
    let rows = [
        (
            "processor time",
            client.cpu_us_per_request.map_or_else(
                || super::figures::DASH.to_owned(),
                |us| format!("{} an answer", time(us)),
            ),
        ),
        ("share of one core", percent(client.cpu_share)),
        ("sent late, p99", p99(&outcome.send_lag)),
        ("read late, p99", p99(&outcome.read_lag)),
        ("requests due", count(totals.due as f64)),
        ("requests sent", count(totals.sent as f64)),
        ("answered in the window", count(totals.answered as f64)),
        ("connections opened late", count(totals.opened as f64)),
    ];
    rows.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// A fact for each value, named by the way to it; lists are shown as JSON.
fn scenario(scenario: &Value) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    gather("", scenario, &mut facts);
    facts
}

/// Ends where the JSON does, whose depth its parser bounds.
fn gather(name: &str, value: &Value, facts: &mut Vec<(String, String)>) {
    let told = match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let words = field.replace(['_', '-'], " ");
                gather(format!("{name} {words}").trim_start(), value, facts);
            }
            return;
        }
        Value::String(text) => text.clone(),
        Value::Number(number) => number.as_f64().map_or_else(|| number.to_string(), plain),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Null | Value::Array(_) => value.to_string(),
    };
    facts.push((name.to_owned(), told));
}

/// Every digit, grouped where it is whole.
fn plain(number: f64) -> String {
    if number.fract() == 0.0 { count(number) } else { number.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::examples::{failing, good, invalid, partial, short, unanswered};

    #[test]
    fn a_report_stands_alone() {
        let page = render(&good());
        for outside in ["http-equiv", "<script", "<link", "<img", "url(", "@import", "src="] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
        assert!(!page.contains("NaN") && !page.contains(">inf"));
    }

    #[test]
    fn a_valid_run_shows_its_figures_and_its_objective() {
        let page = render(&good());
        assert!(page.contains("<strong>VALID</strong>") && !page.contains("INVALID</strong>"));
        assert!(page.contains("objective 20.0 ms") && page.contains("id=\"stages-wide-title\""));
        assert!(page.contains("open loop, Poisson, 2,000 requests/s"));
    }

    #[test]
    fn an_invalid_run_says_so_before_any_figure() {
        let page = render(&invalid());
        let (said, figure) = (page.find("INVALID</strong>"), page.find("class=\"cards\""));
        assert!(said.is_some() && said < figure && page.contains("<body class=\"invalid\">"));
        assert!(page.contains("<title>INVALID: ") && !page.contains("<strong>VALID"));
        assert!(page.contains("requests were sent"), "the reason");
    }

    #[test]
    fn failures_are_told_by_kind_and_marked_in_time() {
        let page = render(&failing());
        assert!(page.contains("2.50 % of the requests failed"));
        assert!(
            page.contains("answers with the wrong status") && page.contains("class=\"cross bad\"")
        );
        assert!(!render(&good()).contains("class=\"cross bad\""));
    }

    #[test]
    fn a_run_without_answers_has_a_report() {
        let page = render(&unanswered());
        assert!(page.contains("Not one right answer came") && !page.contains("NaN"));
        assert!(page.contains("Throughput over time") && !page.contains("Latency over time"));
    }

    #[test]
    fn too_few_samples_are_a_dash_and_a_stopped_run_is_remarked() {
        assert!(render(&short()).contains("<td>–</td>"));
        assert!(render(&partial()).contains("stopped before its time"));
    }

    #[test]
    fn a_scenario_is_told_value_by_value() {
        let told = serde_json::json!({
            "url": "http://there",
            "run": { "warm-up": 1.5, "allow-remote": false },
            "request": { "model": "noop", "seed": 12_345, "check": { "same-answer": true } },
            "stages": [{ "rate": 5 }],
        });
        let facts = scenario(&told);
        let of = |name: &str| facts.iter().find(|fact| fact.0 == name).map(|fact| fact.1.as_str());
        assert_eq!((of("run warm up"), of("run allow remote")), (Some("1.5"), Some("no")));
        assert_eq!(
            (of("request seed"), of("request check same answer")),
            (Some("12,345"), Some("yes"))
        );
        assert_eq!(of("stages"), Some("[{\"rate\":5}]"));
        assert_eq!(asked(&told), "noop at http://there");
        assert_eq!(asked(&serde_json::json!({})), "");
    }

    #[test]
    fn what_came_from_outside_is_escaped() {
        let mut outcome = good();
        let attack = "</style><script>alert(1)</script>";
        outcome.load = attack.to_owned();
        outcome.scenario = serde_json::json!({ "url": attack, attack: attack, "more": [attack] });
        outcome.environment.server = Some(attack.to_owned());
        outcome.environment.command_line.push(attack.to_owned());
        outcome.verdict.remarks.push(attack.to_owned());
        let page = render(&outcome);
        assert!(!page.contains("<script") && page.matches("</style>").count() == 1, "escaped");
    }
}
