//! Which requests are traced, by the protocol's trace extension: every so-many-th, up to a count, of all models or as
//! one model has it. A trace is one line of the log; files are refused, since whoever may set them from afar could
//! write where the engine may.

use std::collections::BTreeMap;

use arc_swap::ArcSwap;
use serde_json::{Map, Value, json};

use super::setting::SettingError;

/// Models that may have settings of their own at a time: as many as anybody watches, and no room to fill memory.
const MODELS_MAX: usize = 1024;
/// Of Triton's, so that a first try does not drown the log.
const RATE: u32 = 1000;
const NAMES: [&str; 6] =
    ["trace_level", "trace_rate", "trace_count", "log_frequency", "trace_file", "trace_mode"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Off,
    Timestamps,
}

/// What is set somewhere; what is not, is as all models have it, and at last as it was from the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Chosen {
    level: Option<Level>,
    /// One of so many is traced.
    rate: Option<u32>,
    /// Traces left to write; inside, None is no limit.
    left: Option<Option<u64>>,
}

/// What holds for a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InForce {
    pub level: Level,
    pub rate: u32,
    pub left: Option<u64>,
}

impl InForce {
    fn of(layers: [&Chosen; 2]) -> InForce {
        let [one, all] = layers;
        InForce {
            level: one.level.or(all.level).unwrap_or(Level::Off),
            rate: one.rate.or(all.rate).unwrap_or(RATE),
            left: one.left.or(all.left).unwrap_or_default(),
        }
    }

    pub fn is_on(self) -> bool {
        self.level == Level::Timestamps && self.left != Some(0)
    }

    /// By the names of the protocol's extension, which has every value as text.
    pub fn shown(self) -> Map<String, Value> {
        let level = if self.level == Level::Off { "OFF" } else { "TIMESTAMPS" };
        let values = json!({
            "trace_level": [level],
            "trace_rate": self.rate.to_string(),
            "trace_count": self.left.map_or_else(|| "-1".to_owned(), |left| left.to_string()),
            "log_frequency": "0",
            "trace_file": "",
            "trace_mode": "triton",
        });
        values.as_object().cloned().unwrap_or_default()
    }
}

#[derive(Clone, Debug, Default)]
struct All {
    every: Chosen,
    models: BTreeMap<String, Chosen>,
}

/// Shared by all cores; read by requests only while something is traced.
#[derive(Debug, Default)]
pub struct Traces {
    chosen: ArcSwap<All>,
}

impl Traces {
    pub fn of(&self, model: Option<&str>) -> InForce {
        let all = self.chosen.load();
        let one = model.and_then(|model| all.models.get(model));
        InForce::of([one.unwrap_or(&Chosen::default()), &all.every])
    }

    /// Whether any request of any model may be traced.
    pub fn any(&self) -> bool {
        let all = self.chosen.load();
        let models = all.models.values().chain([&all.every]);
        models.into_iter().any(|one| InForce::of([one, &all.every]).is_on())
    }

    pub fn change(
        &self,
        model: Option<&str>,
        changes: &Map<String, Value>,
    ) -> Result<InForce, SettingError> {
        let all = self.chosen.load_full();
        let before = match model {
            None => all.every.clone(),
            Some(model) => all.models.get(model).cloned().unwrap_or_default(),
        };
        let after = changed(before, changes)?;
        if all.models.len() >= MODELS_MAX && model.is_some_and(|it| !all.models.contains_key(it)) {
            return Err(SettingError::TooMany { limit: MODELS_MAX });
        }
        self.chosen.rcu(|all| with(all, model, after.clone()));
        Ok(self.of(model))
    }

    /// One trace less is left where they are counted. False: none was.
    pub fn take(&self, model: &str) -> bool {
        let taken = std::cell::Cell::new(true);
        self.chosen.rcu(|all| {
            let mut next = All::clone(all);
            let one = next.models.get_mut(model).filter(|one| one.left.is_some());
            let left = one.map_or(&mut next.every.left, |one| &mut one.left);
            taken.set(*left != Some(Some(0)));
            if let Some(Some(left)) = left {
                *left = left.saturating_sub(1);
            }
            next
        });
        taken.get()
    }
}

fn with(all: &All, model: Option<&str>, chosen: Chosen) -> All {
    let mut next = all.clone();
    match model {
        None => next.every = chosen,
        Some(model) if chosen == Chosen::default() => drop(next.models.remove(model)),
        Some(model) => drop(next.models.insert(model.to_owned(), chosen)),
    }
    next
}

