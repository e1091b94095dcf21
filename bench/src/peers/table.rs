//! The results as Markdown: for the terminal, and for the part of a file between two marks.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::check::{CALLERS, ROUNDS};
use super::ratios::{Due, Figures, GOALS, OfCell, cpu_over, p50_over, p50_single, rps};
use super::record::{CROWD, Failures, HYPER, Open, Pair, Record, Sample, over};
use super::settings::setting_named;
use crate::compare::Spread;
use crate::overhead::measure::CLIENT_SHARE_MIN;
use crate::report::count;

const BEGIN: &str = "<!-- peers:begin -->";
const END: &str = "<!-- peers:end -->";

/// The text with what lies between the marks replaced; with both marks at its end where it has none.
pub(super) fn replaced(text: &str, section: &str) -> String {
    let marked = format!("{BEGIN}\n{}\n{END}", section.trim_end());
    let marks = text.find(BEGIN).zip(text.find(END)).filter(|(begin, end)| begin < end);
    match marks {
        Some((begin, end)) => format!("{}{marked}{}", &text[..begin], &text[end + END.len()..]),
        None => format!("{}\n\n{marked}\n", text.trim_end()),
    }
}

pub(super) fn section(
    cells: &[OfCell<'_>],
    figures: &Figures,
    skipped: &[(String, String)],
) -> String {
    let mut text = String::from("## Beside other servers\n\n");
    let all: Vec<&Record> = cells.iter().flat_map(|cell| cell.records.iter().copied()).collect();
    text.push_str(&method(&all));
    text.push_str(&goals(figures));
    for cell in cells.iter().filter(|cell| !cell.records.is_empty()) {
        text.push_str(&of_cell(cell));
    }
    text.push_str(&opened(cells));
    text.push_str(&settings(&all, skipped));
    text
}

fn method(all: &[&Record]) -> String {
    let distinct = |of: fn(&Record) -> String| {
        let found: BTreeSet<String> = all.iter().map(|record| of(record)).collect();
        found.into_iter().collect::<Vec<_>>().join("; ")
    };
    let machines = distinct(|record| record.made.machine.clone());
    let revisions = distinct(|record| record.made.revision.clone());
    let pairs = distinct(|record| record.made.pairs.to_string());
    let seconds = distinct(|record| record.made.seconds.to_string());
    let disturbed: usize = all.iter().map(|record| record.disturbed(CLIENT_SHARE_MIN)).sum();
    format!(
        "`cargo xtask peers --json` on {machines}; ours at {revisions}. Each peer in turn beside ours, {pairs} interleaved pairs of {seconds} s \
         whose order alternates: the server's whole tree on one core, the spinning client on the other; 64 connections closed \
         loop, then one. One row a request, one worker, one thread of linear algebra. Medians over pairs, in brackets the \
         least and the most; ratios are taken pair by pair, ours ÷ theirs. Every server but bare hyper has first answered {CALLERS} different rows, \
         {ROUNDS} times each, all {CALLERS} callers at once, held against the same weights in double precision; under load the status, and for `noop` the body's \
         bytes, are compared, and what fails is counted. Pairs that other work disturbed and that stayed in: {disturbed}.\n\n"
    )
}

fn goals(figures: &Figures) -> String {
    let mut text = String::from("| key | what | measured | due | |\n|---|---|---|---|---|\n");
    for goal in &GOALS {
        let due = match goal.due {
            Due::AtLeast(bound) => format!("≥ {bound}"),
            Due::AtMost(bound) => format!("≤ {}", (bound * 1e3).round() / 1e3),
        };
        let (measured, verdict) = match figures.get(goal.key) {
            Some(&value) => {
                (value.to_string(), if goal.due.is_met(value) { "met" } else { "**missed**" })
            }
            None => ("-".to_owned(), "not measured"),
        };
        let _ =
            writeln!(text, "| `{}` | {} | {measured} | {due} | {verdict} |", goal.key, goal.what);
    }
    text.push('\n');
    text
}

fn of_cell(cell: &OfCell<'_>) -> String {
    let mut text = format!("### {}\n\n", cell.cell);
    text.push_str(
        "| setting | requests/s | ours ÷ theirs | CPU µs/request | p50 µs, 1 connection | ours ÷ theirs | PSS MiB | errors |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    if let Some(ours) = pooled(cell) {
        text.push_str(&row("ours", &ours, |pair| &pair.ours, 0, [None, None]));
    }
    for record in cell.records.iter().filter(|record| record.against != CROWD) {
        let ratios = [rps(record), p50_single(record)];
        text.push_str(&row(&record.against, record, |pair| &pair.theirs, 1, ratios));
    }
    if let Some(hyper) = cell.named(HYPER) {
        let cpu = cpu_over(hyper).map_or_else(dash, |found| spread(&found));
        let p50 = p50_over(hyper).map_or_else(dash, |found| spread(&found));
        let _ = writeln!(
            text,
            "\nOurs above bare hyper: CPU {cpu} µs a request saturated, p50 {p50} µs at one connection."
        );
    }
    if let Some(found) = cell.named(CROWD).and_then(rps) {
        let _ = writeln!(text, "Ours at 256 connections ÷ at 64: {} requests/s.", spread(&found));
    }
    text.push('\n');
    text
}

/// Ours in all of the cell's comparisons, but for the one with other numbers of connections.
fn pooled(cell: &OfCell<'_>) -> Option<Record> {
    let records = || cell.records.iter().filter(|record| record.against != CROWD);
    let first: Record = (*records().next()?).clone();
    let opened = records().filter_map(|record| record.open.clone()).flat_map(|open| open.pairs);
    Some(Record {
        saturated: records().flat_map(|record| record.saturated.clone()).collect(),
        single: records().flat_map(|record| record.single.clone()).collect(),
        open: Some(Open { rate: 0.0, pairs: opened.collect() }),
        pss_mib: records()
            .map(|record| record.pss_mib)
            .fold([0.0; 2], |a, b| [a[0].max(b[0]), 0.0]),
        ..first
    })
}

fn row(
    name: &str,
    record: &Record,
    side: fn(&Pair) -> &Sample,
    index: usize,
    ratios: [Option<Spread>; 2],
) -> String {
    let [rps_ratio, p50_ratio] = ratios.map(|found| found.map_or_else(dash, |it| spread(&it)));
    let saturated = over(&record.saturated, |pair| side(pair).requests_per_second);
    let cpu = over(&record.saturated, |pair| side(pair).cpu_us);
    let single = over(&record.single, |pair| side(pair).p50_us);
    let rps = saturated.map_or_else(dash, |it| {
        format!("{} ({}–{})", count(it.median), count(it.min), count(it.max))
    });
    let [cpu, p50] = [cpu, single].map(|found| found.map_or_else(dash, |it| spread(&it)));
    let (pss, failures) = (record.pss_mib[index], counted(&record.failures()[index]));
    format!(
        "| {name} | {rps} | {rps_ratio} | {cpu} | {p50} | {p50_ratio} | {pss:.0} | {failures} |\n"
    )
}

fn opened(cells: &[OfCell<'_>]) -> String {
    let mut text = String::from(
        "### Open loop at half of the peer's own rate\n\nLatency from the due time, 64 connections, µs.\n\n\
         | cell, setting | rate/s | theirs p50 | p99 | ours p50 | p99 |\n|---|---|---|---|---|---|\n",
    );
    let mut rows = 0;
    for record in cells.iter().flat_map(|cell| &cell.records) {
        let Some(open) = &record.open else { continue };
        let median = |figure: fn(&Pair) -> f64| {
            over(&open.pairs, figure).map_or_else(dash, |it| spread(&it))
        };
        let _ = writeln!(
            text,
            "| {} {} | {} | {} | {} | {} | {} |",
            record.cell,
            record.against,
            count(open.rate),
            median(|pair| pair.theirs.p50_us),
            median(|pair| pair.theirs.p99_us.unwrap_or(f64::NAN)),
            median(|pair| pair.ours.p50_us),
            median(|pair| pair.ours.p99_us.unwrap_or(f64::NAN)),
        );
        rows += 1;
    }
    text.push('\n');
    if rows == 0 { String::new() } else { text }
}

fn settings(all: &[&Record], skipped: &[(String, String)]) -> String {
    let mut text = String::from("### Settings and versions\n\n");
    let measured: BTreeSet<&str> = all.iter().map(|record| record.against.as_str()).collect();
    for setting in measured.iter().filter_map(|name| setting_named(name)) {
        let _ = writeln!(text, "- `{}`: {}.", setting.name, setting.what);
    }
    if measured.contains(HYPER) {
        let _ = writeln!(
            text,
            "- `{HYPER}`: the floor: bare hyper, which drains the body and answers 40 bytes; no peer."
        );
    }
    let versions: BTreeSet<String> = all
        .iter()
        .flat_map(|record| &record.made.versions)
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    let versions = versions.into_iter().collect::<Vec<_>>().join(", ");
    let _ = writeln!(text, "\nVersions: {versions}.");
    for (what, why) in skipped {
        let _ = writeln!(text, "\nSkipped: {what}: {why}");
    }
    text
}

fn counted(failures: &Failures) -> String {
    let kinds = failures.iter().map(|(kind, count)| format!("{count} {kind}"));
    let kinds = kinds.collect::<Vec<_>>().join(", ");
    if kinds.is_empty() { "0".to_owned() } else { kinds }
}

fn dash() -> String {
    "-".to_owned()
}

/// Two digits behind the point below ten, none from a thousand on.
fn spread(found: &Spread) -> String {
    let places = match found.median.abs() {
        it if it < 10.0 => 2,
        it if it < 1000.0 => 1,
        _ => 0,
    };
    format!("{:.places$} ({:.places$}–{:.places$})", found.median, found.min, found.max)
}

#[cfg(test)]
mod tests {
    use super::super::cell::Cell;
    use super::super::ratios::figures;
    use super::super::record::tests::record;
    use super::*;

    #[test]
    fn only_what_lies_between_the_marks_changes() {
        let text = format!("# Results\n\n{BEGIN}\nold\n{END}\n\n## More\n");
        let changed = replaced(&text, "new\n");
        assert_eq!(changed, format!("# Results\n\n{BEGIN}\nnew\n{END}\n\n## More\n"));
        assert_eq!(replaced(&changed, "new"), changed, "writing it again changes nothing");
        assert_eq!(replaced("# Results\n", "new"), format!("# Results\n\n{BEGIN}\nnew\n{END}\n"));
    }

    #[test]
    fn the_section_shows_ratios_errors_goals_and_what_was_left_out() {
        let mut of_mosec = record("noop/bin", "mosec_1ms", 3.0);
        of_mosec.saturated[0].theirs.failures.insert("closed".to_owned(), 5);
        of_mosec.made.versions.insert("mosec".to_owned(), "0.9.8".to_owned());
        let records = [of_mosec, record("noop/bin", HYPER, 0.5)];
        let cells = [OfCell::of(Cell::from_name("noop/bin").expect("a cell"), &records)];
        let skipped = [("triton".to_owned(), "no registry here".to_owned())];
        let text = section(&cells, &figures(&cells), &skipped);
        let row = "| mosec_1ms | 19,444 (13,725–23,333) | 3.00 (3.00–3.00) | 50.4 (42.0–71.4) | 288.0 (240.0–408.0) \
                   | 0.33 (0.33–0.33) | 120 | 5 closed |";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("| `noop_bin_rps_vs_mosec` | requests/s, noop binary, ÷ mosec's best | 3 | ≥ 2.3 | met |"));
        assert!(text.contains(
            "`noop_bin_p50c1_over_hyper_us` | µs above bare hyper | 48 | ≤ 45 | **missed** |"
        ));
        assert!(text.contains("| not measured |"));
        assert!(text.contains("Skipped: triton: no registry here"));
        assert!(text.contains("mosec 0.9.8"));
    }
}
