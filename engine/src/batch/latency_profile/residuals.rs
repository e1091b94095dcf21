//! Quantiles of `actual / expected`, pooled over all batch sizes.
//!
//! A histogram of logarithmic bins whose contents halve every [`HALF_LIFE_BATCHES`]; a table of the quantiles that
//! decisions ask for is renewed every [`RENEW_EVERY`] batches.

/// Quantiles decisions ask for, in order.
/// Neighbouring quantiles further apart than this belong to different modes.
const MODE_GAP: f64 = 1.15;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    P20,
    P50,
    P80,
    P90,
    P95,
    P97,
    P98,
    P99,
    P995,
}

/// Each level with the probability it stands for.
pub const LEVELS: [(Level, f64); 9] = [
    (Level::P20, 0.2),
    (Level::P50, 0.5),
    (Level::P80, 0.8),
    (Level::P90, 0.9),
    (Level::P95, 0.95),
    (Level::P97, 0.97),
    (Level::P98, 0.98),
    (Level::P99, 0.99),
    (Level::P995, 0.995),
];

/// Bins of 2 % from 1/16 to 16.
const BIN_LOG: f64 = 0.02;
const BINS: usize = 278;
const LOG_MIN: f64 = -2.78;

const HALF_LIFE_BATCHES: f64 = 400.0;
const RENEW_EVERY: u32 = 8;

/// Weight of what is assumed before anything is known: ratios spread by some 5 %.
const ASSUMED_WEIGHT: f64 = 6.0;
const ASSUMED: [(f64, f64); 5] = [(0.92, 0.1), (0.97, 0.2), (1.0, 0.4), (1.03, 0.2), (1.09, 0.1)];

#[derive(Clone, Debug)]
pub struct Residuals {
    bins: Box<[f64; BINS]>,
    /// Σ bins and Σ bins · ratio.
    total: f64,
    weighted: f64,
    /// Weight of the next batch: grows, so that all others need not shrink.
    next_weight: f64,
    since_renewed: u32,
    table: [f64; LEVELS.len()],
}

impl Default for Residuals {
    fn default() -> Residuals {
        let mut residuals = Residuals {
            bins: Box::new([0.0; BINS]),
            total: 0.0,
            weighted: 0.0,
            next_weight: 1.0,
            since_renewed: 0,
            table: [1.0; LEVELS.len()],
        };
        for (ratio, share) in ASSUMED {
            residuals.put(ratio, share * ASSUMED_WEIGHT);
        }
        residuals.renew();
        residuals
    }
}

impl Residuals {
    /// `r_u` of this level.
    pub fn ratio(&self, level: Level) -> f64 {
        self.table[level as usize]
    }

    /// Standard deviation of the bulk, from its quantiles: a slow mode of a few percent does not count.
    pub fn spread(&self) -> f64 {
        // From the 20th to the 80th percentile of a normal distribution lie 1.683 standard deviations.
        (self.ratio(Level::P80) - self.ratio(Level::P20)) / 1.683
    }

    /// The 95th percentile, but not that of a rare slow mode that has just become a little less rare.
    pub fn main95(&self) -> f64 {
        self.ratio(Level::P95).min(MODE_GAP * self.ratio(Level::P90))
    }

    pub fn mean(&self) -> f64 {
        if self.total > 0.0 { self.weighted / self.total } else { 1.0 }
    }

    pub(super) fn add(&mut self, ratio: f64) {
        self.put(ratio, self.next_weight);
        self.next_weight *= 2f64.powf(1.0 / HALF_LIFE_BATCHES);
        if self.next_weight > 1e12 {
            self.rescale();
        }
        self.since_renewed += 1;
        if self.since_renewed >= RENEW_EVERY {
            self.renew();
        }
    }

    /// Undoes additions of lately.
    pub(super) fn take_back(&mut self, ratios: &[f64]) {
        for &ratio in ratios {
            let weight = self.next_weight.min(self.bins[bin_of(ratio)]);
            self.put(ratio, -weight);
        }
        self.renew();
    }

    /// The quantiles of these probabilities, in ascending order, in one pass.
    fn quantiles<const N: usize>(&self, probabilities: [f64; N]) -> [f64; N] {
        let last = self.bins.iter().rposition(|&weight| weight > 0.0).unwrap_or(BINS / 2);
        let mut found = [(LOG_MIN + (last as f64 + 1.0) * BIN_LOG).exp(); N];
        let mut left = probabilities.map(|u| u * self.total);
        let mut first = 0;
        for (bin, &weight) in self.bins.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
            while first < N && left[first] <= weight {
                let within = left[first] / weight;
                found[first] = (LOG_MIN + (bin as f64 + within) * BIN_LOG).exp();
                first += 1;
            }
            left[first..].iter_mut().for_each(|left| *left -= weight);
        }
        found
    }

    /// The median of those ratios that are above `ratio`; `ratio` itself when there are none.
    pub fn median_beyond(&self, ratio: f64) -> f64 {
        let above = bin_of(ratio) + 1;
        let total: f64 = self.bins[above.min(BINS)..].iter().sum();
        let mut left = total / 2.0;
        for (bin, &weight) in
            self.bins.iter().enumerate().skip(above).filter(|(_, weight)| **weight > 0.0)
        {
            if left <= weight {
                return (LOG_MIN + (bin as f64 + left / weight) * BIN_LOG).exp();
            }
            left -= weight;
        }
        ratio
    }

    fn put(&mut self, ratio: f64, weight: f64) {
        self.bins[bin_of(ratio)] += weight;
        self.total += weight;
        self.weighted += weight * ratio;
    }

    fn renew(&mut self) {
        self.since_renewed = 0;
        self.table = self.quantiles(LEVELS.map(|(_, u)| u));
    }

    fn rescale(&mut self) {
        self.bins.iter_mut().for_each(|bin| *bin /= self.next_weight);
        self.total /= self.next_weight;
        self.weighted /= self.next_weight;
        self.next_weight = 1.0;
    }
}

fn bin_of(ratio: f64) -> usize {
    (((ratio.ln() - LOG_MIN) / BIN_LOG) as usize).min(BINS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_what_was_added() {
        let mut residuals = Residuals::default();
        for batch in 0..4000 {
            residuals.add(if batch % 100 < 3 { 4.0 } else { 1.0 });
        }
        assert!((residuals.ratio(Level::P50) - 1.0).abs() < 0.03);
        assert!((residuals.ratio(Level::P95) - 1.0).abs() < 0.03);
        assert!((residuals.ratio(Level::P98) / 4.0 - 1.0).abs() < 0.03);
        assert!((residuals.mean() - 1.09).abs() < 0.02);
    }

    #[test]
    fn forgets_by_halves() {
        let mut residuals = Residuals::default();
        (0..2000).for_each(|_| residuals.add(2.0));
        (0..2000).for_each(|_| residuals.add(1.0));
        assert!(
            (residuals.ratio(Level::P90) - 1.0).abs() < 0.03,
            "2000 batches are five half-lives"
        );
    }

    #[test]
    fn taking_back_undoes() {
        let mut residuals = Residuals::default();
        (0..400).for_each(|_| residuals.add(1.0));
        let before = residuals.quantiles([0.99])[0];
        (0..4).for_each(|_| residuals.add(2.0));
        residuals.take_back(&[2.0; 4]);
        assert!((residuals.quantiles([0.99])[0] / before - 1.0).abs() < 0.01);
    }
}
