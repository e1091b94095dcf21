//! The page `/metrics` as Clipper's monitoring reads it: four lists of objects with one key each, every value a text.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::clock::Time;
use crate::observe::predictions::{ModelKey, Predictions, PredictionsSnapshot, Window};

/// What is reported on, whether or not it was ever asked.
#[derive(Clone, Debug, Default)]
pub struct Subjects {
    pub apps: Vec<Arc<str>>,
    pub models: Vec<ModelKey>,
}

#[derive(Default)]
struct Report {
    counters: Vec<Value>,
    ratios: Vec<Value>,
    meters: Vec<Value>,
    histograms: Vec<Value>,
}

pub fn report(subjects: &Subjects, counts: &PredictionsSnapshot, now: Time) -> String {
    let mut report = Report::default();
    let none = Predictions::new(now);
    for name in &subjects.apps {
        let counted = counts.apps.get(name).unwrap_or(&none);
        report.app(&format!("app:{name}"), counted, now);
    }
    let mut all = Predictions::new(now);
    for key in &subjects.models {
        let counted = counts.models.get(key).unwrap_or(&none);
        all.merge(counted);
        report.model(&format!("model:{}:{}", key.0, key.1), counted, now);
    }
    report.internal(&all, counts.feedback, now);
    let Report { counters, ratios, meters, histograms } = report;
    let page = json!({
        "counters": counters,
        "ratio_counters": ratios,
        "meters": meters,
        "histograms": histograms,
    });
    page.to_string()
}

impl Report {
    fn app(&mut self, name: &str, counted: &Predictions, now: Time) {
        self.histograms.push(histogram(
            name,
            "prediction_latency",
            "microseconds",
            &counted.latency_us,
        ));
        self.meters.push(meter(name, "prediction_throughput", counted.rates(now)));
        self.counters.push(counter(name, "num_predictions", counted.count));
        self.ratios.push(ratio(name, "default_prediction_ratio", counted.defaults, counted.count));
    }

    /// There is no cache yet, so nothing was ever found in it.
    fn model(&mut self, name: &str, counted: &Predictions, now: Time) {
        self.histograms.push(histogram(
            name,
            "prediction_latency",
            "microseconds",
            &counted.latency_us,
        ));
        self.histograms.push(histogram(name, "batch_size", "queries", &counted.batch_rows));
        self.meters.push(meter(name, "prediction_throughput", counted.rates(now)));
        self.counters.push(counter(name, "num_predictions", counted.count));
        self.ratios.push(ratio(name, "cache_hit_ratio", 0, counted.count));
    }

    fn internal(&mut self, all: &Predictions, feedback: u64, now: Time) {
        const NAME: &str = "internal";
        self.counters.push(counter(NAME, "prediction_cache_lookups", 0));
        self.counters.push(counter(NAME, "aggregate_num_predictions", all.count));
        self.counters.push(counter(NAME, "feedback_received", feedback));
        self.ratios.push(ratio(NAME, "prediction_cache_hit_ratio", 0, 0));
        self.meters.push(meter(NAME, "aggregate_model_throughput", all.rates(now)));
        let delay = histogram(NAME, "rpc_request_queueing_delay", "microseconds", &all.queue_us);
        self.histograms.push(delay);
    }
}

fn named(subject: &str, measure: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(format!("{subject}:{measure}"), value)]))
}

fn counter(subject: &str, measure: &str, count: u64) -> Value {
    named(subject, measure, json!({ "count": count.to_string() }))
}

fn ratio(subject: &str, measure: &str, part: u64, whole: u64) -> Value {
    let ratio = match whole {
        0 => "nan".to_owned(),
        _ => (part as f64 / whole as f64).to_string(),
    };
    named(subject, measure, json!({ "ratio": ratio }))
}

fn meter(subject: &str, measure: &str, rates: [f64; 4]) -> Value {
    let [rate, one, five, fifteen] = rates.map(|rate| rate.to_string());
    let value = json!({
        "unit": "events per second",
        "rate": rate,
        "rate_1min": one,
        "rate_5min": five,
        "rate_15min": fifteen,
    });
    named(subject, measure, value)
}

fn histogram(subject: &str, measure: &str, unit: &str, window: &Window) -> Value {
    let values = window.sorted();
    let at = |quantile: f64| {
        let index = (quantile * values.len() as f64) as usize;
        values.get(index.min(values.len().saturating_sub(1))).copied().unwrap_or(0.0)
    };
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    let value = json!({
        "unit": unit,
        "size": values.len().to_string(),
        "min": at(0.0).to_string(),
        "max": at(1.0).to_string(),
        "mean": mean.to_string(),
        "std_dev": variance.sqrt().to_string(),
        "p50": at(0.5).to_string(),
        "p95": at(0.95).to_string(),
        "p99": at(0.99).to_string(),
    });
    named(subject, measure, value)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::observe::predictions::{Asked, PredictionsRecorder};
    use crate::query::types::Timings;

    #[test]
    fn every_leaf_is_a_text_under_clippers_names() {
        let recorder = PredictionsRecorder::default();
        let model: ModelKey = ("m".into(), "v1".into());
        let asked = Asked {
            model: Some((model.clone(), Some(Timings::default()))),
            took: Duration::from_millis(2),
            is_default: false,
        };
        recorder.asked(&"a".into(), asked, Time::ZERO);
        let subjects = Subjects { apps: vec!["a".into(), "idle".into()], models: vec![model] };
        let page = report(&subjects, &recorder.snapshot(), Time::ZERO);
        let page: Value = serde_json::from_str(&page).unwrap();
        let of = |list: &str, name: &str| {
            let found = page[list].as_array().unwrap().iter().find_map(|it| it.get(name));
            found.unwrap_or_else(|| panic!("no {name} in {page}")).clone()
        };
        assert_eq!(of("counters", "app:a:num_predictions"), json!({ "count": "1" }));
        assert_eq!(of("ratio_counters", "app:a:default_prediction_ratio"), json!({ "ratio": "0" }));
        assert_eq!(of("ratio_counters", "app:idle:default_prediction_ratio")["ratio"], "nan");
        assert_eq!(of("histograms", "app:a:prediction_latency")["p99"], "2000");
        assert_eq!(of("histograms", "model:m:v1:batch_size")["size"], "1");
        assert_eq!(
            of("meters", "internal:aggregate_model_throughput")["unit"],
            "events per second"
        );
    }
}
