//! An axis: from where to where, how it is scaled, and which of its values are named. Pure.

use super::super::figures::{percentile, quantity, time};

/// What the values are; decides how ticks are placed and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Microseconds, on a logarithmic scale.
    Time,
    /// 1 / (1 - quantile), on a logarithmic scale.
    Percentile,
    /// A number, from zero.
    Quantity,
    /// Seconds of the run, from zero.
    Seconds,
    /// How many times one is the other, around 1.
    Ratio,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    pub label: &'static str,
    pub unit: Unit,
    from: f64,
    to: f64,
}

/// More decades than this name only their powers of ten.
const DECADES_NAMED_FINELY: f64 = 2.5;

impl Axis {
    /// An axis that holds all the values; it has a length even where they are one or none.
    pub fn over(label: &'static str, unit: Unit, values: impl Iterator<Item = f64>) -> Axis {
        let (mut least, mut most) = (f64::MAX, f64::MIN);
        for value in values.filter(|value| value.is_finite() && (*value > 0.0 || !unit.is_log())) {
            (least, most) = (least.min(value), most.max(value));
        }
        if least > most {
            (least, most) = (1.0, 10.0);
        }
        let (from, to) = match unit {
            Unit::Time => (round_down(least), round_up(most).max(round_down(least) * 10.0)),
            Unit::Percentile => (1.0, most.max(10.0)),
            Unit::Quantity => (0.0, if most > 0.0 { most * 1.08 } else { 1.0 }),
            Unit::Seconds => (0.0, if most > 0.0 { most } else { 1.0 }),
            Unit::Ratio => around_one(least, most),
        };
        Axis { label, unit, from, to }
    }

    /// Where the value lies, 0 to 1; beyond the ends it is drawn at the end.
    pub fn place(&self, value: f64) -> f64 {
        let place = if self.unit.is_log() {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        place.clamp(0.0, 1.0)
    }

    pub fn range(&self) -> (f64, f64) {
        (self.from, self.to)
    }

    /// Values to name, `most` of them or a few more, and how they are written.
    pub fn ticks(&self, most: usize) -> Vec<(f64, String)> {
        let values = match self.unit {
            Unit::Time => self.steps_of_ten(),
            Unit::Percentile => self.percentiles(),
            Unit::Quantity | Unit::Seconds | Unit::Ratio => self.even_steps(most),
        };
        let written = |value: f64| match self.unit {
            Unit::Time => short_time(value),
            Unit::Percentile => percentile(1.0 - 1.0 / value),
            Unit::Quantity | Unit::Seconds | Unit::Ratio => plain(value),
        };
        values.into_iter().map(|value| (value, written(value))).collect()
    }

    fn even_steps(&self, most: usize) -> Vec<f64> {
        let step = round_up((self.to - self.from) / most.max(1) as f64);
        let first = (self.from / step).ceil() as i64;
        let last = (self.to / step + 1e-9).floor() as i64;
        (first..=last).map(|index| index as f64 * step).collect()
    }

    fn steps_of_ten(&self) -> Vec<f64> {
        let finely = (self.to / self.from).log10() <= DECADES_NAMED_FINELY;
        let steps: &[f64] = if finely { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let decades = self.from.log10().floor() as i32..=self.to.log10().ceil() as i32;
        let values =
            decades.flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)));
        let slack = 1.0 + 1e-9;
        values.filter(|&value| value >= self.from / slack && value <= self.to * slack).collect()
    }

    /// 0 %, 50 %, 90 %, 99 % and so on.
    fn percentiles(&self) -> Vec<f64> {
        let tens = (1..=9).map(|nines| 10f64.powi(nines)).take_while(|&value| value <= self.to);
        [1.0, 2.0].into_iter().chain(tens).collect()
    }
}

impl Unit {
    fn is_log(self) -> bool {
        matches!(self, Unit::Time | Unit::Percentile)
    }
}

/// To 1, 2 or 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let digit = [1.0, 2.0, 5.0].into_iter().find(|digit| digit * power >= value * (1.0 - 1e-9));
    digit.unwrap_or(10.0) * power
}

fn round_down(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let digit = [5.0, 2.0].into_iter().find(|digit| digit * power <= value * (1.0 + 1e-9));
    digit.unwrap_or(1.0) * power
}

/// With room at both ends and 1 inside.
fn around_one(least: f64, most: f64) -> (f64, f64) {
    let (least, most) = (least.min(1.0), most.max(1.0));
    let room = ((most - least) * 0.12).max(0.02);
    (least - room, most + room)
}

/// A tick's time has no digits to spare: `20 µs`.
fn short_time(us: f64) -> String {
    let text = time(us);
    let Some((digits, unit)) = text.split_once(' ') else { return text };
    format!("{} {unit}", without_zeros(digits))
}

fn plain(value: f64) -> String {
    if value.abs() < 1e-9 { "0".to_owned() } else { without_zeros(&quantity(value)).to_owned() }
}

fn without_zeros(digits: &str) -> &str {
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(axis: &Axis, most: usize) -> Vec<String> {
        axis.ticks(most).into_iter().map(|tick| tick.1).collect()
    }

    #[test]
    fn times_are_named_at_round_steps_and_all_lie_inside() {
        let narrow = Axis::over("", Unit::Time, [23.0, 870.0].into_iter());
        assert_eq!(named(&narrow, 5), ["20 µs", "50 µs", "100 µs", "200 µs", "500 µs", "1 ms"]);
        let wide = Axis::over("", Unit::Time, [3.0, 870_000.0].into_iter());
        assert_eq!(named(&wide, 5), ["10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s"]);
        assert_eq!((wide.place(2.0), wide.place(1e6), wide.place(0.0)), (0.0, 1.0, 0.0));
    }

    #[test]
    fn percentiles_are_spread_by_their_distance_from_all() {
        let axis = Axis::over("", Unit::Percentile, [20_000.0].into_iter());
        assert_eq!(named(&axis, 9), ["0%", "50%", "90%", "99%", "99.9%", "99.99%"]);
        let steps = [10.0, 100.0, 1_000.0].map(|value| axis.place(value));
        assert!((steps[1] - steps[0] - (steps[2] - steps[1])).abs() < 1e-9, "{steps:?}");
    }

    #[test]
    fn quantities_start_at_zero_and_are_grouped() {
        let axis = Axis::over("", Unit::Quantity, [18_700.0].into_iter());
        assert_eq!(named(&axis, 5), ["0", "5,000", "10,000", "15,000", "20,000"]);
        let small = Axis::over("", Unit::Quantity, [0.9].into_iter());
        assert_eq!(named(&small, 5), ["0", "0.2", "0.4", "0.6", "0.8"]);
    }

    #[test]
    fn a_ratio_axis_holds_one() {
        let axis = Axis::over("", Unit::Ratio, [0.81, 0.93].into_iter());
        assert!(named(&axis, 6).contains(&"1".to_owned()), "{axis:?}");
    }

    #[test]
    fn an_axis_without_values_or_with_one_still_has_a_length() {
        for unit in [Unit::Time, Unit::Percentile, Unit::Quantity, Unit::Seconds, Unit::Ratio] {
            for values in [vec![], vec![0.0], vec![1.0], vec![f64::NAN]] {
                let axis = Axis::over("", unit, values.iter().copied());
                let (from, to) = axis.range();
                assert!(to > from && axis.place(1.0).is_finite(), "{axis:?} {values:?}");
                assert!(!axis.ticks(5).is_empty(), "{axis:?} {values:?}");
            }
        }
    }
}
