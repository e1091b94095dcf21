//! Spans of time as people write them.

use std::time::Duration;

/// As in 250us, 20ms, 1.5s or 2m.
pub fn parse(text: &str) -> Result<Duration, SpanError> {
    let unit_at = text.find(|c: char| c.is_alphabetic() || c == 'µ').ok_or(SpanError)?;
    let (number, unit) = text.split_at(unit_at);
    let seconds_each = match unit {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        _ => return Err(SpanError),
    };
    let number: f64 = number.trim().parse().map_err(|_| SpanError)?;
    Duration::try_from_secs_f64(number * seconds_each).map_err(|_| SpanError)
}

/// The text itself, once it is known to be a span.
pub fn checked(text: &str) -> Result<String, SpanError> {
    parse(text).map(|_| text.to_owned())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a span as 250us, 20ms, 1.5s or 2m")]
pub struct SpanError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_with_their_unit_and_never_without() {
        let of = |text| parse(text).map(|span| span.as_micros());
        assert_eq!(of("20ms"), Ok(20_000));
        assert_eq!(of("1.5s"), Ok(1_500_000));
        assert_eq!([of("250us"), of("250µs")], [Ok(250); 2]);
        assert_eq!(of("2m"), Ok(120_000_000));
        for wrong in ["20", "ms", "-1s", "5 weeks", "1h", "", "nans"] {
            assert_eq!(of(wrong), Err(SpanError), "{wrong}");
        }
    }
}
