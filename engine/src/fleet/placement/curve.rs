//! How long a batch takes by its rows, as measured on one kind of device, and what follows from it.
//!
//! Straight between what was measured. Past the largest batch that was measured nothing is said: a warm-up goes as far as
//! the promise allows. Below the smallest the first stretch is continued, but never under a proportional share.

use std::time::Duration;

/// What a slow batch takes of a usual one: the residuals' 95th percentile on a quiet machine.
const TAIL: f64 = 1.1;

/// A rate is carried where there is this much to spare.
pub(super) const HEAD_ROOM: f64 = 1.1;

/// A batch of a model that promises nothing takes this long at most, as the engine's own.
const BATCH_MS_MAX: f64 = 100.0;

#[derive(Clone, Debug, PartialEq)]
pub struct Curve(Vec<Point>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    rows: f64,
    ms: f64,
}

/// The most that one device does within a promise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capacity {
    /// A batch.
    pub rows: f64,
    pub rows_s: f64,
}

#[derive(Debug, PartialEq, thiserror::Error)]
pub enum CurveError {
    #[error("it has no point; write [rows, milliseconds] pairs, as in [[1, 2.0], [32, 9.5]]")]
    Empty,
    #[error("it has {rows} rows in {ms} ms; rows are at least 1, milliseconds more than 0")]
    Point { rows: f64, ms: f64 },
    #[error("{rows} rows are there twice; each batch size has one time")]
    Twice { rows: f64 },
}

impl Curve {
    /// From rows and milliseconds. A larger batch that was measured to take less takes as long as the smaller one.
    pub fn new(points: impl IntoIterator<Item = (f64, f64)>) -> Result<Curve, CurveError> {
        let mut points: Vec<Point> =
            points.into_iter().map(|(rows, ms)| Point { rows, ms }).collect();
        let sane = |it: &&Point| it.rows >= 1.0 && it.ms > 0.0 && (it.rows + it.ms).is_finite();
        if let Some(&Point { rows, ms }) = points.iter().find(|it| !sane(it)) {
            return Err(CurveError::Point { rows, ms });
        }
        points.sort_by(|a, b| a.rows.total_cmp(&b.rows));
        if let Some(twice) = points.windows(2).find(|pair| pair[0].rows == pair[1].rows) {
            return Err(CurveError::Twice { rows: twice[0].rows });
        }
        let first = points.first().ok_or(CurveError::Empty)?;
        if first.rows > 1.0 {
            let single = Point { rows: 1.0, ms: single_ms(&points) };
            points.insert(0, single);
        }
        for at in 1..points.len() {
            points[at].ms = points[at].ms.max(points[at - 1].ms);
        }
        Ok(Curve(points))
    }

    /// A batch of one row.
    pub fn single_ms(&self) -> f64 {
        self.0[0].ms
    }

    /// A batch of so many rows; of the largest that was measured for more.
    pub fn ms(&self, rows: f64) -> f64 {
        let found = self.stretches().find(|(_, to)| rows <= to.rows);
        found.map_or(self.last().ms, |(from, to)| {
            from.ms + (rows.max(1.0) - from.rows) * slope(from, to)
        })
    }

    /// Whether a batch of one row is on time, a slow one too.
    pub fn meets(&self, slo: Option<Duration>) -> bool {
        slo.is_none_or(|slo| self.single_ms() * TAIL <= millis(slo))
    }

    /// What one of so many replicas carries, each of its rows within the promise though it just missed a batch (of one
    /// replica) or waits for the next of several staggered ones. None: not even a single row.
    pub fn capacity(&self, slo: Option<Duration>, replicas: u32) -> Option<Capacity> {
        let most_ms =
            slo.map_or(BATCH_MS_MAX, |slo| millis(slo) / (TAIL + 1.0 / f64::from(replicas.max(1))));
        // Between two corners the rate rises or falls throughout: the best is a corner, or where time is up.
        let last = self.rows_within(most_ms);
        let corners = self.0.iter().map(|point| point.rows).filter(|rows| Some(*rows) <= last);
        let rated = corners.chain(last).map(|rows| (rows, rows / self.ms(rows) * 1e3));
        let best = rated.max_by(|a, b| a.1.total_cmp(&b.1));
        // A promise that only ever single rows keep is kept by them.
        let single = (self.meets(slo)).then_some((1.0, 1e3 / self.single_ms()));
        best.or(single).map(|(rows, rows_s)| Capacity { rows, rows_s })
    }

    /// How long the smallest batch takes that keeps up with this rate; None where none does.
    pub fn ms_at(&self, rows_s: f64) -> Option<f64> {
        let per_ms = rows_s * HEAD_ROOM / 1e3;
        let keeps_up = |point: &Point| point.rows >= per_ms * point.ms;
        if keeps_up(&self.0[0]) {
            return Some(self.single_ms());
        }
        let (from, to) = self.stretches().find(|(_, to)| keeps_up(to))?;
        let slope = slope(from, to);
        let rows = per_ms * (from.ms - slope * from.rows) / (1.0 - per_ms * slope);
        Some(self.ms(rows))
    }

