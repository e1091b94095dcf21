//! What a run found, in the form that people and programs read: numbers with units in their names, nothing hidden.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::environment::Environment;
use crate::measured::{Failures, Measured, Stages, WrongAnswers};
use crate::record::{Latencies, Summary};
use crate::session::Sight;
use crate::verdict::Verdict;

#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// As in "open loop, Poisson, 1,000 requests/s"; always said with the figures.
    pub load: String,
    pub verdict: Verdict,
    /// Stopped before its time.
    pub partial: bool,
    pub totals: Totals,
    /// From the due time.
    pub latency: Distribution,
    /// From the send.
    pub service: Distribution,
    /// How late the generator sent.
    pub send_lag: Distribution,
    /// How long answers lay unread, at least.
    pub read_lag: Distribution,
    /// Waits for a connection; without samples where there was always one.
    pub blocked: Distribution,
    /// None where the server doesn't say.
    pub stages: Option<StageTimes>,
    /// The first wrong answers, in words.
    pub wrong_answers: WrongAnswers,
    pub timeline: Vec<Moment>,
    pub client: Client,
    /// What was asked for.
    pub scenario: Value,
    pub environment: Environment,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Totals {
    pub window_s: f64,
    /// Due inside the window.
    pub due: u64,
    pub sent: u64,
    pub answered: u64,
    pub offered_per_second: f64,
    pub answered_per_second: f64,
    /// Connections opened after the start.
    pub opened: u64,
    pub failures: Failures,
}

#[derive(Clone, Debug, Serialize)]
pub struct Distribution {
    #[serde(flatten)]
    pub summary: Summary,
    pub p90_us: Option<f64>,
    pub p9999_us: Option<f64>,
    pub mean_us: Option<f64>,
    /// For a curve: share of samples, and the µs they took at most.
    pub percentiles: Vec<(f64, f64)>,
}

#[derive(Clone, Debug, Serialize)]
pub struct StageTimes {
    pub network: Distribution,
    pub queue: Distribution,
    pub lane: Distribution,
    pub model: Distribution,
}

/// One stretch of the run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Moment {
    /// Of measured time, at the stretch's end.
    pub at_s: f64,
    pub due_per_second: f64,
    pub answered_per_second: f64,
    pub failures: u64,
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub max_us: Option<f64>,
    /// How late the generator sent, p99.
    pub send_lag_p99_us: Option<f64>,
}

/// What the load generator itself took.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Client {
    /// None of a driver that owns its core, since what it would take for less is unknown.
    pub cpu_us_per_request: Option<f64>,
    /// Of one core. A driver that owns its core never sleeps, and has 1.
    pub cpu_share: f64,
}

/// Halvings of the distance to 1 are cut into this many steps: the points of an `.hgrm` file.
pub(crate) const STEPS_PER_HALVING: u32 = 5;
/// Ten samples lie beyond the percentile, as for the others.
const P90_SAMPLES_MIN: u64 = 100;
const P9999_SAMPLES_MIN: u64 = 100_000;

impl From<&Latencies> for Distribution {
    fn from(latencies: &Latencies) -> Distribution {
        let histogram = latencies.histogram();
        let steps = histogram.iter_quantiles(STEPS_PER_HALVING);
        let us = |ns: u64| ns as f64 / 1e3;
        let point = |step: hdrhistogram::iterators::IterationValue<u64>| {
            (step.quantile(), us(step.value_iterated_to()))
        };
        let any = !histogram.is_empty();
        Distribution {
            summary: latencies.summary(),
            p90_us: latencies.percentile_ns(0.9, P90_SAMPLES_MIN).map(us),
            p9999_us: latencies.percentile_ns(0.9999, P9999_SAMPLES_MIN).map(us),
            mean_us: any.then(|| histogram.mean() / 1e3),
            percentiles: if any { steps.map(point).collect() } else { Vec::new() },
        }
    }
}

impl StageTimes {
    fn of(stages: &Stages) -> Option<StageTimes> {
        (stages.network.summary().samples > 0).then(|| StageTimes {
            network: (&stages.network).into(),
            queue: (&stages.queue).into(),
            lane: (&stages.lane).into(),
            model: (&stages.model).into(),
        })
    }
}

