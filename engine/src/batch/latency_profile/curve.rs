//! The centre curve: buckets of cost, and a line or an increasing chain of lines through them.
//!
//! A bucket remembers a bounded number of batches ([`WEIGHT_MAX`]) and forgets nothing by itself: at low load only
//! small batches run, and a fit that forgot the large ones would be wild when they come back (least squares with
//! global forgetting winds up).

/// Costs that have a bucket of their own: devices that work in tiles take a step at one size and not at the next.
const EXACT: usize = 128;
/// Buckets an octave beyond, up to 2^24.
const PER_OCTAVE: usize = 8;
const BUCKETS: usize = EXACT + PER_OCTAVE * 17;

/// A smaller batch is preferred when it does this much more per unit of time.
const EFFICIENT_BY: f64 = 1.05;

/// Batches a bucket's mean is worth at most: the share of a new one is 1/24 then.
const WEIGHT_MAX: f64 = 24.0;
/// What is left of that after a regime: the factor is a guess.
const WEIGHT_AFTER_REGIME: f64 = 6.0;
/// What another life's experience is worth.
const WEIGHT_PRIOR: f64 = 2.0;

/// A batch twice as large takes no less time, and no more than twice as much but for the step of a tile, which doubles
/// it once: sizes that no batch was seen of since a regime are believed within these bounds of those that were.
const TILE_STEP: f64 = 2.0;

