//! A capture of the real engine, played again in virtual time: the same arrivals, and service times drawn from those
//! that were measured. Where the two differ, the simulator misses something that the engine does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::Rng;
use rand::rngs::SmallRng;
use serde_json::Value;

use crate::baselines::Kind;
use crate::device::{BATCH_MAX, Device, Shape};
use crate::run::End;
use crate::world::{self, Setup, play};

/// Why a capture can't be played.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    #[error("{path}: {error}; give a capture that this user may read")]
    Unreadable { path: PathBuf, error: std::io::Error },
    #[error("{path}: {error}; a capture is one JSON object")]
    NoJson { path: PathBuf, error: serde_json::Error },
    #[error("{path}: needs {field}; record the capture again")]
    Lacks { path: PathBuf, field: &'static str },
}

/// Service times of batches, by their rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    /// Rows, median and all services in milliseconds; by rows.
    sizes: Vec<(f64, f64, Vec<f64>)>,
    /// Each service over the median of its size.
    ratios: Vec<f64>,
}

impl Measured {
    pub(crate) fn new(batches: &[(u64, f64)]) -> Measured {
        let mut batches = batches.to_vec();
        batches.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let mut measured = Measured::default();
        for of_size in batches.chunk_by(|a, b| a.0 == b.0) {
            let services: Vec<f64> = of_size.iter().map(|batch| batch.1).collect();
            let median = services[services.len() / 2];
            measured.ratios.extend(services.iter().map(|service| service / median));
            measured.sizes.push((of_size[0].0 as f64, median, services));
        }
        measured
    }

    /// One measured service of this size; where none was, the curve's between its neighbours times any ratio.
    pub(crate) fn draw(&self, rows: usize, rng: &mut SmallRng) -> f64 {
        match self.sizes.iter().find(|size| size.0 == rows as f64) {
            Some((_, _, services)) => services[rng.random_range(0..services.len())],
            None => self.centre(rows as f64) * self.ratios[rng.random_range(0..self.ratios.len())],
        }
    }

    /// Between the nearest measured sizes; beyond them, in proportion to the nearest two.
    fn centre(&self, rows: f64) -> f64 {
        let above = self.sizes.partition_point(|size| size.0 < rows);
        let last = self.sizes.len() - 1;
        let (low, high) = match above {
            0 => (0, 1.min(last)),
            above if above > last => (last.saturating_sub(1), last),
            above => (above - 1, above),
        };
        let ((from, low_ms, _), (to, high_ms, _)) = (&self.sizes[low], &self.sizes[high]);
        if low == high {
            return low_ms * rows / from;
        }
        let line = low_ms + (high_ms - low_ms) * (rows - from) / (to - from);
        line.max(low_ms.min(*high_ms) * (rows / from).min(1.0))
    }
}

/// What a real engine did.
pub(crate) struct Capture {
    slo_ms: f64,
    replicas: usize,
    hard: bool,
    rows_max: u64,
    arrivals: Vec<u64>,
    measured: Arc<Measured>,
    on_time: u64,
    late: u64,
    shed: u64,
}

impl Capture {
    pub(crate) fn read(path: &Path) -> Result<Capture, ReplayError> {
        let owned = || path.to_owned();
        let text = std::fs::read_to_string(path)
            .map_err(|error| ReplayError::Unreadable { path: owned(), error })?;
        let json: Value = serde_json::from_str(&text)
            .map_err(|error| ReplayError::NoJson { path: owned(), error })?;
        parse(&json).map_err(|field| ReplayError::Lacks { path: owned(), field })
    }

    /// Prints both, and returns how many the simulator answered on time, of how many.
    pub(crate) fn play(&self, seed: u64) -> (u64, u64) {
        let run = self.run(seed);
        let total = self.arrivals.len() as u64;
        let share = |count: u64| count as f64 * 100.0 / total.max(1) as f64;
        println!("\nreplay of {total} requests      on time       late       shed");
        let rows = [
            ("engine", [self.on_time, self.late, self.shed]),
            ("simulator", [End::OnTime, End::Late, End::Shed].map(|end| run.ended(end))),
        ];
        for (who, counts) in rows {
            let [on_time, late, shed] = counts.map(share);
            println!("{who:28} {on_time:8.3} % {late:8.3} % {shed:8.3} %");
        }
        (run.ended(End::OnTime), total)
    }

