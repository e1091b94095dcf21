//! MLPerf's inference scenarios as presets: what is asked, how much of it, and what a run may say. Pure.
//!
//! The figures are those of the inference rules ("Scenarios" and the appendix on early stopping) and of LoadGen 6.0's
//! `mlperf.conf`, `test_settings.h` and `results.cc`. A query is one HTTP request: MultiStream's carries eight times the
//! rows. LoadGen itself, its log, its accuracy run and its audit are deliberately absent, so nothing here is an MLPerf
//! result; a run that has the scenario's duration and counts is comparable in kind, and a shorter one is labelled as
//! not even that.

pub mod command;
pub mod early_stopping;

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

use self::early_stopping::{queries_min, rank_from_highest};

/// Every scenario runs for ten minutes at least (`min_duration` in `mlperf.conf`).
const SECONDS_MIN: f64 = 600.0;
/// LoadGen's own least where `mlperf.conf` names none (`test_settings.h`).
const QUERIES_MIN: u64 = 100;
/// `mlperf.conf`; also what early stopping needs for a 99th percentile.
const MULTI_STREAM_QUERIES_MIN: u64 = 662;
const MULTI_STREAM_SAMPLES: u64 = 8;
/// The rules' least for a data set of that size or larger.
const OFFLINE_SAMPLES_MIN: u64 = 24_576;
/// LoadGen asks so many times what it expects to fit, so that the run isn't over too early.
const OFFLINE_SLACK: f64 = 1.1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Scenario {
    /// One query after the other; the 90th percentile is the result
    SingleStream,
    /// The same with eight samples in each; the 99th percentile is the result
    MultiStream,
    /// Poisson arrivals; valid where the 99th percentile keeps the latency
    Server,
    /// All samples at once; samples a second are the result
    Offline,
}

/// What a scenario prescribes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Preset {
    pub scenario: Scenario,
    pub seconds_min: f64,
    /// Offline: samples, of the one query.
    pub queries_min: u64,
    pub samples_per_query: u64,
    /// None: latency doesn't matter.
    pub percentile: Option<f64>,
}

/// What a run did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Counted {
    pub seconds: f64,
    /// Asked. Offline: the samples.
    pub queries: u64,
    /// Server: answered later than the target, or not at all.
    pub over: u64,
}

/// What LoadGen would say of such a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Empty: valid.
    pub shortfalls: Vec<Shortfall>,
    /// SingleStream and MultiStream: the rank of the latency that is the result, counted from the highest.
    pub rank_from_highest: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shortfall {
    Seconds {
        least: f64,
    },
    Queries {
        least: u64,
    },
    /// Early stopping: so many queries are needed for what was seen.
    Evidence {
        least: u64,
    },
    /// More than the percentile allows were late.
    Late {
        allowed: u64,
    },
}

impl Scenario {
    pub fn preset(self) -> Preset {
        let preset = |queries_min, samples_per_query, percentile| Preset {
            scenario: self,
            seconds_min: SECONDS_MIN,
            queries_min,
            samples_per_query,
            percentile,
        };
        match self {
            Scenario::SingleStream => preset(QUERIES_MIN, 1, Some(0.90)),
            Scenario::MultiStream => {
                preset(MULTI_STREAM_QUERIES_MIN, MULTI_STREAM_SAMPLES, Some(0.99))
            }
            Scenario::Server => preset(QUERIES_MIN, 1, Some(0.99)),
            Scenario::Offline => preset(OFFLINE_SAMPLES_MIN, 1, None),
        }
    }
}

impl Preset {
    pub fn verdict(&self, counted: Counted) -> Verdict {
        let mut shortfalls = Vec::new();
        if counted.seconds < self.seconds_min {
            shortfalls.push(Shortfall::Seconds { least: self.seconds_min });
        }
        if counted.queries < self.queries_min {
            shortfalls.push(Shortfall::Queries { least: self.queries_min });
        }
        shortfalls.extend(self.evidence_short_of(counted));
        shortfalls.extend(self.too_late(counted));
        Verdict { shortfalls, rank_from_highest: self.result_rank(counted.queries) }
    }

    /// How many samples the one query must have to keep a server of this rate busy for so long. A try that is shorter
    /// than the scenario may have fewer than it asks for.
    pub fn offline_samples(&self, samples_per_second: f64, seconds: f64) -> u64 {
        let expected = (OFFLINE_SLACK * seconds * samples_per_second) as u64;
        if seconds < self.seconds_min { expected.max(1) } else { expected.max(self.queries_min) }
    }

