//! Arrivals as people make them: a real trace, or a synthetic one that is as uneven at every time scale.
//!
//! A trace is an hour long and has five requests a second; it is compressed in time to the load of an experiment,
//! which says by how much. Evenness is judged by the index of dispersion of counts at several windows: the
//! coefficient of variation of the gaps alone is no criterion.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Exp, Normal};

/// Of the design's conversation trace: requests a second and, by window in seconds, the index of dispersion.
const RATE_PER_S: f64 = 5.53;
const TARGET_CV: f64 = 1.09;
pub(crate) const TARGET_IDC: [(f64, f64); 4] =
    [(0.1, 1.06), (1.0, 1.39), (10.0, 3.9), (60.0, 16.1)];

/// The logarithm of a synthetic trace's intensity is a sum of Ornstein-Uhlenbeck processes with these time constants
/// (seconds) and variances; fitted to [`TARGET_IDC`].
const COMPONENTS: [(f64, f64); 5] =
    [(0.15, 0.0665), (1.0, 0.003), (6.0, 0.0021), (40.0, 0.0039), (250.0, 0.0457)];
const HOUR_S: f64 = 3_600.0;
/// Steps of the intensity, seconds.
const STEP_S: f64 = 0.02;

/// An hour of requests.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(crate) name: &'static str,
    /// Seconds from the first, ascending.
    pub(crate) times: Vec<f64>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum TraceError {
    #[error("{path}: {error}; give a trace that this user may read")]
    Unreadable { path: PathBuf, error: std::io::Error },
    #[error("{path}: no rows of TIMESTAMP,ContextTokens,GeneratedTokens in it")]
    NoRows { path: PathBuf },
}

/// Token lengths of the trace's requests: of their logarithms, mean and standard deviation; and the bounds.
const TOKENS_LOG: (f64, f64) = (6.63, 0.985);
pub(crate) const TOKENS: (f64, f64) = (16.0, 8_192.0);

/// A length as the conversation trace has them.
pub(crate) fn draw_tokens(rng: &mut SmallRng) -> u32 {
    let (mean, deviation) = TOKENS_LOG;
    let log = Normal::new(mean, deviation).map_or(mean, |normal| normal.sample(rng));
    log.exp().clamp(TOKENS.0, TOKENS.1) as u32
}

