//! Arrivals that happened: a CSV of timestamps, and perhaps other columns, played again at any speed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Ten million rows are 80 MB of due times; longer traces are to be cut.
pub const ROWS_MAX: usize = 10_000_000;

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("the trace {path} can't be read: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("line {line} of the trace: {reason}")]
    Csv { line: u64, reason: String },
    #[error(
        "line {line} of the trace: '{found}' is no time; write seconds as a number, or 2026-01-31 12:00:00.5"
    )]
    Time { line: u64, found: String },
    #[error(
        "the trace has no rows; give a CSV whose first column, or the one named timestamp, is a time"
    )]
    Empty,
    #[error("the trace has more than {ROWS_MAX} rows; cut it")]
    TooLong,
    #[error("give a trace a speed or a rate above 0, and not both")]
    Speed,
    #[error("all rows of the trace have the same time, so it has no rate that could be changed")]
    Instant,
}

/// Due times from the first row on, ascending, in nanoseconds as they were recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    due_ns: Arc<[u64]>,
}

/// How fast it is played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// Times as fast as it happened.
    Times(f64),
    /// At this mean rate, requests a second.
    Rate(f64),
}

impl Replay {
    pub fn load(path: &Path) -> Result<Replay, ReplayError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ReplayError::Read { path: path.to_owned(), source })?;
        Replay::parse(&text)
    }

    /// Rows may come in any order.
    pub fn parse(text: &str) -> Result<Replay, ReplayError> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(text.as_bytes());
        let (mut column, mut times_ns) = (0, Vec::new());
        for (index, row) in reader.records().enumerate() {
            let row = row.map_err(|error| ReplayError::Csv {
                line: error.position().map_or(0, csv::Position::line),
                reason: error.to_string(),
            })?;
            if index == 0 && row.iter().all(is_name) {
                column = row.iter().position(is_named_time).unwrap_or(0);
                continue;
            }
            let line = row.position().map_or(0, csv::Position::line);
            let field = row.get(column).unwrap_or_default();
            let at_ns = nanoseconds(field)
                .ok_or_else(|| ReplayError::Time { line, found: field.to_owned() })?;
            if times_ns.len() == ROWS_MAX {
                return Err(ReplayError::TooLong);
            }
            times_ns.push(at_ns);
        }
        times_ns.sort_unstable();
        let first_ns = *times_ns.first().ok_or(ReplayError::Empty)?;
        let due_ns = |at_ns: &i128| u64::try_from(at_ns - first_ns).unwrap_or(u64::MAX);
        Ok(Replay { due_ns: times_ns.iter().map(due_ns).collect() })
    }

    pub fn rows(&self) -> usize {
        self.due_ns.len()
    }

    /// The same, faster or slower.
    pub fn at(&self, speed: Speed) -> Result<Replay, ReplayError> {
        let span_ns = self.span_ns();
        let times = match speed {
            Speed::Times(times) => times,
            Speed::Rate(_) if span_ns == 0 => return Err(ReplayError::Instant),
            Speed::Rate(rate) => rate * span_ns as f64 / 1e9 / self.rows() as f64,
        };
        if !(times.is_finite() && times > 0.0) {
            return Err(ReplayError::Speed);
        }
        let scaled = self.due_ns.iter().map(|&at_ns| (at_ns as f64 / times) as u64);
        Ok(Replay { due_ns: scaled.collect() })
    }

    /// From the first row to the last.
    pub fn span_ns(&self) -> u64 {
        self.due_ns.last().copied().unwrap_or(0)
    }

    pub fn due_ns(&self) -> &[u64] {
        &self.due_ns
    }
}

/// Of a column: letters and what joins them, and none that could be a time that was mistyped.
fn is_name(field: &str) -> bool {
    let field = field.trim();
    let letters = |sign: char| sign.is_alphabetic() || "_- ".contains(sign);
    !field.is_empty() && field.starts_with(char::is_alphabetic) && field.chars().all(letters)
}

fn is_named_time(field: &str) -> bool {
    let name = field.trim().to_ascii_lowercase();
    ["timestamp", "time", "arrival", "arrived_at", "at"].contains(&name.as_str())
}

/// A number of seconds, a date with a time, or a moment of RFC 3339.
fn nanoseconds(field: &str) -> Option<i128> {
    let field = field.trim();
    if let Ok(number) = field.parse::<f64>() {
        return number.is_finite().then_some((number * 1e9) as i128);
    }
    if let Ok(moment) = field.parse::<jiff::Timestamp>() {
        return Some(moment.as_nanosecond());
    }
    let civil = field.parse::<jiff::civil::DateTime>().ok()?;
    Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_nanosecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LLM: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\n\
        2023-11-16 18:15:46.6805900,374,44\n\
        2023-11-16 18:15:50.9951690,396,109\n\
        2023-11-16 18:15:51.2224670,879,55\n";

    #[test]
    fn a_published_trace_is_read_as_it_is() {
        let replay = Replay::parse(LLM).expect("a trace");
        assert_eq!(replay.due_ns(), [0, 4_314_579_000, 4_541_877_000]);
    }

    #[test]
    fn times_come_as_numbers_moments_and_in_any_column() {
        let due = |text| Replay::parse(text).map(|replay| replay.due_ns().to_vec()).expect(text);
        assert_eq!(due("0.5\n0.25\n1\n"), [0, 250_000_000, 750_000_000]);
        assert_eq!(due("model,timestamp\na,10\nb,12\n"), [0, 2_000_000_000]);
        assert_eq!(
            due("at\n2026-01-01T00:00:00Z\n2026-01-01T01:00:01+01:00\n"),
            [0, 1_000_000_000]
        );
    }

    #[test]
    fn speed_is_a_factor_or_a_rate() {
        let replay = Replay::parse("0\n1\n2\n4\n").expect("a trace");
        let due = |speed| replay.at(speed).map(|replay| replay.due_ns().to_vec()).expect("a speed");
        assert_eq!(due(Speed::Times(2.0)), [0, 500_000_000, 1_000_000_000, 2_000_000_000]);
        assert_eq!(due(Speed::Rate(4.0)), [0, 250_000_000, 500_000_000, 1_000_000_000]);
        assert!(matches!(replay.at(Speed::Times(0.0)), Err(ReplayError::Speed)));
        let instant = Replay::parse("5\n5\n").expect("a trace");
        assert!(matches!(instant.at(Speed::Rate(1.0)), Err(ReplayError::Instant)));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        assert!(matches!(Replay::parse(""), Err(ReplayError::Empty)));
        assert!(matches!(Replay::parse("TIMESTAMP,x\n"), Err(ReplayError::Empty)));
        let wrong = Replay::parse("time\n1\nyesterday\n");
        assert!(
            matches!(wrong, Err(ReplayError::Time { line: 3, ref found }) if found == "yesterday")
        );
    }
}