    fn evidence_short_of(&self, counted: Counted) -> Option<Shortfall> {
        let percentile = self.percentile?;
        // The result of a stream is a latency that at least one query was over.
        let over = if self.scenario == Scenario::Server { counted.over } else { 1 };
        let least = queries_min(over, percentile);
        (counted.queries < least).then_some(Shortfall::Evidence { least })
    }

    /// LoadGen's percentile is the latency at rank ⌊n·p⌋ from zero: so many of n are above it.
    fn too_late(&self, counted: Counted) -> Option<Shortfall> {
        let percentile = self.percentile.filter(|_| self.scenario == Scenario::Server)?;
        let rank = (counted.queries as f64 * percentile) as u64;
        let allowed = counted.queries.saturating_sub(rank + 1);
        (counted.over > allowed).then_some(Shortfall::Late { allowed })
    }

    fn result_rank(&self, queries: u64) -> Option<u64> {
        let percentile = self.percentile.filter(|_| self.scenario != Scenario::Server)?;
        rank_from_highest(queries, percentile)
    }
}

impl Verdict {
    pub fn is_valid(&self) -> bool {
        self.shortfalls.is_empty()
    }

    /// Whether the run is as long as the scenario asks, whatever it found.
    pub fn is_comparable(&self) -> bool {
        !self.shortfalls.iter().any(|shortfall| match shortfall {
            Shortfall::Seconds { .. } | Shortfall::Queries { .. } => true,
            Shortfall::Evidence { .. } | Shortfall::Late { .. } => false,
        })
    }
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shortfall::Seconds { least } => write!(f, "shorter than {least} s"),
            Shortfall::Queries { least } => write!(f, "fewer than {least} queries"),
            Shortfall::Evidence { least } => {
                write!(f, "early stopping wants {least} queries for what was seen")
            }
            Shortfall::Late { allowed } => write!(f, "more than {allowed} queries were late"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shortfalls(scenario: Scenario, seconds: f64, queries: u64, over: u64) -> Vec<Shortfall> {
        scenario.preset().verdict(Counted { seconds, queries, over }).shortfalls
    }

    #[test]
    fn a_run_that_is_long_enough_is_valid() {
        assert_eq!(shortfalls(Scenario::SingleStream, 600.0, 100, 0), []);
        assert_eq!(shortfalls(Scenario::MultiStream, 600.0, 662, 0), []);
        assert_eq!(shortfalls(Scenario::Server, 600.0, 459, 0), []);
        assert_eq!(shortfalls(Scenario::Offline, 600.0, 24_576, 0), []);
    }

    #[test]
    fn a_short_run_is_labelled_not_comparable() {
        let short =
            Scenario::SingleStream.preset().verdict(Counted { seconds: 5.0, queries: 90, over: 0 });
        let least = [Shortfall::Seconds { least: 600.0 }, Shortfall::Queries { least: 100 }];
        assert_eq!(short.shortfalls, least);
        assert!(!short.is_comparable());
        assert_eq!(short.rank_from_highest, Some(2), "what it says is still said");
    }

    #[test]
    fn a_server_run_needs_more_queries_the_more_were_late() {
        assert_eq!(shortfalls(Scenario::Server, 600.0, 100_000, 900), []);
        let close = shortfalls(Scenario::Server, 600.0, 100_000, 950);
        assert!(matches!(close[..], [Shortfall::Evidence { least: 102_345.. }]), "{close:?}");
        let late = shortfalls(Scenario::Server, 600.0, 100_000, 1_000);
        assert_eq!(late[1], Shortfall::Late { allowed: 999 });
        let found = Scenario::Server.preset().verdict(Counted {
            seconds: 600.0,
            queries: 100_000,
            over: 1_000,
        });
        assert!(found.is_comparable() && !found.is_valid());
    }

    #[test]
    fn streams_discard_what_chance_may_have_made_slow() {
        let rank = |scenario: Scenario, queries| {
            let counted = Counted { seconds: 600.0, queries, over: 0 };
            scenario.preset().verdict(counted).rank_from_highest
        };
        assert_eq!(rank(Scenario::MultiStream, 661), None);
        assert_eq!(rank(Scenario::MultiStream, 662), Some(1));
        let many = rank(Scenario::SingleStream, 100_000).expect("enough");
        assert!((9_700..10_000).contains(&many), "{many}");
        assert_eq!(rank(Scenario::Server, 100_000), None);
        assert_eq!(rank(Scenario::Offline, 100_000), None);
    }

    #[test]
    fn an_offline_query_lasts_as_long_as_it_must() {
        let offline = Scenario::Offline.preset();
        assert_eq!(offline.offline_samples(1.0, 600.0), 24_576);
        assert_eq!(offline.offline_samples(1_000.0, 600.0), 660_000);
        assert_eq!(offline.offline_samples(1_000.0, 2.0), 2_200);
    }
}