impl From<Sight<'_>> for Moment {
    fn from(sight: Sight<'_>) -> Moment {
        let (stretch, summary) = (sight.stretch, sight.stretch.latency.summary());
        let p99_us = |spans: &Latencies| spans.percentile_ns(0.99, 1).map(|ns| ns as f64 / 1e3);
        let per_second = |count: u64| ratio(count as f64, stretch.window.as_secs_f64());
        Moment {
            at_s: sight.at.as_secs_f64(),
            due_per_second: per_second(stretch.due),
            answered_per_second: per_second(stretch.answered),
            failures: stretch.failures.total(),
            p50_us: summary.p50_us,
            p99_us: p99_us(&stretch.latency),
            max_us: summary.max_us,
            send_lag_p99_us: p99_us(&stretch.send_lag),
        }
    }
}

impl Totals {
    fn of(whole: &Measured) -> Totals {
        let window_s = whole.window.as_secs_f64();
        Totals {
            window_s,
            due: whole.due,
            sent: whole.sent,
            answered: whole.answered,
            offered_per_second: ratio(whole.due as f64, window_s),
            answered_per_second: ratio(whole.answered as f64, window_s),
            opened: whole.opened,
            failures: whole.failures,
        }
    }
}

impl Client {
    fn of(whole: &Measured, never_sleeps: bool) -> Client {
        let cpu_us = Duration::from_nanos(whole.own_cpu_ns).as_secs_f64() * 1e6;
        let tells = whole.answered > 0 && !never_sleeps;
        Client {
            cpu_us_per_request: tells.then(|| cpu_us / whole.answered as f64),
            cpu_share: ratio(cpu_us / 1e6, whole.window.as_secs_f64()),
        }
    }
}

/// What an outcome says beside what was measured.
pub struct Circumstances {
    pub load: String,
    pub scenario: Value,
    pub verdict: Verdict,
    pub environment: Environment,
    pub timeline: Vec<Moment>,
    /// The driver owned its core.
    pub never_sleeps: bool,
}

impl Outcome {
    pub fn new(whole: &Measured, circumstances: Circumstances) -> Outcome {
        let Circumstances { load, scenario, verdict, environment, timeline, never_sleeps } =
            circumstances;
        Outcome {
            load,
            verdict,
            partial: whole.stopped,
            totals: Totals::of(whole),
            latency: (&whole.latency).into(),
            service: (&whole.service).into(),
            send_lag: (&whole.send_lag).into(),
            read_lag: (&whole.read_lag).into(),
            blocked: (&whole.blocked).into(),
            stages: StageTimes::of(&whole.stages),
            timeline,
            wrong_answers: whole.wrong_answers.clone(),
            client: Client::of(whole, never_sleeps),
            scenario,
            environment,
        }
    }
}

/// Zero where there was no time to measure in.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_climbs_to_the_longest() {
        let mut latencies = Latencies::default();
        (1..=10_000_u64).for_each(|us| latencies.record(us * 1_000));
        let distribution = Distribution::from(&latencies);
        let points = &distribution.percentiles;
        assert!(points.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1), "{points:?}");
        assert!(points.len() > 30, "{}", points.len());
        assert!((points.last().expect("points").1 / 10_000.0 - 1.0).abs() < 0.002);
        assert!((distribution.mean_us.expect("samples") / 5_000.5 - 1.0).abs() < 0.002);
        assert!(Distribution::from(&Latencies::default()).percentiles.is_empty());
    }

    #[test]
    fn a_percentile_is_said_where_ten_samples_lie_beyond_it() {
        let of = |samples: u64| {
            let mut latencies = Latencies::default();
            (0..samples).for_each(|us| latencies.record(us * 1_000));
            Distribution::from(&latencies)
        };
        assert_eq!((of(99).p90_us, of(99_999).p9999_us), (None, None));
        assert!(of(100).p90_us.is_some() && of(100_000).p9999_us.is_some());
    }

    #[test]
    fn a_run_of_no_time_has_no_infinite_rates() {
        let none = Measured::default();
        assert_eq!(Totals::of(&none).answered_per_second, 0.0);
        assert_eq!(Client::of(&none, false).cpu_us_per_request, None);
        assert!(StageTimes::of(&none.stages).is_none());
    }
}
