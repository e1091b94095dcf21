//! What the pairs say: figures above the floor, for people and for programs.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::Validity;
use super::ask::Form;
use super::cross_core::CrossCore;
use super::measure::{Pair, Sample, Scenario};
use super::unix::Saved;
use crate::compare::{Spread, differences, ratios, spread};
use crate::report::{Table, count, us};

/// Bare hyper serves 3.1 to 4.5 times what mosec does at its best; a slower floor flatters us.
const FLOOR_OVER_MOSEC_MIN: f64 = 3.0;

#[derive(Default)]
pub(super) struct Findings {
    pub(super) scenarios: Vec<(Scenario, Vec<Pair>)>,
    pub(super) pss_mib: f64,
    pub(super) cross_core: Option<CrossCore>,
    pub(super) unix: Option<Saved>,
}

impl Findings {
    pub(super) fn validity(&self) -> Validity {
        match self.floor_vs_mosec() {
            None => Validity::Unchecked,
            Some(found) if found.median >= FLOOR_OVER_MOSEC_MIN => Validity::Valid,
            Some(_) => Validity::Invalid,
        }
    }

    pub(super) fn for_people(&self) -> String {
        let mut text = self.servers().to_string();
        text.push('\n');
        let _ = write!(text, "{}", self.above_the_floor());
        let _ = writeln!(text, "\nmemory of engine and container (PSS): {:.1} MiB", self.pss_mib);
        let _ = writeln!(text, "{}", self.cross_core_sentence());
        let _ = writeln!(text, "{}", self.floor_sentence());
        let disturbed = self.disturbed();
        if disturbed > 0 {
            let _ =
                writeln!(text, "{disturbed} pairs stayed disturbed by other work; run it again");
        }
        text
    }

    pub(super) fn as_json(&self) -> Value {
        let mut found = Map::new();
        for form in [Form::Binary, Form::Json, Form::Grpc] {
            let (name, floor) = (form.name(), floor_of(form));
            let key = format!("noop_{name}_cpu_us_over_{floor}");
            found.insert(key, median(self.cpu_over_floor(form)));
            let key = format!("noop_{name}_p50c1_vs_{floor}");
            found.insert(key, median(self.p50_vs_floor(form)));
        }
        found.insert("pss_mib".to_owned(), json!(rounded(self.pss_mib)));
        let added = self.cross_core.as_ref().map(|found| rounded(found.added_us));
        found.insert("cross_core_p50c1_added_us".to_owned(), json!(added));
        let unix = self.unix.clone();
        let (p50, cpu) = unix.map_or((None, None), |saved| (saved.p50_us, saved.cpu_us));
        found.insert("unix_p50c1_saved_us".to_owned(), median(p50));
        found.insert("unix_cpu_us_saved".to_owned(), median(cpu));
        let floor_rps = self.medians(Form::Binary, 64, |pair| pair.floor.requests_per_second);
        found.insert("floor_rps".to_owned(), median(floor_rps));
        found.insert("floor_vs_mosec".to_owned(), median(self.floor_vs_mosec()));
        let valid = match self.validity() {
            Validity::Valid => Some(true),
            Validity::Invalid => Some(false),
            Validity::Unchecked => None,
        };
        found.insert("floor_valid".to_owned(), json!(valid));
        found.insert("disturbed_pairs".to_owned(), json!(self.disturbed()));
        found.insert("medians".to_owned(), Value::Object(self.all_medians()));
        Value::Object(found)
    }

    // ---- figures ----

    fn pairs(&self, form: Form, connections: usize) -> &[Pair] {
        let wanted = Scenario { form, connections };
        let found = self.scenarios.iter().find(|(scenario, _)| *scenario == wanted);
        found.map_or(&[], |(_, pairs)| pairs)
    }

    /// Saturated: at one connection the tree mostly sleeps, and wake-ups would count.
    fn cpu_over_floor(&self, form: Form) -> Option<Spread> {
        let pairs = self.pairs(form, 64).iter();
        differences(&pairs.map(|pair| (pair.foil.cpu_us, pair.floor.cpu_us)).collect::<Vec<_>>())
    }

