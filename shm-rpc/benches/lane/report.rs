//! What the rounds found, for people and for programs.

use std::collections::BTreeMap;

use bench::compare::{Spread, ratios, spread};
use bench::report::Table;
use serde_json::{Map, Value, json};
use shm_rpc::Memory;

pub(crate) const SPIN: &str = "rtt_spin_ns";
pub(crate) const SPIN_P99: &str = "rtt_spin_p99_ns";
pub(crate) const LINE: &str = "cache_line_rtt_ns";
/// Gathering into each kind of memory, and onto huge pages.
pub(crate) const GATHERS: [(&str, Memory, bool); 3] = [
    ("gather_us_per_mib", Memory::Memfd, false),
    ("gather_huge_us_per_mib", Memory::Memfd, true),
    ("gather_posix_us_per_mib", Memory::Posix, false),
];

/// The names of what a round of sleeping found.
#[derive(Clone, Copy)]
pub(crate) struct Sleeping {
    pub(crate) lane: &'static str,
    pub(crate) futex: &'static str,
    pub(crate) ratio: &'static str,
}

pub(crate) const ONE_CORE: Sleeping = Sleeping {
    lane: "rtt_sleep_one_core_us",
    futex: "bare_futex_one_core_us",
    ratio: "rtt_sleep_over_futex_one_core",
};
pub(crate) const ACROSS: Sleeping = Sleeping {
    lane: "rtt_sleep_across_us",
    futex: "bare_futex_across_us",
    ratio: "rtt_sleep_over_futex_across",
};

/// A figure of each round, by its name.
#[derive(Default)]
pub(crate) struct Figures(BTreeMap<&'static str, Vec<f64>>);

impl Figures {
    pub(crate) fn put(&mut self, name: &'static str, value: f64) {
        self.0.entry(name).or_default().push(value);
    }

    /// Every figure with its spread over the rounds; ratios round by round.
    fn spreads(&self) -> Vec<(&'static str, Spread)> {
        let figures = self.0.iter().filter_map(|(name, values)| Some((*name, spread(values)?)));
        let ratios = [ONE_CORE, ACROSS].into_iter().filter_map(|names| {
            let pairs: Vec<_> = self.rounds(names.lane).zip(self.rounds(names.futex)).collect();
            Some((names.ratio, ratios(&pairs)?))
        });
        figures.chain(ratios).collect()
    }

    fn rounds(&self, name: &str) -> impl Iterator<Item = f64> {
        self.0.get(name).into_iter().flatten().copied()
    }

    /// One JSON object on a line: medians by name.
    pub(crate) fn line(&self) -> String {
        let medians = self.spreads().into_iter();
        let medians: Map<String, Value> =
            medians.map(|(name, found)| (name.to_owned(), json!(rounded(found.median)))).collect();
        format!("{}\n", Value::Object(medians))
    }

    pub(crate) fn table(&self) -> String {
        let mut table = Table::new(&["lane", "median", "min", "max"]);
        for (name, found) in self.spreads() {
            let cells = [found.median, found.min, found.max].map(|value| format!("{value:.2}"));
            let [median, min, max] = cells;
            table.row([name.to_owned(), median, min, max]);
        }
        table.to_string()
    }
}

/// Three decimals are more than any of this is good for.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
