//! What was found, as one JSON document and as a page for people. Pure.

use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;

use super::step::{Due, Figure, Findings, Stop, Verdict};

/// Of the document. Another number: fields have another meaning.
const FORMAT: u32 = 1;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    format: u32,
    pub(super) version: &'static str,
    pub(super) at_unix_s: u64,
    /// None: what a GPU is needed for was skipped.
    pub(super) gpu: Option<String>,
    pub(super) seconds: f64,
    counts: Counts,
    steps: Vec<Entry>,
}

/// Figures by their verdict, steps by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    pub(super) passed: usize,
    pub(super) missed: usize,
    pub(super) done: usize,
    pub(super) skipped: usize,
    pub(super) failed: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    outcome: Outcome,
    /// Why it was skipped, or how it failed.
    why: Option<String>,
    note: String,
    pub(super) seconds: f64,
    figures: Vec<Figure>,
    detail: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Done,
    Skipped,
    Failed,
}

impl Entry {
    pub(super) fn of(name: &'static str, found: Result<Findings, Stop>, seconds: f64) -> Entry {
        let (outcome, why, found) = match found {
            Ok(found) => (Outcome::Done, None, found),
            Err(Stop::Skip(why)) => (Outcome::Skipped, Some(why), Findings::default()),
            Err(Stop::Fail(why)) => (Outcome::Failed, Some(why), Findings::default()),
        };
        let Findings { note, figures, detail } = found;
        Entry { name, outcome, why, note, seconds, figures, detail }
    }

    /// One line for who watches.
    pub(super) fn line(&self) -> String {
        let note = Some(self.note.clone()).filter(|note| !note.is_empty());
        let figures: Vec<String> =
            note.into_iter().chain(self.figures.iter().map(figure)).collect();
        let said = match (self.outcome, &self.why) {
            (Outcome::Done, _) => figures.join("; "),
            (Outcome::Skipped, why) => format!("skipped: {}", why.as_deref().unwrap_or_default()),
            (Outcome::Failed, why) => format!("FAILED: {}", why.as_deref().unwrap_or_default()),
        };
        format!("{:<20} {:>5.1} s  {said}", self.name, self.seconds).trim_end().to_owned()
    }
}

impl Report {
    pub(super) fn of(
        steps: Vec<Entry>,
        (gpu, at_unix_s): (Option<String>, u64),
        seconds: f64,
    ) -> Report {
        let counts = counts(&steps);
        let version = env!("CARGO_PKG_VERSION");
        Report { format: FORMAT, version, at_unix_s, gpu, seconds, counts, steps }
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain fields have JSON") + "\n"
    }

    pub(super) fn page(&self) -> String {
        let Counts { passed, missed, done, skipped, failed } = self.counts;
        let gpu = self.gpu.as_deref().unwrap_or("no GPU: what needs one was skipped");
        let mut text = format!(
            "# GPU check of Hydrofoil {}\n\n{gpu}. {:.0} s; {done} steps done, {skipped} skipped, {failed} failed; \
             of the figures that are due {passed} passed, {missed} missed.\n\n\
             | step | figure | value | due | |\n| --- | --- | ---: | --- | --- |\n",
            self.version, self.seconds
        );
        for step in &self.steps {
            rows(&mut text, step);
        }
        text
    }
}

fn rows(text: &mut String, step: &Entry) {
    let name = step.name;
    if let Some(why) = &step.why {
        let outcome = if step.outcome == Outcome::Failed { "**failed**" } else { "skipped" };
        // A table's cell is one line.
        let why = why.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
        let _ = writeln!(text, "| {name} | {why} | | | {outcome} |");
    }
    if !step.note.is_empty() {
        let _ = writeln!(text, "| {name} | {} | | | |", step.note);
    }
    for Figure { name: figure, value, unit, due, verdict } in &step.figures {
        let due = due.map_or(String::new(), |due| bound(due, unit));
        let verdict = said(*verdict);
        let _ = writeln!(
            text,
            "| {name} | {figure} | {} | {due} | {verdict} |",
            with_unit(*value, unit)
        );
    }
}