    fn p50_vs_floor(&self, form: Form) -> Option<Spread> {
        let pairs = self.pairs(form, 1).iter();
        ratios(&pairs.map(|pair| (pair.foil.p50_us, pair.floor.p50_us)).collect::<Vec<_>>())
    }

    fn floor_vs_mosec(&self) -> Option<Spread> {
        let pairs = self.pairs(Form::Binary, 64).iter().filter_map(|pair| {
            Some((pair.floor.requests_per_second, pair.mosec?.requests_per_second))
        });
        ratios(&pairs.collect::<Vec<_>>())
    }

    fn medians(
        &self,
        form: Form,
        connections: usize,
        figure: impl Fn(&Pair) -> f64,
    ) -> Option<Spread> {
        spread(&self.pairs(form, connections).iter().map(figure).collect::<Vec<_>>())
    }

    fn disturbed(&self) -> usize {
        let pairs = self.scenarios.iter().flat_map(|(_, pairs)| pairs);
        pairs.filter(|pair| pair.is_disturbed()).count()
    }

    fn all_medians(&self) -> Map<String, Value> {
        let rows = self.rows().into_iter();
        rows.map(|(scenario, server, samples)| {
            let figures = json!({
                "requests_per_second": median(of(&samples, |one| Some(one.requests_per_second))),
                "p50_us": median(of(&samples, |one| Some(one.p50_us))),
                "p99_us": median(of(&samples, |one| one.p99_us)),
                "cpu_us": median(of(&samples, |one| Some(one.cpu_us))),
            });
            (format!("{server}_{}", scenario.name()), figures)
        })
        .collect()
    }

    fn rows(&self) -> Vec<(Scenario, &'static str, Vec<Sample>)> {
        let mut rows = Vec::new();
        for (scenario, pairs) in &self.scenarios {
            rows.push((
                *scenario,
                floor_of(scenario.form),
                pairs.iter().map(|pair| pair.floor).collect(),
            ));
            rows.push((*scenario, "foil", pairs.iter().map(|pair| pair.foil).collect()));
            let mosec: Vec<Sample> = pairs.iter().filter_map(|pair| pair.mosec).collect();
            if !mosec.is_empty() {
                rows.push((*scenario, "mosec", mosec));
            }
        }
        rows
    }

    // ---- for people ----

    fn servers(&self) -> Table {
        let header = ["scenario, server", "requests/s", "p50 µs", "p99 µs", "CPU µs/request"];
        let mut table = Table::new(&header);
        for (scenario, server, samples) in self.rows() {
            let figure = |take: fn(&Sample) -> Option<f64>| of(&samples, take).map(|s| s.median);
            table.row([
                format!("{} {server}", scenario.name()),
                count(figure(|one| Some(one.requests_per_second)).unwrap_or(0.0)),
                us(figure(|one| Some(one.p50_us))),
                us(figure(|one| one.p99_us)),
                us(figure(|one| Some(one.cpu_us))),
            ]);
        }
        table
    }

    fn above_the_floor(&self) -> Table {
        let mut table = Table::new(&["foil above bare hyper or h2", "median", "min", "max"]);
        let forms = [(Form::Binary, "binary"), (Form::Json, "JSON"), (Form::Grpc, "gRPC")];
        for (form, name) in forms {
            let cpu = self.cpu_over_floor(form);
            table.row(line(format!("{name}: CPU µs/request, 64 connections"), cpu));
            let p50 = self.p50_vs_floor(form);
            table.row(line(format!("{name}: p50 ratio, 1 connection"), p50));
        }
        if let Some(saved) = self.unix.clone() {
            let named = |what: &str| format!("saved by a Unix socket: {what}");
            table.row(line(named("CPU µs/request, 64 connections"), saved.cpu_us));
            table.row(line(named("p50 µs, 1 connection"), saved.p50_us));
        }
        table
    }

