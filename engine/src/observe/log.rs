//! The log on stderr, and its settings, which may change while the engine runs.
//!
//! A line that is switched off costs the comparison of two numbers: who it is for is asked again only when settings
//! change. What `FOIL_LOG` says holds until somebody sets something else.

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::{Map, Value, json};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::layer::{Filter, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

use super::setting::SettingError;

/// Lines about single requests, where they are asked for.
pub const ACCESS: &str = "foil::access";
/// Lines with the times of sampled requests; on while some model is traced.
pub const TRACE: &str = "foil::trace";

/// Our own modules, and what is written for them. Verbose are these alone: other crates' chatter hides them.
const OURS: [&str; 2] = ["engine", "foil"];

/// Two names for one format: by default, times are written as ISO 8601.
const FORMATS: [&str; 2] = ["default", "ISO8601"];
const VERBOSE_MAX: u64 = 2;
const NAMES: [&str; 6] =
    ["log_file", "log_info", "log_warning", "log_error", "log_verbose_level", "log_format"];

/// How the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Pretty,
    Json,
}

/// Which lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    pub info: bool,
    pub warning: bool,
    pub error: bool,
    /// 1 for debug lines of ours, 2 for the finest.
    pub verbose_level: u8,
    /// As it was called last.
    format: &'static str,
}

impl Default for LogSettings {
    fn default() -> LogSettings {
        let format = FORMATS[0];
        LogSettings { info: true, warning: true, error: true, verbose_level: 0, format }
    }
}

impl LogSettings {
    /// The nearest to a filter that was given as text.
    fn of(most: LevelFilter) -> LogSettings {
        let verbose_level = match most.into_level() {
            Some(Level::TRACE) => 2,
            Some(Level::DEBUG) => 1,
            _ => 0,
        };
        LogSettings {
            info: most >= LevelFilter::INFO,
            warning: most >= LevelFilter::WARN,
            error: most >= LevelFilter::ERROR,
            verbose_level,
            ..LogSettings::default()
        }
    }

    fn permits(self, level: Level, target: &str) -> bool {
        let ours = OURS.iter().any(|it| target.starts_with(it));
        match level {
            Level::ERROR => self.error,
            Level::WARN => self.warning,
            Level::INFO => self.info,
            Level::DEBUG => ours && self.verbose_level >= 1,
            _ => ours && self.verbose_level >= 2 && target != TRACE,
        }
    }

    /// Nothing verbose is worth looking at one by one where nothing verbose is written.
    fn most(self) -> LevelFilter {
        match self.verbose_level {
            0 => LevelFilter::INFO,
            1 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        }
    }

    /// By the names of the protocol's logging extension.
    pub fn shown(self) -> Map<String, Value> {
        let values = json!({
            "log_file": "",
            "log_info": self.info,
            "log_warning": self.warning,
            "log_error": self.error,
            "log_verbose_level": self.verbose_level,
            "log_format": self.format,
        });
        values.as_object().cloned().unwrap_or_default()
    }

    pub fn changed(mut self, changes: &Map<String, Value>) -> Result<LogSettings, SettingError> {
        for (name, value) in changes {
            match (name.as_str(), value) {
                ("log_info", Value::Bool(on)) => self.info = *on,
                ("log_warning", Value::Bool(on)) => self.warning = *on,
                ("log_error", Value::Bool(on)) => self.error = *on,
                ("log_info" | "log_warning" | "log_error", _) => {
                    return Err(SettingError::value(name, value, "true or false"));
                }
                ("log_verbose_level", value) => {
                    let level = value.as_u64().filter(|level| *level <= VERBOSE_MAX);
                    let level =
                        level.ok_or_else(|| SettingError::value(name, value, "0, 1 or 2"))?;
                    self.verbose_level = level as u8;
                }
                ("log_format", value) => {
                    let why = "times are written as ISO 8601; --log-format chooses between pretty and json";
                    let known = FORMATS.into_iter().find(|format| value == format);
                    self.format =
                        known.ok_or_else(|| SettingError::unsupported(name, value, why))?;
                }
                ("log_file", value) if value == "" => {}
                ("log_file", value) => {
                    let why = "the log goes to stderr; redirect that";
                    return Err(SettingError::unsupported(name, value, why));
                }
                _ => return Err(SettingError::unknown(name, &NAMES)),
            }
        }
        Ok(self)
    }
}

type Permits = Box<dyn Filter<Registry> + Send + Sync>;

/// The settings of the log that is written. Without one, of a log that nobody writes.
#[derive(Default)]
pub struct Log {
    chosen: ArcSwap<Chosen>,
    filter: Option<reload::Handle<Permits, Registry>>,
}

#[derive(Clone, Debug, Default)]
struct Chosen {
    settings: LogSettings,
    /// What `FOIL_LOG` says, until something else is set.
    text: Option<String>,
    traces: bool,
}

