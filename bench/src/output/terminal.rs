//! A finished run as a table, with its verdict as the last line.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::figures::{failed_share, failures_in_words, percent, quantity, time, time_or_dash};
use crate::outcome::{Distribution, Outcome};
use crate::report::{Table, count};

/// The names of what [`cells`] gives, with the row's name before them.
pub(super) const HEADER: [&str; 8] = ["", "p50", "p90", "p99", "p99.9", "p99.99", "max", "mean"];

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const WARN: Style = AnsiColor::Yellow.on_default();
const TITLE: Style = Style::new().bold();

/// To standard output, in colours where that is a terminal.
pub fn print(outcome: &Outcome) {
    anstream::print!("{}", render(outcome));
}

/// With colours; [`anstream`] takes them out where nobody sees them. Pure.
pub fn render(outcome: &Outcome) -> String {
    let mut lines = vec![styled(TITLE, &title(outcome)), String::new()];
    lines.extend(table(outcome).to_string().lines().map(str::to_owned));
    lines.push(String::new());
    lines.push(totals(outcome));
    let failures = failures_in_words(&outcome.totals.failures);
    let told =
        |(number, kind): &(u64, &str)| styled(BAD, &format!("  {} {kind}", count(*number as f64)));
    lines.extend(failures.iter().map(told));
    lines.push(own_cost(outcome));
    let remarks = &outcome.verdict.remarks;
    lines.extend(remarks.iter().map(|remark| styled(WARN, &format!("note: {remark}"))));
    lines.push(verdict(outcome));
    lines.join("\n") + "\n"
}

/// One distribution's cells, after its name.
pub(super) fn cells(of: &Distribution) -> [String; 7] {
    let summary = of.summary;
    let tail = [summary.p99_us, summary.p999_us, of.p9999_us];
    let [p99, p999, p9999] = tail.map(time_or_dash);
    let [p50, p90] = [summary.p50_us, of.p90_us].map(time_or_dash);
    let [max, mean] = [summary.max_us, of.mean_us].map(time_or_dash);
    [p50, p90, p99, p999, p9999, max, mean]
}

fn title(outcome: &Outcome) -> String {
    let stopped = if outcome.partial { ", stopped early" } else { "" };
    format!("{}, {:.1} s measured{stopped}", outcome.load, outcome.totals.window_s)
}

fn table(outcome: &Outcome) -> Table {
    let mut table = Table::new(&HEADER);
    let mut row = |name: &str, of: &Distribution| {
        table.row(std::iter::once(name.to_owned()).chain(cells(of)));
    };
    row("latency, from the due time", &outcome.latency);
    row("service, from the send", &outcome.service);
    row("send lag", &outcome.send_lag);
    row("read lag", &outcome.read_lag);
    if outcome.blocked.summary.samples > 0 {
        row("wait for a connection", &outcome.blocked);
    }
    if let Some(stages) = &outcome.stages {
        row("  network and client", &stages.network);
        row("  queue", &stages.queue);
        row("  lane", &stages.lane);
        row("  model", &stages.model);
    }
    table
}

fn totals(outcome: &Outcome) -> String {
    let totals = &outcome.totals;
    let failed = count(totals.failures.total() as f64);
    let told = |share| styled(BAD, &format!("{failed} failures ({}):", percent(share)));
    let failures = failed_share(totals).map_or_else(|| "no failures".to_owned(), told);
    let (answered, due) = (count(totals.answered as f64), count(totals.due as f64));
    let (per_second, due_per_second) =
        (quantity(totals.answered_per_second), quantity(totals.offered_per_second));
    format!("{answered} answered of {due} due, {per_second}/s of {due_per_second}/s, {failures}")
}

fn own_cost(outcome: &Outcome) -> String {
    let client = &outcome.client;
    let mut line = format!("load generator: {} of a core", percent(client.cpu_share));
    if let Some(us) = client.cpu_us_per_request {
        let _always_ok = write!(line, ", {} an answer", time(us));
    }
    if outcome.totals.opened > 0 {
        let opened = count(outcome.totals.opened as f64);
        let _always_ok = write!(line, ", {opened} connections opened on the way");
    }
    line
}

fn verdict(outcome: &Outcome) -> String {
    let verdict = &outcome.verdict;
    if verdict.valid {
        styled(GOOD, "VALID")
    } else {
        styled(BAD, &format!("INVALID: {}", verdict.reasons.join("; ")))
    }
}

fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::examples::{failing, good, invalid, partial, short, unanswered};

    fn plain(outcome: &Outcome) -> Vec<String> {
        let text = anstream::adapter::strip_str(&render(outcome)).to_string();
        text.lines().map(str::to_owned).collect()
    }

    fn line<'a>(lines: &'a [String], starts: &str) -> &'a str {
        lines.iter().find(|line| line.trim_start().starts_with(starts)).expect(starts)
    }

    #[test]
    fn the_load_comes_first_and_the_verdict_last() {
        let lines = plain(&good());
        assert_eq!(lines[0], "open loop, Poisson, 2,000 requests/s, 10.0 s measured");
        assert_eq!(lines.last().map(String::as_str), Some("VALID"));
        let header: Vec<&str> = line(&lines, "p50").split_whitespace().collect();
        assert_eq!(header, HEADER[1..].to_vec());
        assert!(line(&lines, "queue").contains("µs"), "{lines:#?}");
        assert!(!lines.iter().any(|line| line.contains("wait for a connection")));
    }

    #[test]
    fn an_invalid_run_ends_with_its_reasons() {
        let lines = plain(&invalid());
        let last = lines.last().expect("a verdict");
        assert!(last.starts_with("INVALID: requests were sent") && last.contains("; "), "{last}");
    }

    #[test]
    fn failures_are_told_in_words() {
        let lines = plain(&failing());
        assert!(line(&lines, "19,500 answered").contains("500 failures (2.50 %):"), "{lines:#?}");
        assert!(line(&lines, "480 ").contains("answers with the wrong status"));
        assert!(line(&lines, "wait for a connection").contains("ms"));
    }

    #[test]
    fn what_can_not_be_said_is_a_dash() {
        let lines = plain(&short());
        let cells: Vec<&str> =
            line(&lines, "service").split("  ").filter(|c| !c.is_empty()).collect();
        assert_eq!(cells[3..6].iter().map(|cell| cell.trim()).collect::<Vec<_>>(), ["–"; 3]);
        let none = plain(&unanswered());
        assert!(line(&none, "latency").ends_with('–') && line(&none, "note:").contains("not one"));
    }

    #[test]
    fn a_stopped_run_says_so_in_its_first_line() {
        assert!(plain(&partial())[0].ends_with("stopped early"));
    }
}