/// A line is believed where it misses no well-known bucket by more than this; else the chain is.
const LINE_MISS_MAX: f64 = 0.04;
/// Standard deviations of a bucket's mean that are put down to noise.
const NOISE_SIGMAS: f64 = 3.0;
/// Batches that make a bucket well known.
const WEIGHT_KNOWN: f64 = 2.0;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bucket {
    /// Batches its means are worth.
    pub weight: f64,
    /// Mean cost of its batches.
    pub cost: f64,
    /// Mean service, nanoseconds.
    pub service: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Line {
    intercept: f64,
    slope: f64,
}

#[derive(Clone, Debug)]
pub struct Curve {
    buckets: Box<[Bucket; BUCKETS]>,
    /// Of those that hold anything, in order: a fit after each batch walks over them and not over all.
    used: Vec<usize>,
    line: Line,
    /// Corners of the chain, by cost, where the line does not do; else empty.
    chain: Vec<(f64, f64)>,
    largest: f64,
    /// Buckets of which a batch was seen, whether or not it counted.
    met: [bool; BUCKETS],
    /// Buckets of which none was seen since the latest regime: scaled along with those that were.
    stale: [bool; BUCKETS],
    spread: f64,
    /// Reused by the fit.
    blocks: Vec<Block>,
}

impl Default for Curve {
    fn default() -> Curve {
        let (chain, blocks) = (Vec::with_capacity(2 * BUCKETS), Vec::with_capacity(BUCKETS));
        Curve {
            buckets: Box::new([Bucket::default(); BUCKETS]),
            used: Vec::new(),
            line: Line::default(),
            chain,
            largest: 0.0,
            met: [false; BUCKETS],
            stale: [false; BUCKETS],
            spread: 0.0,
            blocks,
        }
    }
}

use super::FIRST_FAR;

impl Curve {
    pub(super) fn from_prior(buckets: &[Bucket]) -> Curve {
        let mut curve = Curve::default();
        let usable =
            |bucket: &&Bucket| bucket.weight > 0.0 && bucket.cost >= 1.0 && bucket.service > 0.0;
        let finite = |bucket: &&Bucket| bucket.cost.is_finite() && bucket.service.is_finite();
        for prior in buckets.iter().filter(usable).filter(finite) {
            let weight = prior.weight.min(WEIGHT_PRIOR);
            *curve.bucket_mut(prior.cost) = Bucket { weight, ..*prior };
        }
        curve.refit();
        curve
    }

    pub(super) fn known(centres: &[(f64, f64)]) -> Curve {
        let mut curve = Curve::default();
        for &(cost, service) in centres {
            let known = Bucket { weight: WEIGHT_MAX, cost, service };
            *curve.bucket_mut(cost) = known;
        }
        curve.refit();
        if !curve.chain.is_empty() {
            curve.chain = centres.to_vec();
        }
        curve
    }

    /// The buckets that hold anything, by cost.
    pub fn buckets(&self) -> impl Iterator<Item = &Bucket> + Clone {
        self.used.iter().map(|&index| &self.buckets[index])
    }

    /// The bucket of this cost, which holds something from now on.
    fn bucket_mut(&mut self, cost: f64) -> &mut Bucket {
        let index = bucket_of(cost);
        if let Err(place) = self.used.binary_search(&index) {
            self.used.insert(place, index);
        }
        &mut self.buckets[index]
    }

    pub(super) fn largest_cost(&self) -> f64 {
        self.largest
    }

    /// Buckets that hold anything.
    pub(super) fn sizes(&self) -> usize {
        self.used.len()
    }

    /// What is expected of this cost is measured, not guessed between others: its own bucket is known, or all lie on
    /// a line.
    pub(super) fn is_known(&self, cost: f64) -> bool {
        self.chain.is_empty() || self.buckets[bucket_of(cost)].weight >= WEIGHT_KNOWN
    }

    /// Whether no batch of about this cost was met before; from now on one was.
    pub(super) fn is_first(&mut self, cost: f64) -> bool {
        !std::mem::replace(&mut self.met[bucket_of(cost)], true)
    }

    /// Fixed cost of a batch, nanoseconds.
    pub fn intercept(&self) -> f64 {
        self.line.intercept
    }

    /// Nanoseconds per unit of cost.
    pub fn slope(&self) -> f64 {
        self.line.slope
    }

    /// `spread`: standard deviation of a batch's ratio to the centre.
    pub(super) fn update(&mut self, cost: f64, service: f64, spread: f64) {
        self.spread = spread;
        self.met[bucket_of(cost)] = true;
        self.stale[bucket_of(cost)] = false;
        let bucket = self.bucket_mut(cost);
        if bucket.weight == 1.0 && FIRST_FAR * service < bucket.service {
            // The first one compiled something, when nothing was known to tell it by.
            bucket.weight = 0.0;
        }
        bucket.weight = (bucket.weight + 1.0).min(WEIGHT_MAX);
        bucket.cost += (cost - bucket.cost) / bucket.weight;
        bucket.service += (service - bucket.service) / bucket.weight;
        let seen = *bucket;
        self.bound_stale(seen);
        self.refit();
    }

    /// Regimes that were none would otherwise multiply what is believed of sizes that don't run, again and again, until
    /// they never run.
    fn bound_stale(&mut self, seen: Bucket) {
        for &index in self.used.iter().filter(|&&index| self.stale[index]) {
            let bucket = &mut self.buckets[index];
            let by_cost = bucket.cost / seen.cost;
            let (least, most) = if by_cost >= 1.0 {
                (seen.service, seen.service * by_cost * TILE_STEP)
            } else {
                (seen.service * by_cost / TILE_STEP, seen.service)
            };
            if !(least..=most).contains(&bucket.service) {
                bucket.service = bucket.service.clamp(least, most);
                // A guess, that gives way to the first batch of its size.
                bucket.weight = bucket.weight.min(1.0);
            }
        }
    }

    /// Everything takes `factor` times as long.
    pub(super) fn rescale(&mut self, factor: f64) {
        for bucket in self.buckets.iter_mut() {
            bucket.service *= factor;
        }
        self.refit();
    }

    /// Makes what is known give way to what comes.
    pub(super) fn doubt(&mut self) {
        for bucket in self.buckets.iter_mut() {
            bucket.weight = bucket.weight.min(WEIGHT_AFTER_REGIME);
        }
        self.stale = [true; BUCKETS];
        self.refit();
    }

    pub(super) fn at(&self, cost: f64) -> f64 {
        let Some((&first, &last)) = self.chain.first().zip(self.chain.last()) else {
            return self.line.intercept + self.line.slope * cost;
        };
        if cost <= first.0 {
            // Between nothing at all and the first corner: no lower than the line's fixed cost, if that lies below.
            let start = self.line.intercept.min(first.1);
            return start + (first.1 - start) * (cost / first.0);
        }
        if cost >= last.0 {
            return last.1 + self.line.slope * (cost - last.0);
        }
        let after = self.chain.partition_point(|corner| corner.0 < cost);
        let (left, right) = (self.chain[after - 1], self.chain[after]);
        left.1 + (right.1 - left.1) * (cost - left.0) / (right.0 - left.0)
    }

    /// The largest cost, ≥ 0, with `at(cost) ≤ span`; infinite on a flat curve.
    pub(super) fn largest_within(&self, span: f64) -> f64 {
        let Some((&first, &last)) = self.chain.first().zip(self.chain.last()) else {
            return over(span - self.line.intercept, self.line.slope);
        };
        if span <= first.1 {
            let start = self.line.intercept.min(first.1);
            return (over(span - start, first.1 - start) * first.0).min(first.0);
        }
        if span >= last.1 {
            return last.0 + over(span - last.1, self.line.slope);
        }
        let after = self.chain.partition_point(|corner| corner.1 <= span);
        let (left, right) = (self.chain[after - 1], self.chain[after]);
        left.0 + (right.0 - left.0) * (span - left.1) / (right.1 - left.1)
    }

    /// The smallest cost that gets through at `rate` per nanosecond or faster; infinite when none does.
    pub(super) fn smallest_at_rate(&self, rate: f64) -> f64 {
        if self.chain.is_empty() {
            let left = 1.0 - rate * self.line.slope;
            return if left <= 0.0 { f64::INFINITY } else { rate * self.line.intercept / left };
        }
        let fast_enough = |corner: &&(f64, f64)| corner.0 >= rate * corner.1;
        self.chain.iter().find(fast_enough).map_or(f64::INFINITY, |corner| corner.0)
    }

    /// `cost`, or the end of the step below where that does clearly more per unit of time.
    pub(super) fn efficient(&self, cost: f64) -> f64 {
        let below = self.chain.partition_point(|corner| corner.0 <= cost);
        let rate = cost / self.at(cost);
        // The few corners below: beyond a step the last of them lies on the step's ramp.
        let better = |corner: &&(f64, f64)| corner.0 > EFFICIENT_BY * rate * corner.1;
        let candidates =
            self.chain[..below].iter().rev().take_while(|corner| corner.0 >= cost / 2.0);
        candidates
            .filter(better)
            .max_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)))
            .map_or(cost, |corner| corner.0)
    }

    fn refit(&mut self) {
        self.largest = self.buckets().last().map_or(0.0, |bucket| bucket.cost);
        self.line = Line::through(self.buckets());
        self.chain.clear();
        let (line, spread) = (self.line, self.spread);
        let misses = |bucket: &Bucket| {
            let at = line.intercept + line.slope * bucket.cost;
            let allowed = LINE_MISS_MAX + NOISE_SIGMAS * spread / bucket.weight.sqrt();
            bucket.weight >= WEIGHT_KNOWN && (at / bucket.service - 1.0).abs() > allowed
        };
        if self.buckets().any(misses) {
            self.fit_chain();
        }
    }

    /// Isotonic regression by pooling neighbours that fall (Ayer et al. 1955), then lines between the blocks.
    fn fit_chain(&mut self) {
        self.blocks.clear();
        for bucket in self.used.iter().map(|&index| &self.buckets[index]) {
            let (from, to) = (bucket.cost, bucket.cost);
            let mut block = Block { weight: bucket.weight, from, to, service: bucket.service };
            while let Some(&before) =
                self.blocks.last().filter(|before| before.service > block.service)
            {
                self.blocks.pop();
                block = before.pooled(block);
            }
            self.blocks.push(block);
        }
        for block in &self.blocks {
            self.chain.push((block.from, block.service));
            if block.to > block.from {
                self.chain.push((block.to, block.service));
            }
        }
    }
}