    fn run(&self, seed: u64) -> crate::run::Run {
        // The measured services stand in for the device's.
        let device = Device::new(Shape::Gpu);
        let setup = Setup {
            hard: self.hard,
            batch_cost_max: self.rows_max,
            measured: Some(Arc::clone(&self.measured)),
            ..Setup::alike(device, self.replicas, self.slo_ms, seed)
        };
        let controller = Kind::Ours.controller(&setup);
        play(&setup, world::alike(&self.arrivals, self.slo_ms), controller)
    }
}

/// The capture, or the name of what it lacks.
fn parse(json: &Value) -> Result<Capture, &'static str> {
    let count = |field: &'static str| json[field].as_u64().ok_or(field);
    let arrivals = json["arrivals_ns"].as_array().ok_or("arrivals_ns")?;
    let mut arrivals: Vec<u64> = arrivals.iter().filter_map(Value::as_u64).collect();
    arrivals.sort_unstable();
    let batches = json["batches"].as_array().ok_or("batches")?;
    let batch = |batch: &Value| Some((batch[0].as_u64()?, batch[1].as_f64()? / 1e3));
    let batches: Vec<(u64, f64)> =
        batches.iter().filter_map(batch).filter(|batch| batch.0 > 0 && batch.1 > 0.0).collect();
    if batches.is_empty() {
        return Err("batches of [rows, service_us], one at least");
    }
    Ok(Capture {
        slo_ms: json["slo_ms"].as_f64().filter(|&slo_ms| slo_ms > 0.0).ok_or("slo_ms")?,
        replicas: count("replicas")?.max(1) as usize,
        hard: json["hard"].as_bool().unwrap_or(true),
        rows_max: json["batch_rows_max"].as_u64().map_or(u64::from(BATCH_MAX), |most| most.max(1)),
        arrivals,
        measured: Arc::new(Measured::new(&batches)),
        on_time: count("on_time")?,
        late: count("late")?,
        shed: count("shed")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use serde_json::json;

    use crate::arrivals::Load;

    #[test]
    fn sizes_that_were_measured_are_drawn_and_others_lie_between() {
        let measured = Measured::new(&[(1, 2.0), (1, 4.0), (1, 3.0), (11, 13.0)]);
        let mut rng = SmallRng::seed_from_u64(1);
        for _ in 0..100 {
            assert!([2.0, 3.0, 4.0].contains(&measured.draw(1, &mut rng)));
            assert_eq!(measured.draw(11, &mut rng), 13.0);
        }
        assert!((measured.centre(6.0) - 8.0).abs() < 1e-9);
        assert!((measured.centre(21.0) - 23.0).abs() < 1e-9);
    }

    #[test]
    fn a_capture_of_the_simulator_replays_within_a_point() {
        let device = Device::new(Shape::Gpu);
        let arrivals = Load::Poisson(0.9 * device.capacity(1, 20.0)).draw(5_000.0, 3);
        let mut rng = SmallRng::seed_from_u64(5);
        let service = |rows: u64, rng: &mut SmallRng| {
            (device.shape.millis(rows as f64) * device.ratio(rng) * 1e3) as u64
        };
        let batches: Vec<[u64; 2]> =
            (0..2_000).map(|nth| [nth % 40 + 1, service(nth % 40 + 1, &mut rng)]).collect();
        let setup = Setup::alike(device, 1, 20.0, 3);
        let controller = Kind::Ours.controller(&setup);
        let original = play(&setup, world::alike(&arrivals, 20.0), controller);
        let capture = json!({
            "slo_ms": 20, "replicas": 1, "arrivals_ns": arrivals, "batches": batches,
            "on_time": original.ended(End::OnTime), "late": 0, "shed": 0,
        });
        let Ok(capture) = parse(&capture) else { panic!("it has every field") };
        let (on_time, total) = capture.play(7);
        let difference = original.ended(End::OnTime) as f64 - on_time as f64;
        assert!(difference.abs() < 0.01 * total as f64, "{difference} of {total}");
    }

    #[test]
    fn a_capture_says_what_it_lacks() {
        assert_eq!(parse(&json!({"arrivals_ns": []})).err(), Some("batches"));
    }
}