fn figure(figure: &Figure) -> String {
    let Figure { name, value, unit, due, verdict } = figure;
    let shown = format!("{name} {}", with_unit(*value, unit));
    match due {
        None => shown,
        Some(due) => format!("{shown} ({}, due {})", said(*verdict), bound(*due, unit)),
    }
}

fn said(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Miss => "MISS",
        Verdict::Noted => "",
    }
}

fn bound(due: Due, unit: &str) -> String {
    match due {
        Due::AtLeast(least) => format!("≥ {}", with_unit(least, unit)),
        Due::AtMost(most) => format!("≤ {}", with_unit(most, unit)),
    }
}

fn with_unit(value: f64, unit: &str) -> String {
    format!("{} {unit}", rounded(value)).trim_end().to_owned()
}

/// Three or four digits, whatever the size.
fn rounded(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => crate::report::count(value),
        size if size >= 100.0 || size.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.01 => format!("{value:.2}"),
        _ => format!("{value:.1e}"),
    }
}

fn counts(steps: &[Entry]) -> Counts {
    let of = |outcome| steps.iter().filter(|step| step.outcome == outcome).count();
    let figures = || steps.iter().flat_map(|step| &step.figures);
    let with = |verdict| figures().filter(|figure| figure.verdict == verdict).count();
    Counts {
        passed: with(Verdict::Pass),
        missed: with(Verdict::Miss),
        done: of(Outcome::Done),
        skipped: of(Outcome::Skipped),
        failed: of(Outcome::Failed),
    }
}

#[cfg(test)]
mod tests {
    use super::super::step::{fail, skip};
    use super::*;

    fn report() -> Report {
        let found = Findings::default()
            .figure("overhead", 6.25, "%", Some(Due::AtMost(5.0)))
            .figure("ratio", 0.9, "", Some(Due::AtLeast(0.85)))
            .figure("bare", 123_456.0, "rows/s", None);
        let steps = vec![
            Entry::of("speed", Ok(found), 12.0),
            Entry::of("copies", Err(skip("no GPU: no driver")), 0.0),
            Entry::of("native", Err(fail("exit 1:\n a | b")), 1.0),
            Entry::of("probe", Ok(Findings::default().noted("no driver")), 0.0),
        ];
        Report::of(steps, (None, 0), 13.0)
    }

    #[test]
    fn figures_and_steps_are_counted_by_what_became_of_them() {
        let counts = Counts { passed: 1, missed: 1, done: 2, skipped: 1, failed: 1 };
        assert_eq!(report().counts(), counts);
        let json: Value = serde_json::from_str(&report().json()).expect("JSON");
        assert_eq!(json["counts"]["missed"], 1);
        assert_eq!(json["steps"][0]["figures"][0]["due"]["at_most"], 5.0);
        assert_eq!(json["steps"][0]["figures"][0]["verdict"], "miss");
        assert_eq!(json["steps"][1]["why"], "no GPU: no driver");
    }

    #[test]
    fn the_page_has_a_row_for_each_figure_and_for_each_step_without() {
        let page = report().page();
        assert!(page.contains("| speed | overhead | 6.25 % | ≤ 5 % | MISS |"), "{page}");
        assert!(page.contains("| speed | bare | 123,456 rows/s |  |  |"), "{page}");
        assert!(page.contains("| copies | no GPU: no driver | | | skipped |"), "{page}");
        assert!(page.contains("| probe | no driver | | | |"), "{page}");
        assert!(page.contains("| native | exit 1: a \\| b | | | **failed** |"), "{page}");
    }

    #[test]
    fn a_line_says_what_a_step_found_or_why_it_did_not() {
        let lines: Vec<String> = report().steps.iter().map(Entry::line).collect();
        assert!(lines[0].contains("overhead 6.25 % (MISS, due ≤ 5 %); ratio 0.90 (pass"));
        assert!(lines[1].ends_with("skipped: no GPU: no driver"), "{}", lines[1]);
        assert!(lines[2].contains("FAILED: exit 1"));
    }

    #[test]
    fn numbers_have_few_digits_whatever_their_size() {
        let shown = [123_456.7, 123.4, 12.34, 1.234, 0.000_123, 0.0, 8.0].map(rounded);
        assert_eq!(shown, ["123,457", "123", "12.3", "1.23", "1.2e-4", "0", "8"]);
    }
}
