//! What a model takes for a batch, as measured, and what that allows: the bounds that goodput is compared with. Pure.

/// Milliseconds over rows: straight lines between the sizes that were measured, nothing past the largest.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Curve {
    /// Ascending in rows.
    points: Vec<Point>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) rows: u32,
    pub(super) ms: f64,
}

/// The most that can be served on time, and the batch that does it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Capacity {
    pub(super) rows: u32,
    pub(super) per_second: f64,
}

impl Curve {
    /// None without a point, or where one takes no time.
    pub(super) fn new(mut points: Vec<Point>) -> Option<Curve> {
        points.sort_by_key(|point| point.rows);
        points.dedup_by_key(|point| point.rows);
        let sane = points.iter().all(|point| point.ms > 0.0 && point.rows > 0);
        (sane && !points.is_empty()).then_some(Curve { points })
    }

    pub(super) fn points(&self) -> &[Point] {
        &self.points
    }

    pub(super) fn ms(&self, rows: u32) -> f64 {
        let above = self.points.partition_point(|point| point.rows < rows);
        let Some(right) = self.points.get(above) else {
            return self.points.last().map_or(f64::INFINITY, |last| last.ms);
        };
        let Some(left) = above.checked_sub(1).map(|left| self.points[left]) else {
            return right.ms;
        };
        let share = f64::from(rows - left.rows) / f64::from(right.rows - left.rows);
        left.ms + share * (right.ms - left.ms)
    }

    /// With N staggered replicas a request waits up to an Nth of a batch before its own.
    pub(super) fn capacity(&self, replicas: u32, slo_ms: f64) -> Capacity {
        let stagger = 1.0 + 1.0 / f64::from(replicas);
        self.best(replicas, |_, ms| ms * stagger <= slo_ms)
    }

    /// The most of `rate` requests a second that can be served on time: of fewer than the capacity all, of more the
    /// freshest, so that batches may be larger.
    pub(super) fn bound(&self, replicas: u32, rate: f64, slo_ms: f64) -> f64 {
        let capacity = self.capacity(replicas, slo_ms).per_second;
        if rate <= capacity {
            return rate;
        }
        let gather_ms = |rows: u32| f64::from(rows) / rate * 1e3;
        let fresh = self.best(replicas, |rows, ms| ms + gather_ms(rows) <= slo_ms);
        fresh.per_second.max(capacity)
    }

    fn best(&self, replicas: u32, feasible: impl Fn(u32, f64) -> bool) -> Capacity {
        let rows_max = self.points.last().map_or(0, |last| last.rows);
        let sizes = (1..=rows_max).map(|rows| (rows, self.ms(rows)));
        let allowed = sizes.filter(|&(rows, ms)| feasible(rows, ms)).map(|(rows, ms)| {
            let per_second = f64::from(replicas) * f64::from(rows) / ms * 1e3;
            Capacity { rows, per_second }
        });
        let none = Capacity { rows: 0, per_second: 0.0 };
        allowed.fold(none, |best, one| if one.per_second > best.per_second { one } else { best })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `2 + 0.25 b` ms.
    fn curve() -> Curve {
        let point = |rows: u32| Point { rows, ms: 2.0 + 0.25 * f64::from(rows) };
        Curve::new([64, 1, 8, 32].map(point).to_vec()).expect("a curve")
    }

    #[test]
    fn sizes_between_the_measured_ones_lie_on_straight_lines() {
        assert_eq!(curve().ms(8), 4.0);
        assert!((curve().ms(20) - 7.0).abs() < 1e-9);
        assert_eq!(Curve::new(vec![Point { rows: 4, ms: 3.0 }]).expect("a curve").ms(1), 3.0);
    }

    #[test]
    fn capacity_is_that_of_the_literature() {
        let one = curve().capacity(1, 20.0);
        assert_eq!(one.rows, 32);
        assert!((one.per_second - 3_200.0).abs() < 1e-6, "{one:?}");
        let four = curve().capacity(4, 20.0);
        assert_eq!(four.rows, 56);
        assert!((four.per_second - 14_000.0).abs() < 1e-6, "{four:?}");
    }

    #[test]
    fn below_capacity_all_can_be_served_and_past_it_larger_batches() {
        assert_eq!(curve().bound(1, 2_000.0, 20.0), 2_000.0);
        let past = curve().bound(1, 4_800.0, 20.0);
        assert!(past > 3_200.0 && past < 4_000.0, "{past}");
        assert!(curve().bound(1, 1e6, 20.0) >= past);
    }

    #[test]
    fn a_model_too_slow_for_the_promise_has_no_capacity() {
        assert_eq!(curve().capacity(1, 4.0).per_second, 0.0);
        assert_eq!(Curve::new(Vec::new()), None);
        assert_eq!(Curve::new(vec![Point { rows: 1, ms: 0.0 }]), None);
    }
}