/// `null` takes a setting away.
fn changed(mut chosen: Chosen, changes: &Map<String, Value>) -> Result<Chosen, SettingError> {
    for (name, value) in changes {
        match (name.as_str(), value) {
            ("trace_level", Value::Null) => chosen.level = None,
            ("trace_level", value) => chosen.level = Some(level(name, value)?),
            ("trace_rate", Value::Null) => chosen.rate = None,
            ("trace_rate", value) => {
                let rate = number(value).and_then(|rate| u32::try_from(rate).ok());
                let rate = rate.filter(|rate| *rate > 0);
                let wanted = "a whole number, 1 or more";
                chosen.rate = Some(rate.ok_or_else(|| SettingError::value(name, value, wanted))?);
            }
            ("trace_count", Value::Null) => chosen.left = None,
            ("trace_count", value) => {
                let left = number(value).filter(|left| *left >= -1);
                let wanted = "a whole number, or -1 for no limit";
                let left = left.ok_or_else(|| SettingError::value(name, value, wanted))?;
                chosen.left = Some(u64::try_from(left).ok());
            }
            ("log_frequency", value) => only(name, value, "0", "each trace is written at once")?,
            ("trace_file", value) => only(name, value, "", "traces are lines of the log")?,
            ("trace_mode", value) => only(name, value, "triton", "there is no other mode")?,
            _ => return Err(SettingError::unknown(name, &NAMES)),
        }
    }
    Ok(chosen)
}

fn level(name: &str, value: &Value) -> Result<Level, SettingError> {
    let levels = match value {
        Value::Array(levels) => levels.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut found = Level::Off;
    for level in levels {
        match level.as_str() {
            Some("OFF") => {}
            Some("TIMESTAMPS") => found = Level::Timestamps,
            _ => {
                let why = "OFF and TIMESTAMPS are the levels there are";
                return Err(SettingError::unsupported(name, value, why));
            }
        }
    }
    Ok(found)
}

/// Numbers travel as text, and by the one or other client as numbers.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn only(name: &str, value: &Value, way: &str, why: &'static str) -> Result<(), SettingError> {
    let same =
        value.is_null() || value == way || number(value).is_some_and(|it| it.to_string() == way);
    if same { Ok(()) } else { Err(SettingError::unsupported(name, value, why)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(
        traces: &Traces,
        model: Option<&str>,
        changes: Value,
    ) -> Result<InForce, SettingError> {
        traces.change(model, changes.as_object().expect("an object"))
    }

    #[test]
    fn a_model_has_its_own_settings_until_they_are_cleared() {
        let traces = Traces::default();
        assert!(!traces.any());
        let all = json!({ "trace_level": ["TIMESTAMPS"], "trace_rate": "10" });
        change(&traces, None, all).expect("known settings");
        let own = change(&traces, Some("m"), json!({ "trace_rate": "2" })).expect("known settings");
        assert_eq!((own.level, own.rate), (Level::Timestamps, 2));
        assert_eq!(traces.of(Some("other")).rate, 10);
        let off = json!({ "trace_level": "OFF" });
        assert!(!change(&traces, Some("m"), off).expect("a known level").is_on());
        let cleared = json!({ "trace_rate": null, "trace_level": null });
        assert_eq!(change(&traces, Some("m"), cleared), Ok(traces.of(None)));
        assert!(traces.any());
    }

    #[test]
    fn traces_end_when_their_number_is_reached() {
        let traces = Traces::default();
        let two = json!({ "trace_level": "TIMESTAMPS", "trace_count": "2" });
        change(&traces, None, two).expect("known settings");
        assert!(traces.take("m") && traces.take("n"));
        assert!(!traces.take("m") && !traces.any());
        assert_eq!(traces.of(None).shown()["trace_count"], "0");
        change(&traces, Some("m"), json!({ "trace_count": 1 })).expect("known settings");
        assert!(traces.any() && traces.take("m") && !traces.take("m"));
    }

    #[test]
    fn what_does_not_work_is_refused_by_name() {
        let traces = Traces::default();
        for (changes, part) in [
            (json!({ "trace_level": ["TENSORS"] }), "TIMESTAMPS"),
            (json!({ "trace_rate": "0" }), "1 or more"),
            (json!({ "trace_count": "-2" }), "-1"),
            (json!({ "trace_file": "/etc/passwd" }), "lines of the log"),
            (json!({ "log_frequency": "50" }), "at once"),
            (json!({ "trace_colour": "red" }), "trace_level"),
        ] {
            let said = change(&traces, None, changes.clone()).expect_err("refused").to_string();
            assert!(said.contains(part), "{changes}: {said}");
        }
        let shown = Value::from(traces.of(None).shown());
        assert!(change(&traces, None, shown).is_ok(), "what is shown may be sent back");
    }

    #[test]
    fn models_with_settings_of_their_own_are_bounded() {
        let traces = Traces::default();
        let rate = json!({ "trace_rate": "5" });
        for model in 0..MODELS_MAX {
            change(&traces, Some(&model.to_string()), rate.clone()).expect("there is room");
        }
        let refused = change(&traces, Some("one more"), rate);
        assert_eq!(refused, Err(SettingError::TooMany { limit: MODELS_MAX }));
    }
}