    /// The largest whole batch that takes no longer.
    fn rows_within(&self, most_ms: f64) -> Option<f64> {
        let found = self.stretches().find(|(_, to)| to.ms > most_ms);
        let rows = match found {
            Some((from, _)) if from.ms > most_ms => return None,
            Some((from, to)) => from.rows + (most_ms - from.ms) / slope(from, to),
            None if self.last().ms > most_ms => return None,
            None => self.last().rows,
        };
        Some(rows.floor())
    }

    fn stretches(&self) -> impl Iterator<Item = (Point, Point)> {
        self.0.windows(2).map(|pair| (pair[0], pair[1]))
    }

    fn last(&self) -> Point {
        self.0[self.0.len() - 1]
    }
}

/// Of a curve that begins with larger batches.
fn single_ms(points: &[Point]) -> f64 {
    let first = points[0];
    let Some(&second) = points.get(1) else { return first.ms };
    let straight = first.ms - (first.rows - 1.0) * slope(first, second);
    straight.clamp(first.ms / first.rows, first.ms)
}

fn slope(from: Point, to: Point) -> f64 {
    (to.ms - from.ms) / (to.rows - from.rows)
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slo(ms: u64) -> Option<Duration> {
        Some(Duration::from_millis(ms))
    }

    /// `2 + 0.25 b` ms.
    fn literature() -> Curve {
        Curve::new([(8.0, 4.0), (64.0, 18.0)]).expect("two points")
    }

    #[test]
    fn it_is_straight_between_what_was_measured_and_goes_down_to_one_row() {
        let curve = literature();
        assert_eq!([curve.single_ms(), curve.ms(8.0), curve.ms(36.0)], [2.25, 4.0, 11.0]);
        assert_eq!(curve.ms(1000.0), 18.0, "no more was measured");
        let one = Curve::new([(16.0, 5.0)]).expect("a point");
        assert_eq!(
            [one.single_ms(), one.ms(8.0)],
            [5.0, 5.0],
            "nothing tells that fewer are sooner"
        );
        let steep = Curve::new([(2.0, 4.0), (4.0, 40.0)]).expect("two points");
        assert_eq!(steep.single_ms(), 2.0, "a row takes its share of two at least");
        let falling = Curve::new([(1.0, 4.0), (8.0, 3.0)]).expect("two points");
        assert_eq!(falling.ms(8.0), 4.0);
    }

    #[test]
    fn what_is_no_curve_is_refused() {
        let new = |points: &[(f64, f64)]| Curve::new(points.iter().copied());
        assert_eq!(new(&[]), Err(CurveError::Empty));
        for (rows, ms) in [(0.0, 1.0), (1.0, 0.0), (1.0, f64::INFINITY), (-2.0, 1.0)] {
            assert_eq!(new(&[(rows, ms)]), Err(CurveError::Point { rows, ms }));
        }
        assert_eq!(new(&[(4.0, 1.0), (4.0, 2.0)]), Err(CurveError::Twice { rows: 4.0 }));
        assert!(matches!(new(&[(f64::NAN, 1.0)]), Err(CurveError::Point { .. })));
    }

    #[test]
    fn the_capacity_is_the_best_rate_of_batches_that_leave_time_to_wait_for_one() {
        let curve = literature();
        // 21 ms: batches of 10 ms, which are of 32.
        let found = curve.capacity(slo(21), 1).expect("a capacity");
        assert_eq!((found.rows, found.rows_s), (32.0, 3200.0));
        let of_four = curve.capacity(slo(21), 4).expect("a capacity");
        assert!(of_four.rows > found.rows, "staggered replicas wait less");
        assert_eq!(curve.capacity(None, 1).expect("no promise").rows, 64.0);
    }

    #[test]
    fn a_promise_for_single_rows_only_is_kept_by_them_and_a_shorter_one_by_none() {
        let curve = literature();
        let single = curve.capacity(slo(3), 1).expect("a row of 2.25 ms");
        assert_eq!((single.rows, single.rows_s.round()), (1.0, 444.0));
        assert_eq!(curve.capacity(slo(2), 1), None);
        assert!(curve.meets(slo(3)) && !curve.meets(slo(2)) && curve.meets(None));
    }

    #[test]
    fn the_best_rate_may_be_before_time_is_up() {
        let cliff = Curve::new([(1.0, 1.0), (8.0, 2.0), (9.0, 9.0)]).expect("a curve");
        assert_eq!(cliff.capacity(slo(100), 1).expect("a capacity").rows, 8.0);
    }

    #[test]
    fn a_rate_is_kept_up_with_by_the_smallest_batch_that_does() {
        let curve = literature();
        assert_eq!(curve.ms_at(0.0), Some(2.25));
        // 1.1 × 2000 a second by b: b = 2.2 · (2 + 0.25 b) → 9.78 rows, 4.44 ms.
        let ms = curve.ms_at(2000.0).expect("it keeps up");
        assert!((ms - 4.444).abs() < 0.01, "{ms}");
        assert_eq!(curve.ms_at(4000.0), None, "64 rows in 18 ms are 3556 a second");
    }
}
