//! What applications and their models are asked, by Clipper's measures: counts, rates, and the latest latencies.
//!
//! Written by one core alone, as the other recorders; whoever reports asks each core for a copy and merges them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Time;
use crate::query::types::Timings;

/// Latencies kept per application or model: as many as Clipper samples. The latest, where Clipper keeps a sample of all.
const WINDOW_VALUES: usize = 4096;

/// Applications, and model versions, counted at a time: as many as there may be. Past it, counting begins anew.
const COUNTED_MAX: usize = 10_000;

/// How often rates move, as Clipper's do.
const TICK: Duration = Duration::from_secs(5);

/// Minutes over which the three rates fade.
const FADE_MINUTES: [f64; 3] = [1.0, 5.0, 15.0];

/// After so many ticks without an event every rate is below a thousandth of a thousandth.
const TICKS_MAX: u64 = 4096;

/// The latest values of something.
#[derive(Clone, Debug, Default)]
pub struct Window {
    values: Vec<f32>,
    next: usize,
}

impl Window {
    pub fn record(&mut self, value: f32) {
        match self.values.get_mut(self.next) {
            Some(oldest) => *oldest = value,
            None => self.values.push(value),
        }
        self.next = (self.next + 1) % WINDOW_VALUES;
    }

    /// In ascending order.
    pub fn sorted(&self) -> Vec<f64> {
        let mut values: Vec<_> = self.values.iter().copied().map(f64::from).collect();
        values.sort_by(f64::total_cmp);
        values
    }

    fn merge(&mut self, other: &Window) {
        self.values.extend_from_slice(&other.values);
    }
}

/// Events a second: over all time, and fading over one, five and fifteen minutes.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    events: u64,
    since: Time,
    /// Of the running tick.
    pending: u64,
    ticked: Time,
    fading: [f64; 3],
    started: bool,
}

impl Meter {
    fn new(now: Time) -> Meter {
        Meter { events: 0, since: now, pending: 0, ticked: now, fading: [0.0; 3], started: false }
    }

    fn mark(&mut self, now: Time) {
        self.tick(now);
        self.events += 1;
        self.pending += 1;
    }

    fn tick(&mut self, now: Time) {
        let ticks = now.since(self.ticked).as_nanos() / TICK.as_nanos();
        let ticks = u64::try_from(ticks).unwrap_or(u64::MAX);
        if ticks == 0 {
            return;
        }
        for _ in 0..ticks.min(TICKS_MAX) {
            let rate = std::mem::take(&mut self.pending) as f64 / TICK.as_secs_f64();
            for (fading, minutes) in self.fading.iter_mut().zip(FADE_MINUTES) {
                let weight = 1.0 - (-TICK.as_secs_f64() / 60.0 / minutes).exp();
                // The first tick is all there is to know.
                *fading = if self.started { *fading + weight * (rate - *fading) } else { rate };
            }
            self.started = true;
        }
        self.ticked = if ticks > TICKS_MAX { now } else { self.ticked.after(TICK * ticks as u32) };
    }

    /// Over all time, then the three that fade.
    pub fn rates(&self, now: Time) -> [f64; 4] {
        let mut meter = *self;
        meter.tick(now);
        let elapsed = now.since(meter.since).as_secs_f64();
        let all = if elapsed > 0.0 { meter.events as f64 / elapsed } else { 0.0 };
        let [one, five, fifteen] = meter.fading;
        [all, one, five, fifteen]
    }
}

/// What was asked of one application, or answered by one model version.
#[derive(Clone, Debug)]
pub struct Predictions {
    pub count: u64,
    pub defaults: u64,
    pub latency_us: Window,
    pub batch_rows: Window,
    pub queue_us: Window,
    /// One from each core.
    meters: Vec<Meter>,
}

impl Predictions {
    pub fn new(now: Time) -> Predictions {
        Predictions {
            count: 0,
            defaults: 0,
            latency_us: Window::default(),
            batch_rows: Window::default(),
            queue_us: Window::default(),
            meters: vec![Meter::new(now)],
        }
    }

    fn record(&mut self, took: Duration, now: Time) {
        self.count += 1;
        self.latency_us.record(took.as_micros() as f32);
        for meter in &mut self.meters {
            meter.mark(now);
        }
    }

    /// Adds what another core knows, or another model.
    pub fn merge(&mut self, other: &Predictions) {
        self.count += other.count;
        self.defaults += other.defaults;
        self.latency_us.merge(&other.latency_us);
        self.batch_rows.merge(&other.batch_rows);
        self.queue_us.merge(&other.queue_us);
        self.meters.extend_from_slice(&other.meters);
    }

    /// Of all cores together; see [`Meter::rates`].
    pub fn rates(&self, now: Time) -> [f64; 4] {
        let each = self.meters.iter().map(|meter| meter.rates(now));
        each.fold([0.0; 4], |sum, rates| std::array::from_fn(|at| sum[at] + rates[at]))
    }
}

