//! What an earlier life of the model learned, against what this one's warm-up measured. Pure.
//!
//! A prior knows more sizes than a warm-up runs, but maybe of a slower machine. So its level is that of today's
//! batches and only its shape is kept; where even the shape disagrees it is left aside.

use crate::batch::latency_profile::{Bucket, LatencyProfile, nanos};
use crate::dispatch::warm_up::plan::Measured;

/// Sizes further apart than this from the common factor are another shape: a step or a fixed cost that was not there.
const SHAPE_MISS_MAX: f64 = 1.5;

/// What became of a prior.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Prior {
    /// There was none.
    None,
    /// Nothing was measured: taken as it is, at low weight.
    Trusted,
    /// Its curve, at so many times what it said.
    Scaled { factor: f64 },
    /// Of another shape than what was measured.
    Refuted,
}

/// The profile that a replica goes live with. `row_cost`: what each synthetic row costs.
pub fn profile(stored: &[Bucket], measured: &[Measured], row_cost: u32) -> (LatencyProfile, Prior) {
    let prior = judge(stored, measured, row_cost);
    let mut profile = match prior {
        Prior::None | Prior::Refuted => LatencyProfile::default(),
        Prior::Trusted => LatencyProfile::with_prior(stored),
        Prior::Scaled { factor } => {
            let scaled = |it: &Bucket| Bucket { service: it.service * factor, ..*it };
            LatencyProfile::with_prior(&stored.iter().map(scaled).collect::<Vec<_>>())
        }
    };
    for batch in measured {
        profile.warm(cost(batch, row_cost), nanos(batch.service));
    }
    (profile, prior)
}

fn cost(batch: &Measured, row_cost: u32) -> f64 {
    f64::from(batch.rows) * f64::from(row_cost)
}

fn judge(stored: &[Bucket], measured: &[Measured], row_cost: u32) -> Prior {
    let known = LatencyProfile::with_prior(stored);
    if known.is_empty() {
        return Prior::None;
    }
    let centre = |it: &Measured| known.centre(cost(it, row_cost)).max(1.0);
    let ratio = |it: &Measured| nanos(it.service) / centre(it);
    let mut ratios: Vec<f64> = measured.iter().map(ratio).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let Some(&factor) = ratios.get(ratios.len() / 2) else { return Prior::Trusted };
    let near = |ratio: &f64| (1.0 / SHAPE_MISS_MAX..=SHAPE_MISS_MAX).contains(&(ratio / factor));
    if ratios.iter().all(near) { Prior::Scaled { factor } } else { Prior::Refuted }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn affine(rows: f64) -> f64 {
        (2.0 + 0.25 * rows) * 1e6
    }

    fn stored() -> Vec<Bucket> {
        let bucket = |&cost: &f64| Bucket { weight: 20.0, cost, service: affine(cost) };
        [1.0, 3.0, 10.0, 40.0, 64.0].iter().map(bucket).collect()
    }

    fn measured(service: impl Fn(f64) -> f64) -> Vec<Measured> {
        let one = |rows: u32| Measured {
            rows,
            service: Duration::from_nanos(service(f64::from(rows)) as u64),
        };
        [1, 2, 4, 8, 16].iter().flat_map(|&rows| [one(rows), one(rows)]).collect()
    }

    #[test]
    fn a_prior_of_this_machine_adds_the_sizes_that_were_not_run() {
        let (profile, prior) = profile(&stored(), &measured(affine), 1);
        assert!(matches!(prior, Prior::Scaled { factor } if (factor - 1.0).abs() < 0.01));
        assert!((profile.centre(64.0) / affine(64.0) - 1.0).abs() < 0.02);
        assert_eq!(profile.largest_within(1e12), 128.0, "the prior's largest size is believed");
    }

    #[test]
    fn a_prior_of_another_machine_is_brought_to_this_one() {
        let (profile, prior) = profile(&stored(), &measured(|rows| 3.0 * affine(rows)), 1);
        assert!(matches!(prior, Prior::Scaled { factor } if (factor - 3.0).abs() < 0.05));
        assert!((profile.centre(64.0) / (3.0 * affine(64.0)) - 1.0).abs() < 0.02);
    }

    #[test]
    fn a_prior_of_another_shape_is_left_aside() {
        let (profile, prior) = profile(&stored(), &measured(|rows| 2e6 * rows), 1);
        assert_eq!(prior, Prior::Refuted);
        assert!((profile.centre(16.0) / 32e6 - 1.0).abs() < 0.01, "as if it had never been");
    }

    #[test]
    fn a_batch_of_dear_rows_is_known_at_what_it_costs() {
        let dear = |rows: f64| affine(10.0 * rows);
        let (profile, prior) = profile(&stored(), &measured(dear), 10);
        assert!(matches!(prior, Prior::Scaled { factor } if (factor - 1.0).abs() < 0.01));
        assert!((profile.centre(160.0) / affine(160.0) - 1.0).abs() < 0.02);
    }

    #[test]
    fn a_prior_stands_alone_where_nothing_was_measured_and_no_prior_is_none() {
        let (alone, prior) = profile(&stored(), &[], 1);
        assert_eq!(prior, Prior::Trusted);
        assert!((alone.centre(10.0) / affine(10.0) - 1.0).abs() < 0.02);
        let (cold, prior) = profile(&[], &[], 1);
        assert!(cold.is_empty() && prior == Prior::None);
        let broken = [Bucket { weight: f64::NAN, cost: -1.0, service: f64::INFINITY }];
        assert_eq!(profile(&broken, &measured(affine), 1).1, Prior::None);
    }
}
