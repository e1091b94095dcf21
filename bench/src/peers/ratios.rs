//! What the records say, as ratios with names: the object that `--json` ends with, and the goals they are held to.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::cell::Cell;
use super::record::{CROWD, HYPER, Pair, Record, over};
use super::settings::{PEERS, Setting, setting_named};
use crate::compare::{Spread, differences, ratios};

/// All records of one cell.
pub(super) struct OfCell<'a> {
    pub(super) cell: Cell,
    pub(super) records: Vec<&'a Record>,
}

impl<'a> OfCell<'a> {
    pub(super) fn of(cell: Cell, all: &'a [Record]) -> OfCell<'a> {
        let name = cell.to_string();
        OfCell { cell, records: all.iter().filter(|record| record.cell == name).collect() }
    }

    pub(super) fn named(&self, against: &str) -> Option<&'a Record> {
        self.records.iter().copied().find(|record| record.against == against)
    }

    pub(super) fn settings(&self) -> impl Iterator<Item = (&'static Setting, &'a Record)> {
        self.records.iter().filter_map(|record| Some((setting_named(&record.against)?, *record)))
    }

    /// Where the peer serves the most.
    fn best(&self, wanted: impl Fn(&Setting) -> bool) -> Option<&'a Record> {
        let fitting = self.settings().filter(|(setting, _)| wanted(setting));
        let rated = fitting.filter_map(|(_, record)| Some((their_rps(record)?, record)));
        Some(rated.max_by(|a, b| a.0.total_cmp(&b.0))?.1)
    }

    /// The peer's hardest setting for a figure that should be low: the highest ratio.
    fn hardest(
        &self,
        wanted: impl Fn(&Setting) -> bool,
        figure: impl Fn(&Record) -> Option<Spread>,
    ) -> Option<f64> {
        let fitting = self.settings().filter(|(setting, _)| wanted(setting));
        let found = fitting.filter_map(|(_, record)| Some(figure(record)?.median));
        found.max_by(f64::total_cmp)
    }
}

fn their_rps(record: &Record) -> Option<f64> {
    Some(over(&record.saturated, |pair| pair.theirs.requests_per_second)?.median)
}

// ---- figures of one record, pair by pair ----

pub(super) fn rps(record: &Record) -> Option<Spread> {
    of_pairs(&record.saturated, |pair| {
        Some((pair.ours.requests_per_second, pair.theirs.requests_per_second))
    })
}

pub(super) fn p50_single(record: &Record) -> Option<Spread> {
    of_pairs(&record.single, |pair| Some((pair.ours.p50_us, pair.theirs.p50_us)))
}

fn p50_open(record: &Record) -> Option<Spread> {
    of_pairs(&record.open.as_ref()?.pairs, |pair| Some((pair.ours.p50_us, pair.theirs.p50_us)))
}

fn p99_open(record: &Record) -> Option<Spread> {
    of_pairs(&record.open.as_ref()?.pairs, |pair| Some((pair.ours.p99_us?, pair.theirs.p99_us?)))
}

fn of_pairs(pairs: &[Pair], figures: impl Fn(&Pair) -> Option<(f64, f64)>) -> Option<Spread> {
    ratios(&pairs.iter().filter_map(figures).collect::<Vec<_>>())
}

pub(super) fn cpu_over(record: &Record) -> Option<Spread> {
    let pairs = record.saturated.iter().map(|pair| (pair.ours.cpu_us, pair.theirs.cpu_us));
    differences(&pairs.collect::<Vec<_>>())
}

pub(super) fn p50_over(record: &Record) -> Option<Spread> {
    let pairs = record.single.iter().map(|pair| (pair.ours.p50_us, pair.theirs.p50_us));
    differences(&pairs.collect::<Vec<_>>())
}

// ---- all of them, by key ----

pub(super) type Figures = BTreeMap<String, f64>;