    fn cross_core_sentence(&self) -> String {
        match &self.cross_core {
            Some(found) => {
                format!("a connection on another core than its model: +{:.1} µs", found.added_us)
            }
            None => "the cost of another core could not be measured here".to_owned(),
        }
    }

    fn floor_sentence(&self) -> String {
        let Some(found) = self.floor_vs_mosec() else {
            return "floor not checked against mosec: no --mosec-python given".to_owned();
        };
        let verdict = match self.validity() {
            Validity::Invalid => {
                "INVALID: a floor below 3 flatters the engine; use no figure of this run"
            }
            Validity::Valid | Validity::Unchecked => "a valid floor",
        };
        format!("bare hyper serves {:.1} times what mosec does: {verdict}", found.median)
    }
}

/// The bare server that it is measured against.
fn floor_of(form: Form) -> &'static str {
    match form {
        Form::Binary | Form::Json => "hyper",
        Form::Grpc => "h2",
    }
}

fn of(samples: &[Sample], take: impl Fn(&Sample) -> Option<f64>) -> Option<Spread> {
    spread(&samples.iter().filter_map(take).collect::<Vec<_>>())
}

fn line(name: String, found: Option<Spread>) -> [String; 4] {
    let cell = |value: fn(&Spread) -> f64| {
        found.as_ref().map_or_else(|| "-".to_owned(), |found| format!("{:.2}", value(found)))
    };
    [name, cell(|s| s.median), cell(|s| s.min), cell(|s| s.max)]
}

fn median(found: Option<Spread>) -> Value {
    json!(found.map(|found| rounded(found.median)))
}

/// Three decimals are more than any of this is good for.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(requests_per_second: f64, p50_us: f64, cpu_us: f64) -> Sample {
        Sample { requests_per_second, p50_us, p99_us: None, cpu_us, client_share: 1.0 }
    }

    fn findings(mosec_rps: Option<f64>) -> Findings {
        let pair = |slow: f64| Pair {
            floor: sample(90_000.0 / slow, 40.0 * slow, 10.0 * slow),
            foil: sample(50_000.0 / slow, 80.0 * slow, 15.0 * slow),
            mosec: mosec_rps.map(|rps| sample(rps / slow, 2_000.0, 40.0)),
        };
        let pairs = vec![pair(1.0), pair(1.7), pair(1.2)];
        let scenarios = [(Form::Binary, 1), (Form::Binary, 64)]
            .map(|(form, connections)| (Scenario { form, connections }, pairs.clone()));
        Findings { scenarios: scenarios.into(), pss_mib: 41.5, cross_core: None, unix: None }
    }

    #[test]
    fn the_keys_that_others_read_are_there() {
        let found = findings(None).as_json();
        assert_eq!(found["noop_bin_cpu_us_over_hyper"], 6.0);
        assert_eq!(found["noop_bin_p50c1_vs_hyper"], 2.0);
        assert_eq!(found["pss_mib"], 41.5);
        assert_eq!(found["floor_rps"], 75_000.0);
        assert_eq!(found["medians"]["foil_bin_c64"]["cpu_us"], 18.0);
        for absent in [
            "noop_json_cpu_us_over_hyper",
            "noop_grpc_cpu_us_over_h2",
            "cross_core_p50c1_added_us",
            "floor_valid",
        ] {
            assert_eq!(found[absent], Value::Null, "{absent} was not measured");
            assert!(found.get(absent).is_some(), "{absent} is said to be unknown");
        }
    }

    #[test]
    fn a_floor_too_close_to_mosec_is_no_floor() {
        assert_eq!(findings(Some(25_000.0)).validity(), Validity::Valid);
        assert_eq!(findings(Some(31_000.0)).validity(), Validity::Invalid);
        assert!(findings(Some(31_000.0)).for_people().contains("INVALID"));
        assert_eq!(findings(None).validity(), Validity::Unchecked);
        assert!(findings(None).for_people().contains("not checked"));
    }
}
