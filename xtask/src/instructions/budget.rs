//! What each figure may be, and what to say of what it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Beyond the noise of the count (0.01 %) and of small changes next to a figure; a change that costs more is a decision.
const GROWTH_PERCENT_MAX: f64 = 3.0;

const HEAD: &str = "# Instructions per request, counted on the engine's core: `cargo xtask instructions` fails where one grows by more
# than 3 %. `--record` rewrites this file; counts of another compiler are shown and not judged.
";
const FIGURES: &str = "instructions_per_request";

/// Figures, and the compiler that they hold for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    pub(super) rustc: String,
    pub(super) figures: BTreeMap<String, u64>,
}

impl Budget {
    pub(super) fn parse(text: &str) -> Result<Budget, String> {
        let table: toml::Table = text.parse().map_err(|error| format!("{error}"))?;
        let rustc = table.get("rustc").and_then(|it| it.as_str()).ok_or("it names no rustc")?;
        let figures = table.get(FIGURES).and_then(|it| it.as_table());
        let figures = figures.ok_or_else(|| format!("it has no table {FIGURES}"))?;
        let number = |(name, value): (&String, &toml::Value)| {
            let number = value.as_integer().and_then(|it| u64::try_from(it).ok());
            let number = number.filter(|&it| it > 0).ok_or(format!("{name} is no count"))?;
            Ok((name.clone(), number))
        };
        let figures = figures.iter().map(number).collect::<Result<_, String>>()?;
        Ok(Budget { rustc: rustc.to_owned(), figures })
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = format!("{HEAD}rustc = \"{}\"\n\n[{FIGURES}]\n", self.rustc);
        for (name, count) in &self.figures {
            let _ = writeln!(text, "{name} = {count}");
        }
        text
    }

    /// For people: figure, budget, measured, change.
    pub(super) fn table(&self, measured: &Budget) -> String {
        let mut text =
            format!("{:<24} {:>10} {:>10} {:>8}\n", "a request", "budget", "now", "change");
        for name in self.names(measured) {
            let [budget, now] = [self, measured].map(|it| it.figures.get(name));
            let change = budget.zip(now).map(|(&budget, &now)| growth_percent(budget, now));
            let [budget, now] = [budget, now].map(|it| it.map_or("-".to_owned(), u64::to_string));
            let change = change.map_or("-".to_owned(), |change| format!("{change:+.2} %"));
            let _ = writeln!(text, "{name:<24} {budget:>10} {now:>10} {change:>8}");
        }
        text
    }

    /// A remark, or what is wrong.
    pub(super) fn verdict(&self, measured: &Budget) -> Result<String, String> {
        if self.rustc != measured.rustc {
            let (theirs, ours) = (&self.rustc, &measured.rustc);
            return Ok(format!(
                "not judged: the budget is {theirs}'s, this is {ours}; --record it"
            ));
        }
        let strangers: Vec<_> =
            self.names(measured).filter(|name| !self.both(measured, name)).collect();
        if !strangers.is_empty() {
            return Err(format!(
                "budget and benchmark do not both know {}; use --record",
                strangers.join(", ")
            ));
        }
        let grown = self.beyond(measured, |growth| growth > GROWTH_PERCENT_MAX);
        if !grown.is_empty() {
            return Err(format!(
                "grown by more than {GROWTH_PERCENT_MAX} %: {}; make it cheaper, or --record and say why",
                grown.join(", ")
            ));
        }
        let shrunk = self.beyond(measured, |growth| growth < -GROWTH_PERCENT_MAX);
        Ok(match shrunk.is_empty() {
            true => "within the budget".to_owned(),
            false => {
                format!("cheaper than the budget: {}; --record it to keep it so", shrunk.join(", "))
            }
        })
    }

    /// The figures that either has.
    fn names<'b>(&'b self, measured: &'b Budget) -> impl Iterator<Item = &'b str> {
        let all: BTreeSet<_> = self.figures.keys().chain(measured.figures.keys()).collect();
        all.into_iter().map(String::as_str)
    }

    fn both(&self, measured: &Budget, name: &str) -> bool {
        self.figures.contains_key(name) && measured.figures.contains_key(name)
    }

    fn beyond(&self, measured: &Budget, is_beyond: impl Fn(f64) -> bool) -> Vec<&str> {
        let growths = self.figures.iter().filter_map(|(name, &budget)| {
            let now = *measured.figures.get(name)?;
            Some((name.as_str(), growth_percent(budget, now)))
        });
        growths.filter(|&(_, growth)| is_beyond(growth)).map(|(name, _)| name).collect()
    }
}

fn growth_percent(budget: u64, now: u64) -> f64 {
    100.0 * (now as f64 / budget as f64 - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(figures: &[(&str, u64)]) -> Budget {
        let figures = figures.iter().map(|&(name, count)| (name.to_owned(), count)).collect();
        Budget { rustc: "rustc 1.95.0".to_owned(), figures }
    }

    #[test]
    fn what_is_recorded_is_read_back() {
        let recorded = budget(&[("binary_batch_1", 66_000), ("json_batch_1", 213_000)]);
        assert_eq!(Budget::parse(&recorded.to_text()), Ok(recorded));
    }

    #[test]
    fn a_file_that_is_no_budget_is_refused() {
        for text in ["", "rustc = \"x\"", "rustc = \"x\"\n[instructions_per_request]\na = 0"] {
            assert!(Budget::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn growth_beyond_three_percent_fails_and_names_the_figure() {
        let before = budget(&[("a", 1_000), ("b", 1_000)]);
        assert!(before.verdict(&budget(&[("a", 1_029), ("b", 971)])).is_ok());
        let error = before.verdict(&budget(&[("a", 1_031), ("b", 900)])).expect_err("a grew");
        assert!(error.contains("%: a;"), "{error}");
    }

    #[test]
    fn another_compiler_is_not_judged() {
        let mut now = budget(&[("a", 9_000)]);
        now.rustc = "rustc 1.99.0".to_owned();
        let remark = budget(&[("a", 1_000)]).verdict(&now).expect("it fails nothing");
        assert!(remark.contains("1.99.0"), "{remark}");
    }

    #[test]
    fn a_figure_without_a_budget_and_a_budget_without_a_figure_fail() {
        let (one, two) = (budget(&[("a", 1)]), budget(&[("a", 1), ("b", 1)]));
        assert!(one.verdict(&two).is_err() && two.verdict(&one).is_err());
        assert!(one.table(&two).contains('-'));
    }

    #[test]
    fn a_figure_that_became_cheaper_is_worth_recording() {
        let remark = budget(&[("a", 1_000)]).verdict(&budget(&[("a", 900)])).expect("no failure");
        assert!(remark.contains("--record"), "{remark}");
    }
}