/// `span / slope`, zero when nothing is left and infinite when it costs nothing.
fn over(span: f64, slope: f64) -> f64 {
    if span < 0.0 {
        0.0
    } else if slope <= 0.0 {
        f64::INFINITY
    } else {
        span / slope
    }
}

impl Line {
    /// Least squares of the relative error; neither falling nor below nothing at zero. Through one bucket: no fixed
    /// cost, which is pessimistic for larger batches of any line that has one.
    fn through<'a>(buckets: impl Iterator<Item = &'a Bucket> + Clone) -> Line {
        let (mut w, mut x, mut y, mut xx, mut xy, mut count) = (0.0, 0.0, 0.0, 0.0, 0.0, 0);
        for bucket in buckets {
            let weight = bucket.weight / (bucket.service * bucket.service);
            w += weight;
            x += weight * bucket.cost;
            y += weight * bucket.service;
            xx += weight * bucket.cost * bucket.cost;
            xy += weight * bucket.cost * bucket.service;
            count += 1;
        }
        let through_origin = Line { intercept: 0.0, slope: if xx > 0.0 { xy / xx } else { 0.0 } };
        let spread = w * xx - x * x;
        if count < 2 || spread <= f64::EPSILON * w * xx {
            return through_origin;
        }
        let slope = (w * xy - x * y) / spread;
        let intercept = (y - slope * x) / w;
        if slope < 0.0 {
            Line { intercept: y / w, slope: 0.0 }
        } else if intercept < 0.0 {
            through_origin
        } else {
            Line { intercept, slope }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Block {
    weight: f64,
    /// Costs of its first and its last bucket.
    from: f64,
    to: f64,
    service: f64,
}

impl Block {
    fn pooled(self, next: Block) -> Block {
        let weight = self.weight + next.weight;
        let service = (self.weight * self.service + next.weight * next.service) / weight;
        Block { weight, from: self.from, to: next.to, service }
    }
}

fn bucket_of(cost: f64) -> usize {
    let whole = (cost as u64).max(1);
    if whole <= EXACT as u64 {
        return whole as usize - 1;
    }
    let octave = whole.ilog2();
    let part = (whole >> (octave - PER_OCTAVE.ilog2())) as usize & (PER_OCTAVE - 1);
    (EXACT + PER_OCTAVE * (octave - EXACT.ilog2()) as usize + part).min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_costs_have_buckets_of_their_own_and_octaves_are_split_in_eight() {
        let all: Vec<_> = (1..2000).map(|cost| bucket_of(f64::from(cost))).collect();
        assert!(all.is_sorted());
        assert!((1..128).all(|cost| bucket_of(f64::from(cost)) < bucket_of(f64::from(cost + 1))));
        assert_eq!(bucket_of(256.0), bucket_of(287.0));
        assert!(bucket_of(287.0) < bucket_of(288.0));
        assert_eq!(bucket_of(1e300), BUCKETS - 1);
    }

    #[test]
    fn a_stepped_device_gets_a_chain_that_never_falls() {
        let mut curve = Curve::default();
        let stepped = |cost: f64| 2.0 + 4.0 * (cost / 16.0).ceil();
        for _ in 0..10 {
            (1..=64).for_each(|cost| curve.update(f64::from(cost), stepped(f64::from(cost)), 0.0));
        }
        for cost in [4.0, 14.0, 30.0, 46.0, 62.0] {
            assert!(
                (curve.at(cost) / stepped(cost) - 1.0).abs() < 0.1,
                "{cost}: {}",
                curve.at(cost)
            );
        }
        let costs = (1..=640).map(|tenth| curve.at(f64::from(tenth) / 10.0));
        assert!(costs.is_sorted());
    }

    #[test]
    fn a_flat_curve_holds_any_cost() {
        let mut curve = Curve::default();
        (1..=8).for_each(|cost| curve.update(f64::from(cost), 5.0, 0.0));
        assert_eq!(curve.largest_within(4.0), 0.0);
        assert!(curve.largest_within(5.0 + 1e-9) > 1e6);
    }
}