impl Trace {
    /// A CSV of TIMESTAMP, ContextTokens, GeneratedTokens.
    pub(crate) fn read(path: &Path) -> Result<Trace, TraceError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| TraceError::Unreadable { path: path.to_owned(), error })?;
        let mut times: Vec<f64> = text.lines().filter_map(row).collect();
        times.sort_unstable_by(f64::total_cmp);
        let Some(&first) = times.first() else {
            return Err(TraceError::NoRows { path: path.to_owned() });
        };
        times.iter_mut().for_each(|at| *at -= first);
        Ok(Trace { name: "trace", times })
    }

    /// An hour that is as uneven as the real one, at every window.
    pub(crate) fn synthetic(seed: u64) -> Trace {
        let mut rng = SmallRng::seed_from_u64(seed ^ 0x0007_2ACE);
        let unit = Exp::new(1.0).ok();
        let mut levels = COMPONENTS.map(|(_, variance)| variance.sqrt() * normal(&mut rng));
        let variance: f64 = COMPONENTS.iter().map(|component| component.1).sum();
        let mut left = unit.map_or(1.0, |exp| exp.sample(&mut rng));
        let mut times = Vec::new();
        let mut at = 0.0;
        while at < HOUR_S {
            let rate = RATE_PER_S * (levels.iter().sum::<f64>() - variance / 2.0).exp();
            let mut within = 0.0;
            while left <= rate * (STEP_S - within) {
                within += left / rate;
                times.push(at + within);
                left = unit.map_or(1.0, |exp| exp.sample(&mut rng));
            }
            left -= rate * (STEP_S - within);
            at += STEP_S;
            for (level, (constant, variance)) in levels.iter_mut().zip(COMPONENTS) {
                let keeps = (-STEP_S / constant).exp();
                *level =
                    *level * keeps + (variance * (1.0 - keeps * keeps)).sqrt() * normal(&mut rng);
            }
        }
        Trace { name: "synthetic", times }
    }

    fn seconds(&self) -> f64 {
        self.times.last().copied().unwrap_or(1.0)
    }

    pub(crate) fn rate_per_s(&self) -> f64 {
        self.times.len() as f64 / self.seconds()
    }

    /// How many times faster than it was recorded it plays at `rate` requests per millisecond.
    pub(crate) fn compression(&self, rate: f64) -> f64 {
        rate * 1_000.0 / self.rate_per_s()
    }

    /// `until_ms` of arrivals at a mean of `rate` per millisecond: a stretch that the seed chooses, round the end.
    pub(crate) fn arrivals(self: &Arc<Trace>, rate: f64, until_ms: f64, seed: u64) -> Vec<f64> {
        let per_ms = self.compression(rate) / 1_000.0;
        let whole_ms = self.seconds() / per_ms;
        let from = SmallRng::seed_from_u64(seed).random::<f64>() * whole_ms;
        let lap = |lap: usize| {
            self.times.iter().map(move |at| at / per_ms + lap as f64 * whole_ms - from)
        };
        let laps = ((from + until_ms) / whole_ms) as usize + 1;
        (0..laps).flat_map(lap).filter(|at| (0.0..until_ms).contains(at)).collect()
    }

    /// Of the gaps.
    pub(crate) fn cv(&self) -> f64 {
        let gaps: Vec<f64> = self.times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let (mean, variance) = moments(&gaps);
        variance.sqrt() / mean
    }

    /// Variance over mean of the counts in windows of so many seconds.
    pub(crate) fn idc(&self, window_s: f64) -> f64 {
        let windows = (self.seconds() / window_s) as usize;
        let mut counts = vec![0.0; windows.max(1)];
        for at in &self.times {
            if let Some(count) = counts.get_mut((at / window_s) as usize) {
                *count += 1.0;
            }
        }
        let (mean, variance) = moments(&counts);
        variance / mean
    }

    pub(crate) fn print(&self) {
        let name = self.name;
        let (count, rate) = (self.times.len(), self.rate_per_s());
        println!("{name}: {count} requests, {rate:.2}/s; dispersion, target and achieved:");
        println!("  CV of the gaps {TARGET_CV:.2} {:.2}", self.cv());
        for (window_s, target) in TARGET_IDC {
            println!("  IDC {window_s:4} s {target:6.2} {:6.2}", self.idc(window_s));
        }
    }
}

fn normal(rng: &mut SmallRng) -> f64 {
    Normal::new(0.0, 1.0).map_or(0.0, |normal| normal.sample(rng))
}

fn moments(values: &[f64]) -> (f64, f64) {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    (mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count)
}

/// Seconds since the month began.
fn row(line: &str) -> Option<f64> {
    let (stamp, _) = line.split_once(',')?;
    let (date, time) = stamp.split_once(' ')?;
    let day: f64 = date.rsplit('-').next()?.parse().ok()?;
    let mut parts = time.split(':').map(|part| part.parse::<f64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    Some(((day * 24.0 + hours) * 60.0 + minutes) * 60.0 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_tell_seconds_and_the_head_none() {
        let at = row("2023-11-16 18:15:46.5,374,44").unwrap();
        let later = row("2023-11-17 00:15:47.0,374,44").unwrap();
        assert_eq!(later - at, 6.0 * 3_600.0 + 0.5);
        assert_eq!(row("TIMESTAMP,ContextTokens,GeneratedTokens"), None);
    }

    #[test]
    fn a_synthetic_hour_is_as_uneven_as_the_real_one() {
        for (window_s, target) in TARGET_IDC {
            let mean = (1..9).map(|seed| Trace::synthetic(seed).idc(window_s)).sum::<f64>() / 8.0;
            assert!((0.6..1.6).contains(&(mean / target)), "{window_s} s: {mean} for {target}");
        }
    }

    #[test]
    fn compressed_it_has_the_rate_asked_for() {
        let trace = Arc::new(Trace::synthetic(1));
        let arrivals = trace.arrivals(2.0, 8_000.0, 5);
        assert!(arrivals.is_sorted());
        assert!((arrivals.len() as f64 / 16_000.0 - 1.0).abs() < 0.3, "{}", arrivals.len());
        assert_eq!(arrivals, trace.arrivals(2.0, 8_000.0, 5));
    }
}
