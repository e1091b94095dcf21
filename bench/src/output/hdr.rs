//! The formats of HdrHistogram's tools: the interval log (`.hlog`, V2, compressed), written stretch by stretch while
//! the run goes on, and the table of percentiles (`.hgrm`).
//!
//! Values in the log are nanoseconds; its column of maxima, which is for people, is in milliseconds as other programs
//! write it. The table is in milliseconds, with nanoseconds as its last digits.

use std::fmt::Write as _;
use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriter, IntervalLogWriterBuilder, Tag};

use crate::measured::Measured;
use crate::outcome::STEPS_PER_HALVING;
use crate::record::Latencies;
use crate::session::Sight;

const NS_PER_MS: f64 = 1e6;
/// Of the histograms' three digits: powers of two that hold 2,000 steps.
const SUB_BUCKETS: u64 = 2_048;

#[derive(Debug, thiserror::Error)]
#[error("the interval log can't be written: {0}")]
pub struct LogError(String);

/// Where a log goes; outlives the log that is written to it.
pub struct Sink<W> {
    out: W,
    serializer: V2DeflateSerializer,
}

/// One tagged line for each kind of span in each stretch.
pub struct IntervalLog<'a, W: Write> {
    writer: IntervalLogWriter<'a, 'a, W, V2DeflateSerializer>,
    /// The first error; nothing is written after it.
    failed: Option<LogError>,
}

impl<W: Write> Sink<W> {
    pub fn new(out: W) -> Sink<W> {
        Sink { out, serializer: V2DeflateSerializer::new() }
    }

    /// `load`: what the figures are of. `started_unix_s`: when the measured time began.
    pub fn begin(
        &mut self,
        load: &str,
        started_unix_s: u64,
    ) -> Result<IntervalLog<'_, W>, LogError> {
        let started = UNIX_EPOCH + Duration::from_secs(started_unix_s);
        let writer = IntervalLogWriterBuilder::new()
            .add_comment("[Histogram log format version 1.3]")
            .add_comment(&format!("foil-bench: {load}"))
            .add_comment("values in ns, Interval_Max in ms; latency counts from the due time, service from the send")
            .with_start_time(started)
            .with_base_time(started)
            .with_max_value_divisor(NS_PER_MS)
            .begin_log_with(&mut self.out, &mut self.serializer)
            .map_err(|error| LogError(error.to_string()))?;
        Ok(IntervalLog { writer, failed: None })
    }
}

impl<W: Write> IntervalLog<'_, W> {
    /// An error is kept for [`IntervalLog::end`], so that the run goes on.
    pub fn look(&mut self, sight: Sight<'_>) {
        if self.failed.is_none() {
            let stretch = sight.stretch;
            let began = sight.at.saturating_sub(stretch.window);
            self.failed = self.write(stretch, began).err();
        }
    }

    pub fn end(self) -> Result<(), LogError> {
        self.failed.map_or(Ok(()), Err)
    }

    fn write(&mut self, stretch: &Measured, began: Duration) -> Result<(), LogError> {
        let spans = [
            ("latency", &stretch.latency),
            ("service", &stretch.service),
            ("send-lag", &stretch.send_lag),
        ];
        for (name, spans) in spans {
            self.writer
                .write_histogram(spans.histogram(), began, stretch.window, Tag::new(name))
                .map_err(|error| LogError(error.to_string()))?;
        }
        Ok(())
    }
}

/// As HdrHistogram's plotters read it: milliseconds, the share at or below, the count, and how rare it is.
pub fn hgrm(latencies: &Latencies) -> String {
    let histogram = latencies.histogram();
    let (mut out, mut seen) = (hgrm_head(), 0);
    for step in histogram.iter_quantiles(STEPS_PER_HALVING).filter(|_| !histogram.is_empty()) {
        seen += step.count_since_last_iteration();
        let (ms, quantile) =
            (step.value_iterated_to() as f64 / NS_PER_MS, step.quantile_iterated_to());
        let rarity = match quantile {
            all if all >= 1.0 => String::new(),
            part => format!(" {:14.2}", 1.0 / (1.0 - part)),
        };
        let _always_ok = writeln!(out, "{ms:12.6} {quantile:2.12} {seen:10}{rarity}");
    }
    out + &hgrm_foot(latencies)
}

fn hgrm_head() -> String {
    format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    )
}

fn hgrm_foot(latencies: &Latencies) -> String {
    let histogram = latencies.histogram();
    let ms = |ns: f64| ns / NS_PER_MS;
    let (mean, deviation) = (ms(histogram.mean()), ms(histogram.stdev()));
    let (max, count) = (ms(histogram.max() as f64), histogram.len());
    let buckets = buckets(histogram.high());
    format!(
        "#[Mean    = {mean:12.6}, StdDeviation   = {deviation:12.6}]\n\
         #[Max     = {max:12.6}, Total count    = {count:12}]\n\
         #[Buckets = {buckets:12}, SubBuckets     = {SUB_BUCKETS:12}]\n"
    )
}