/// A model's name and the text of its version.
pub type ModelKey = (Arc<str>, Arc<str>);

/// All that one core knows, or several merged.
#[derive(Clone, Debug, Default)]
pub struct PredictionsSnapshot {
    pub apps: HashMap<Arc<str>, Predictions>,
    pub models: HashMap<ModelKey, Predictions>,
    pub feedback: u64,
}

impl PredictionsSnapshot {
    pub fn merge(&mut self, other: PredictionsSnapshot) {
        add_up(&mut self.apps, other.apps);
        add_up(&mut self.models, other.models);
        self.feedback += other.feedback;
    }
}

fn add_up<K: Eq + std::hash::Hash>(
    into: &mut HashMap<K, Predictions>,
    from: HashMap<K, Predictions>,
) {
    for (key, predictions) in from {
        match into.get_mut(&key) {
            Some(known) => known.merge(&predictions),
            None => drop(into.insert(key, predictions)),
        }
    }
}

/// How one of an application's questions ended.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The model version that was asked, if there was one, and its timings, if it answered.
    pub model: Option<(ModelKey, Option<Timings>)>,
    /// From the request's last byte to its answer.
    pub took: Duration,
    pub is_default: bool,
}

/// What one core records.
#[derive(Debug, Default)]
pub struct PredictionsRecorder {
    counts: RefCell<PredictionsSnapshot>,
}

impl PredictionsRecorder {
    pub fn asked(&self, app: &Arc<str>, asked: Asked, now: Time) {
        let mut counts = self.counts.borrow_mut();
        let of_app = counted(&mut counts.apps, app, now);
        of_app.record(asked.took, now);
        of_app.defaults += u64::from(asked.is_default);
        let Some((model, Some(timings))) = asked.model else { return };
        let of_model = counted(&mut counts.models, &model, now);
        of_model.record(timings.queue + timings.lane + timings.model, now);
        of_model.batch_rows.record(timings.batch_rows as f32);
        of_model.queue_us.record(timings.queue.as_micros() as f32);
    }

    pub fn feedback(&self) {
        self.counts.borrow_mut().feedback += 1;
    }

    pub fn snapshot(&self) -> PredictionsSnapshot {
        self.counts.borrow().clone()
    }
}

fn counted<'c, K: Eq + std::hash::Hash + Clone>(
    counts: &'c mut HashMap<K, Predictions>,
    key: &K,
    now: Time,
) -> &'c mut Predictions {
    if counts.len() >= COUNTED_MAX && !counts.contains_key(key) {
        counts.clear();
    }
    counts.entry(key.clone()).or_insert_with(|| Predictions::new(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::ZERO.after(Duration::from_secs(seconds))
    }

    #[test]
    fn a_window_holds_the_latest() {
        let mut window = Window::default();
        (0..WINDOW_VALUES + 10).for_each(|value| window.record(value as f32));
        let sorted = window.sorted();
        assert_eq!((sorted.len(), sorted[0]), (WINDOW_VALUES, 10.0));
    }

    #[test]
    fn a_steady_rate_is_what_every_meter_shows() {
        let mut meter = Meter::new(at(0));
        for second in 0..600 {
            (0..10).for_each(|_| meter.mark(at(second)));
        }
        for rate in meter.rates(at(600)) {
            assert!((rate - 10.0).abs() < 1e-9, "{rate}");
        }
    }

    #[test]
    fn what_is_over_fades_the_faster_the_shorter_the_meter() {
        let mut meter = Meter::new(at(0));
        (0..50).for_each(|_| meter.mark(at(0)));
        let [all, one, five, fifteen] = meter.rates(at(65));
        assert!(one < five && five < fifteen && fifteen < 10.0, "{one} {five} {fifteen}");
        assert!((all - 50.0 / 65.0).abs() < 1e-9);
        assert!(meter.rates(at(100_000_000))[1] < 1e-6);
    }

    #[test]
    fn cores_add_up() {
        let recorder = PredictionsRecorder::default();
        let model: ModelKey = ("m".into(), "v1".into());
        let timings = Timings { batch_rows: 4, ..Timings::default() };
        let took = Duration::from_millis(2);
        let good = Asked { model: Some((model.clone(), Some(timings))), took, is_default: false };
        let late = Asked { model: Some((model.clone(), None)), took, is_default: true };
        recorder.asked(&"app".into(), good, at(1));
        recorder.asked(&"app".into(), late, at(1));
        recorder.feedback();
        let mut both = recorder.snapshot();
        both.merge(recorder.snapshot());
        let app = &both.apps["app"];
        assert_eq!((app.count, app.defaults, both.feedback), (4, 2, 2));
        assert_eq!(app.latency_us.sorted().len(), 4);
        assert_eq!(
            (both.models[&model].count, both.models[&model].batch_rows.sorted()[0]),
            (2, 4.0)
        );
    }
}