impl Chosen {
    fn filter(&self) -> Permits {
        let settings = self.settings;
        let permits = move |about: &Metadata<'_>| settings.permits(*about.level(), about.target());
        let base: Permits = match &self.text {
            Some(text) => Box::new(EnvFilter::new(text)),
            None => Box::new(filter_fn(permits).with_max_level_hint(settings.most())),
        };
        if !self.traces {
            return base;
        }
        Box::new(base.or(filter_fn(|about: &Metadata<'_>| about.target() == TRACE)))
    }
}

impl Log {
    /// Starts the log of this process. `text` is a filter of tracing's kind.
    pub fn start(style: Style, text: Option<String>) -> Arc<Log> {
        let parsed = text.as_deref().and_then(|text| EnvFilter::try_new(text).ok());
        let most =
            parsed.as_ref().map(|filter| filter.max_level_hint().unwrap_or(LevelFilter::TRACE));
        let settings = most.map_or_else(LogSettings::default, LogSettings::of);
        let text = text.filter(|_| parsed.is_some());
        let chosen = Chosen { settings, text, traces: false };
        let (filter, handle) = reload::Layer::new(chosen.filter());
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal());
        let registry = tracing_subscriber::registry();
        match style {
            Style::Pretty => registry.with(lines.with_target(false).with_filter(filter)).init(),
            Style::Json => registry.with(lines.json().with_filter(filter)).init(),
        }
        Arc::new(Log { chosen: ArcSwap::from_pointee(chosen), filter: Some(handle) })
    }

    pub fn settings(&self) -> LogSettings {
        self.chosen.load().settings
    }

    pub fn change(&self, changes: &Map<String, Value>) -> Result<LogSettings, SettingError> {
        let settings = self.settings().changed(changes)?;
        self.choose(|chosen| Chosen { settings, text: None, ..chosen });
        Ok(settings)
    }

    /// Whether lines with the times of requests are written.
    pub fn set_traces(&self, on: bool) {
        self.choose(|chosen| Chosen { traces: on, ..chosen });
    }

    fn choose(&self, change: impl Fn(Chosen) -> Chosen) {
        self.chosen.rcu(|chosen| change(Chosen::clone(chosen)));
        let Some(filter) = &self.filter else { return };
        if let Err(error) = filter.reload(self.chosen.load().filter()) {
            tracing::warn!(%error, "the log's settings could not be changed");
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Log({:?})", self.chosen.load())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(changes: Value) -> Result<LogSettings, SettingError> {
        LogSettings::default().changed(changes.as_object().expect("an object"))
    }

    #[test]
    fn each_level_has_its_switch() {
        let quiet = changed(json!({ "log_info": false, "log_error": true })).expect("known names");
        assert!(!quiet.permits(Level::INFO, "engine::app"));
        assert!(quiet.permits(Level::WARN, "engine::app") && quiet.permits(Level::ERROR, "hyper"));
        let verbose = changed(json!({ "log_verbose_level": 1 })).expect("known names");
        assert!(
            verbose.permits(Level::DEBUG, "engine::app") && verbose.permits(Level::DEBUG, ACCESS)
        );
        assert!(!verbose.permits(Level::DEBUG, "hyper"), "only ours");
        assert!(!verbose.permits(Level::TRACE, "engine::app"));
        let finest = changed(json!({ "log_verbose_level": 2 })).expect("known names");
        assert!(finest.permits(Level::TRACE, "engine::app"));
        assert!(!finest.permits(Level::TRACE, TRACE), "traces have a setting of their own");
    }

    #[test]
    fn what_does_not_work_is_refused_by_name() {
        for (changes, part) in [
            (json!({ "log_file": "/tmp/x" }), "stderr"),
            (json!({ "log_format": "json" }), "--log-format"),
            (json!({ "log_verbose_level": 3 }), "0, 1 or 2"),
            (json!({ "log_info": "yes" }), "true or false"),
            (json!({ "log_colour": true }), "log_verbose_level"),
        ] {
            let said = changed(changes.clone()).expect_err("it is refused").to_string();
            assert!(said.contains(part), "{changes}: {said}");
        }
        assert!(
            changed(LogSettings::default().shown().into()).is_ok(),
            "what is shown may be sent back"
        );
    }

    #[test]
    fn a_filter_given_as_text_is_shown_by_its_most_verbose_level() {
        assert_eq!(LogSettings::of(LevelFilter::INFO), LogSettings::default());
        let silent = json!({ "log_info": false, "log_warning": false, "log_error": false });
        let silent = changed(silent).expect("known names");
        assert_eq!(LogSettings::of(LevelFilter::OFF), silent);
        assert_eq!(LogSettings::of(LevelFilter::TRACE).verbose_level, 2);
    }

    #[test]
    fn a_refused_change_changes_nothing() {
        let log = Log::default();
        let changes = json!({ "log_info": false, "log_nonsense": 1 });
        assert!(log.change(changes.as_object().expect("an object")).is_err());
        assert_eq!(log.settings(), LogSettings::default());
    }
}