pub(super) fn figures(cells: &[OfCell<'_>]) -> Figures {
    let mut found = Figures::new();
    for cell in cells {
        for (key, value) in of_cell(cell) {
            if let Some(value) = value.filter(|value| value.is_finite()) {
                found.insert(format!("{}_{key}", cell.cell.key()), rounded(value));
            }
        }
    }
    let ours = cells.iter().flat_map(|cell| &cell.records).map(|record| record.pss_mib[0]);
    if let Some(pss_mib) = ours.max_by(f64::total_cmp) {
        found.insert("pss_mib".to_owned(), rounded(pss_mib));
    }
    found
}

fn of_cell(cell: &OfCell<'_>) -> Vec<(String, Option<f64>)> {
    let median = |found: Option<Spread>| found.map(|found| found.median);
    let mut found = vec![(
        "rps_vs_best_shipped".to_owned(),
        median(cell.best(Setting::is_shipped).and_then(rps)),
    )];
    for peer in &PEERS {
        found.extend(of_peer(cell, peer.name));
    }
    for (setting, record) in cell.settings() {
        // A peer with one setting has its figures under its own name already.
        if setting.name != setting.peer {
            found.push((format!("rps_vs_{}", setting.name), median(rps(record))));
            found.push((format!("p50c1_vs_{}", setting.name), median(p50_single(record))));
        }
    }
    if let Some(hyper) = cell.named(HYPER) {
        found.push(("cpu_us_over_hyper".to_owned(), median(cpu_over(hyper))));
        found.push(("p50c1_over_hyper_us".to_owned(), median(p50_over(hyper))));
    }
    if let Some(crowd) = cell.named(CROWD) {
        found.push(("c256_vs_c64".to_owned(), median(rps(crowd))));
    }
    found
}

/// Throughput against its best setting; latency against the one in which it is hardest to beat with batching on.
fn of_peer(cell: &OfCell<'_>, peer: &str) -> Vec<(String, Option<f64>)> {
    let is = |shipped: bool| move |it: &Setting| it.peer == peer && it.is_shipped() == shipped;
    let best = |shipped| cell.best(is(shipped)).and_then(rps).map(|found| found.median);
    let has_batching =
        cell.settings().any(|(setting, _)| setting.peer == peer && setting.is_batching());
    let compared = |it: &Setting| it.peer == peer && (it.is_batching() || !has_batching);
    vec![
        (format!("rps_vs_{peer}"), best(true)),
        (format!("rps_vs_{peer}_orjson"), best(false)),
        (format!("p50c1_vs_{peer}"), cell.hardest(compared, p50_single)),
        (format!("open_p50_vs_{peer}"), cell.hardest(compared, p50_open)),
        (format!("open_p99_vs_{peer}"), cell.hardest(compared, p99_open)),
    ]
}

pub(super) fn as_json(
    figures: &Figures,
    failures: [u64; 2],
    skipped: &[(String, String)],
) -> Value {
    let mut object: Map<String, Value> =
        figures.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    let [ours, theirs] = failures;
    object.insert("failures_ours".to_owned(), json!(ours));
    object.insert("failures_theirs".to_owned(), json!(theirs));
    let skipped: Map<String, Value> =
        skipped.iter().map(|(what, why)| (what.clone(), json!(why))).collect();
    object.insert("skipped".to_owned(), Value::Object(skipped));
    Value::Object(object)
}

/// Three decimals are more than any of this is good for.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

// ---- goals ----

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Due {
    AtLeast(f64),
    AtMost(f64),
}

impl Due {
    pub(super) fn is_met(self, value: f64) -> bool {
        match self {
            Due::AtLeast(bound) => value >= bound,
            Due::AtMost(bound) => value <= bound,
        }
    }
}

pub(super) struct Goal {
    pub(super) key: &'static str,
    pub(super) due: Due,
    pub(super) what: &'static str,
}

const fn at_least(bound: f64, key: &'static str, what: &'static str) -> Goal {
    Goal { key, due: Due::AtLeast(bound), what }
}

const fn at_most(bound: f64, key: &'static str, what: &'static str) -> Goal {
    Goal { key, due: Due::AtMost(bound), what }
}

pub(super) const GOALS: [Goal; 22] = [
    at_least(2.3, "noop_bin_rps_vs_mosec", "requests/s, noop binary, ÷ mosec's best"),
    at_least(9.0, "noop_bin_rps_vs_triton", "÷ Triton's best"),
    at_least(4.0, "noop_grpc_rps_vs_triton", "requests/s, noop over gRPC, ÷ Triton's best"),
    at_least(5.0, "noop_json_rps_vs_best_shipped", "noop JSON, ÷ the best peer as shipped"),
    at_least(3.0, "noop_json_rps_vs_mosec_orjson", "÷ mosec's best with orjson"),
    at_least(1.5, "mlp_bin_rps_vs_mosec", "mlp binary, ÷ mosec's best"),
    at_least(4.0, "mlp_bin_rps_vs_triton", "÷ Triton's best"),
    at_least(3.0, "mlp_json_rps_vs_best_shipped", "mlp JSON, ÷ the best peer as shipped"),
    at_least(1.7, "mlp_json_rps_vs_mosec_orjson", "÷ mosec's best with orjson"),
    at_most(0.1, "noop_bin_p50c1_vs_mosec", "p50 at one connection, noop binary, ÷ mosec batching"),
    at_most(0.1, "noop_bin_p50c1_vs_triton", "÷ Triton batching, in its quickest setting"),
    at_most(0.1, "noop_bin_p50c1_vs_triton_1ms", "÷ Triton batching with 1 ms"),
    at_most(0.1, "noop_bin_p50c1_vs_pytriton", "÷ PyTriton batching"),
    at_most(0.1, "noop_bin_p50c1_vs_litserve", "÷ LitServe batching"),
    at_most(0.1, "noop_json_p50c1_vs_mlserver", "÷ MLServer batching (JSON)"),
    at_most(0.6, "noop_bin_p50c1_vs_mosec_off", "÷ mosec without batching"),
    at_most(45.0, "noop_bin_p50c1_over_hyper_us", "µs above bare hyper"),
    at_most(
        1.0 / 15.0,
        "noop_bin_open_p50_vs_mosec",
        "open loop at half mosec's rate: p50 ÷ mosec's",
    ),
    at_most(1.0 / 3.0, "noop_bin_open_p99_vs_mosec", "p99 ÷ mosec's"),
    at_most(
        5.0,
        "noop_bin_cpu_us_over_hyper",
        "CPU µs/request above bare hyper, noop binary, saturated",
    ),
    at_least(0.9, "noop_bin_c256_vs_c64", "requests/s at 256 connections ÷ at 64"),
    at_most(60.0, "pss_mib", "MiB (PSS), engine and one NumPy container"),
];

#[cfg(test)]
mod tests {
    use super::super::record::tests::record;
    use super::*;

    fn found(records: &[Record]) -> Figures {
        let cell = |name| Cell::from_name(name).expect("a cell");
        figures(&["noop/bin", "noop/json"].map(|name| OfCell::of(cell(name), records)))
    }

    #[test]
    fn the_peers_best_setting_is_the_yardstick_for_throughput() {
        let records = [
            record("noop/bin", "mosec_1ms", 3.0),
            record("noop/bin", "mosec_10ms", 2.5),
            record("noop/bin", "triton_1ms", 10.0),
        ];
        let found = found(&records);
        assert_eq!(found["noop_bin_rps_vs_mosec"], 2.5);
        assert_eq!(found["noop_bin_rps_vs_mosec_1ms"], 3.0);
        assert_eq!(found["noop_bin_rps_vs_best_shipped"], 2.5);
        assert_eq!(found["noop_bin_rps_vs_triton"], 10.0);
        assert!(!found.contains_key("noop_json_rps_vs_mosec"));
    }

    #[test]
    fn a_better_json_library_is_told_apart_from_what_is_shipped() {
        let records = [
            record("noop/json", "mosec_1ms", 8.0),
            record("noop/json", "mosec_orjson_1ms", 4.0),
            record("noop/json", "triton_1ms", 6.0),
        ];
        let found = found(&records);
        assert_eq!(found["noop_json_rps_vs_mosec"], 8.0);
        assert_eq!(found["noop_json_rps_vs_mosec_orjson"], 4.0);
        assert_eq!(found["noop_json_rps_vs_best_shipped"], 6.0);
    }

    #[test]
    fn latency_is_held_against_the_quickest_setting_that_batches() {
        let records = [
            record("noop/bin", "mosec_10ms", 100.0),
            record("noop/bin", "mosec_1ms", 20.0),
            record("noop/bin", "mosec_off", 2.0),
            record("noop/bin", "uvicorn", 2.5),
        ];
        let found = found(&records);
        assert_eq!(found["noop_bin_p50c1_vs_mosec"], 0.05);
        assert_eq!(found["noop_bin_open_p99_vs_mosec"], 0.05);
        assert_eq!(found["noop_bin_p50c1_vs_mosec_off"], 0.5);
        assert_eq!(found["noop_bin_p50c1_vs_uvicorn"], 0.4);
    }

    #[test]
    fn what_lies_above_hyper_is_a_difference() {
        let records = [record("noop/bin", HYPER, 0.5), record("noop/bin", CROWD, 1.05)];
        let found = found(&records);
        assert_eq!(found["noop_bin_cpu_us_over_hyper"], 8.4);
        assert_eq!(found["noop_bin_p50c1_over_hyper_us"], 48.0);
        assert_eq!(found["noop_bin_c256_vs_c64"], 1.05);
        assert_eq!(found["pss_mib"], 40.0);
        assert!(!found.contains_key("noop_bin_rps_vs_hyper"), "hyper is no peer");
    }

    #[test]
    fn goals_name_keys_that_a_whole_run_has() {
        let against = ["mosec_1ms", "mosec_orjson_1ms", "mosec_off", "triton_1ms", "pytriton_1ms"];
        let more = ["litserve_1ms", "mlserver_1ms", HYPER, CROWD];
        let mut records = Vec::new();
        let names = ["noop/bin", "noop/json", "noop/grpc", "mlp/bin", "mlp/json"];
        for cell in names {
            records.extend(against.iter().chain(&more).map(|it| record(cell, it, 2.0)));
        }
        let cells = names.map(|name| OfCell::of(Cell::from_name(name).expect("a cell"), &records));
        let found = figures(&cells);
        for goal in &GOALS {
            assert!(found.contains_key(goal.key), "{}", goal.key);
        }
    }

    #[test]
    fn a_bound_itself_is_met() {
        assert!(Due::AtLeast(2.3).is_met(2.3) && !Due::AtLeast(2.3).is_met(2.29));
        assert!(Due::AtMost(0.6).is_met(0.6) && !Due::AtMost(0.6).is_met(0.61));
    }
}