/// Doublings of the finest bucket until it holds the highest value.
fn buckets(high: u64) -> u32 {
    (0..u64::BITS).find(|doublings| SUB_BUCKETS << doublings > high).unwrap_or(u64::BITS) + 1
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::output::examples::stretches;

    fn log_of(stretches: &[Measured]) -> String {
        let mut sink = Sink::new(Vec::new());
        let mut log = sink.begin("open loop,\nnot a header", 1_000).expect("a vector takes all");
        let mut whole = Measured::default();
        for stretch in stretches {
            whole.add(stretch);
            log.look(Sight { at: whole.window, stretch, whole: &whole });
        }
        log.end().expect("written");
        String::from_utf8(sink.out).expect("text")
    }

    /// By the crate's own parser: tag, start, length and the histogram.
    fn parsed(text: &str) -> Vec<(String, Duration, Duration, Histogram<u64>)> {
        let mut deserializer = Deserializer::new();
        let mut found = Vec::new();
        for entry in IntervalLogIterator::new(text.as_bytes()) {
            if let LogEntry::Interval(interval) = entry.expect("a line of the format") {
                let engine = base64_of(interval.encoded_histogram());
                let histogram =
                    deserializer.deserialize(&mut engine.as_slice()).expect("a histogram");
                let tag = interval.tag().expect("each has one").as_str().to_owned();
                found.push((tag, interval.start_timestamp(), interval.duration(), histogram));
            }
        }
        found
    }

    #[test]
    fn what_was_written_is_read_again_stretch_by_stretch() {
        let stretches = stretches(3);
        let read = parsed(&log_of(&stretches));
        assert_eq!(read.len(), 3 * stretches.len());
        for (index, (tag, start, length, histogram)) in read.iter().enumerate() {
            let stretch = &stretches[index / 3];
            let (name, spans) = [
                ("latency", &stretch.latency),
                ("service", &stretch.service),
                ("send-lag", &stretch.send_lag),
            ][index % 3];
            assert_eq!((tag.as_str(), histogram), (name, spans.histogram()));
            assert_eq!(*start, stretch.window * (index / 3) as u32);
            assert_eq!(*length, stretch.window);
        }
    }

    #[test]
    fn the_log_says_what_it_is_before_its_first_line() {
        let text = log_of(&stretches(1));
        let head: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
        assert_eq!(head[0], "#[Histogram log format version 1.3]");
        assert!(head.contains(&"#[StartTime: 1000.000 (seconds since epoch)]"), "{head:?}");
        assert_eq!(text.lines().count(), head.len() + 3, "a label can't smuggle lines in");
    }

    #[test]
    fn a_full_disk_ends_the_log_and_not_the_run() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                // The head still fits.
                if bytes[0] == b'#' {
                    Ok(bytes.len())
                } else {
                    Err(std::io::ErrorKind::StorageFull.into())
                }
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (mut sink, stretch) = (Sink::new(std::io::LineWriter::new(Full)), &stretches(1)[0]);
        let mut log = sink.begin("load", 0).expect("the head");
        log.look(Sight { at: stretch.window, stretch, whole: stretch });
        log.look(Sight { at: stretch.window, stretch, whole: stretch });
        assert!(log.end().is_err());
    }

    #[test]
    fn the_table_of_percentiles_has_the_tools_columns() {
        let mut latencies = Latencies::default();
        (1..=1_000_u64).for_each(|us| latencies.record(us * 1_000));
        let text = hgrm(&latencies);
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .take_while(|line| !line.starts_with('#'))
            .map(|line| {
                line.split_whitespace().map(|cell| cell.parse().expect("a number")).collect()
            })
            .collect();
        let median = rows.iter().find(|row| row[1] == 0.5).expect("a row for the median");
        assert!(
            (median[0] - 0.5).abs() < 0.001 && median[2] == 500.0 && median[3] == 2.0,
            "{median:?}"
        );
        let last = rows.last().expect("rows");
        assert!(last.len() == 3 && last[1] == 1.0 && last[2] == 1_000.0, "{last:?}");
        assert!(text.contains("Total count    =         1000]"), "{text}");
    }

    #[test]
    fn an_empty_table_has_its_head_and_foot() {
        let text = hgrm(&Latencies::default());
        assert_eq!(text.lines().count(), 2 + 3, "{text}");
        assert!(!text.contains("NaN"));
    }

    #[test]
    fn buckets_hold_the_highest_value() {
        assert_eq!([2_047, 2_048, 60_000_000_000].map(buckets), [1, 2, 26]);
    }

    /// The log's alphabet, by hand: the crate keeps its own decoder to itself.
    fn base64_of(text: &str) -> Vec<u8> {
        let digit = |c: u8| match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        let digits = text.bytes().filter(|c| *c != b'=').map(digit);
        let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0_u32);
        for digit in digits {
            (bits, held) = (bits << 6 | u32::from(digit), held + 6);
            if held >= 8 {
                held -= 8;
                bytes.push((bits >> held) as u8);
            }
        }
        bytes
    }
}
