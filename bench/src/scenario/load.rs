//! The load of a scenario: closed, or open by a pattern or a trace.

use std::path::{Path, PathBuf};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use crate::arrivals::replay::{Replay, ReplayError, Speed};
use crate::arrivals::{ArrivalError, Arrivals, Pattern};
use crate::plan::Load;
use crate::report::count;

/// `[load]` of a scenario. Left out, the loop is closed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(untagged)]
pub enum LoadSpec {
    #[default]
    Closed,
    /// `rate`: the mean in requests a second, for patterns that bring none of their own.
    Open {
        #[serde(flatten)]
        pattern: Pattern,
        rate: Option<f64>,
    },
    /// As fast as it happened, unless a speed or a mean rate is given.
    Replay { trace: PathBuf, speed: Option<f64>, rate: Option<f64> },
}

/// A load that is ready to be driven.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub load: Load,
    /// As in "open loop, Poisson, 1,000 requests/s".
    pub label: String,
    /// Of loads that end by themselves: seconds from the first to the last.
    pub seconds: Option<f64>,
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Arrivals(#[from] ArrivalError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

impl LoadSpec {
    pub fn is_open(&self) -> bool {
        *self != LoadSpec::Closed
    }

    /// `connections`: for the label of a closed loop. Traces lie where they say, from `folder` on.
    pub fn prepare(
        &self,
        connections: usize,
        seed: u64,
        folder: &Path,
    ) -> Result<Prepared, LoadError> {
        match self {
            LoadSpec::Closed => Ok(Prepared {
                load: Load::Closed,
                label: format!("closed loop, {} connections", count(connections as f64)),
                seconds: None,
            }),
            LoadSpec::Open { pattern, rate } => Ok(Prepared {
                load: Load::Open(Arrivals::of(pattern, *rate, seed)?),
                label: format!("open loop, {}", pattern.label(*rate)),
                seconds: None,
            }),
            LoadSpec::Replay { trace, speed, rate } => {
                let recorded = Replay::load(&folder.join(trace))?;
                let replay = recorded.at(speed_of(*speed, *rate)?)?;
                let faster = recorded.span_ns() as f64 / replay.span_ns().max(1) as f64;
                let (name, rows) = (trace.display(), count(replay.rows() as f64));
                Ok(Prepared {
                    label: format!("open loop, {rows} requests of {name}, {faster:.3} × as fast"),
                    // The last one is inside.
                    seconds: Some((replay.span_ns() + 1) as f64 / 1e9),
                    load: Load::Listed(replay.due_ns().to_vec()),
                })
            }
        }
    }
}

fn speed_of(speed: Option<f64>, rate: Option<f64>) -> Result<Speed, ReplayError> {
    match (speed, rate) {
        (Some(_), Some(_)) => Err(ReplayError::Speed),
        (None, Some(rate)) => Ok(Speed::Rate(rate)),
        (speed, None) => Ok(Speed::Times(speed.unwrap_or(1.0))),
    }
}

/// By hand, since "matches no variant" helps nobody who misspelt a field.
impl<'de> Deserialize<'de> for LoadSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LoadSpec, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct OfTrace {
            trace: PathBuf,
            speed: Option<f64>,
            rate: Option<f64>,
        }

        let mut fields = Map::deserialize(deserializer)?;
        if fields.contains_key("trace") {
            let OfTrace { trace, speed, rate } =
                OfTrace::deserialize(Value::Object(fields)).map_err(D::Error::custom)?;
            return Ok(LoadSpec::Replay { trace, speed, rate });
        }
        if fields.get("pattern").is_some_and(|pattern| pattern == "closed") {
            return match fields.keys().find(|key| *key != "pattern") {
                None => Ok(LoadSpec::Closed),
                Some(other) => Err(D::Error::custom(format!("a closed loop has no '{other}'"))),
            };
        }
        let rate = match fields.remove("rate") {
            None => None,
            Some(rate) => {
                Some(rate.as_f64().ok_or_else(|| D::Error::custom("'rate' is a number"))?)
            }
        };
        let pattern = match fields.remove("pattern") {
            None if fields.is_empty() => Pattern::Poisson,
            Some(pattern) if fields.is_empty() => of_pattern(pattern)?,
            // Serde looks for unknown fields only where a pattern has some.
            Some(pattern) if pattern == "poisson" || pattern == "constant" => {
                return Err(unknown(&fields));
            }
            Some(pattern) => {
                fields.insert("pattern".to_owned(), pattern);
                of_pattern(Value::Object(fields))?
            }
            None => return Err(unknown(&fields)),
        };
        Ok(LoadSpec::Open { pattern, rate })
    }
}

fn of_pattern<E: serde::de::Error>(said: Value) -> Result<Pattern, E> {
    let said = match said {
        Value::Object(fields) => Value::Object(fields),
        name => json!({ "pattern": name }),
    };
    Pattern::deserialize(said).map_err(E::custom)
}

fn unknown<E: serde::de::Error>(fields: &Map<String, Value>) -> E {
    let name = fields.keys().next().map_or("", String::as_str);
    E::custom(format!("such a load has no '{name}'; name its pattern, or leave it out"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<LoadSpec, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn a_load_is_closed_a_pattern_or_a_trace() {
        assert_eq!(read("pattern = 'closed'"), Ok(LoadSpec::Closed));
        let poisson = LoadSpec::Open { pattern: Pattern::Poisson, rate: Some(500.0) };
        assert_eq!(read("rate = 500"), Ok(poisson.clone()));
        assert_eq!(read("pattern = 'poisson'\nrate = 500.0"), Ok(poisson));
        let ramp = LoadSpec::Open {
            pattern: Pattern::Ramp { from: 1.0, to: 9.0, seconds: 5.0 },
            rate: None,
        };
        assert_eq!(read("pattern = 'ramp'\nfrom = 1\nto = 9\nseconds = 5"), Ok(ramp));
        let replay = LoadSpec::Replay { trace: "a.csv".into(), speed: Some(2.0), rate: None };
        assert_eq!(read("trace = 'a.csv'\nspeed = 2"), Ok(replay));
    }

    #[test]
    fn what_is_misspelt_is_named() {
        let told = |text: &str| read(text).expect_err(text);
        assert!(told("pattern = 'gamma'\ncvv = 3").contains("cvv"));
        assert!(told("pattern = 'sawtooth'\nrate = 1").contains("sawtooth"));
        assert!(told("trace = 'a.csv'\nsped = 2").contains("sped"));
        assert!(told("pattern = 'closed'\nrate = 5").contains("rate"));
        assert!(told("rate = 'fast'").contains("rate"));
        assert!(told("pattern = 'poisson'\nrate = 1\nraet = 3").contains("raet"));
        assert!(told("patern = 'gamma'\ncv = 3\nrate = 1").contains("cv"));
        assert!(told("pattern = 'constant'\nrate = 1\nmode = 'open'").contains("mode"));
    }

    #[test]
    fn a_replay_is_as_long_as_its_trace_and_says_how_fast_it_is() {
        let folder = std::env::temp_dir().join(format!("foil-bench-load-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("a.csv"), "time\n0\n1\n2\n").expect("a trace");
        let spec = LoadSpec::Replay { trace: "a.csv".into(), speed: Some(4.0), rate: None };
        let prepared = spec.prepare(1, 1, &folder).expect("a load");
        std::fs::remove_dir_all(&folder).expect("gone");
        assert_eq!(prepared.seconds, Some(0.500_000_001));
        assert!(prepared.label.contains("3 requests of a.csv, 4.000 ×"), "{}", prepared.label);
    }
}
