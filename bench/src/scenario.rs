//! What a run is, as people write it: a URL with flags, or a TOML file, or a file with flags over it.

pub mod flags;
pub mod load;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::flags::Flags;
use self::load::{LoadError, LoadSpec};
use crate::address::Address;
use crate::plan::{CONNECTIONS_MAX, Plan, Target, Wait};
use crate::request::{self, RequestError, Spec};
use crate::span;
use crate::verdict::Terms;

/// An hour: long enough for any question, and an end for a forgotten one.
pub const SECONDS_MAX: f64 = 3_600.0;
/// What a closed loop has unless told otherwise, and what an open loop begins with.
const CONNECTIONS: usize = 64;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Scenario {
    /// As in http://127.0.0.1:8000.
    pub url: String,
    /// The latest an answer may be, as in "20ms": the generator's own lag is judged by it, and reports show it.
    pub slo: Option<String>,
    #[serde(default)]
    pub request: Spec,
    #[serde(default)]
    pub load: LoadSpec,
    #[serde(default)]
    pub run: RunSpec,
    /// Where the file lies: other files are named from there on.
    #[serde(skip)]
    folder: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct RunSpec {
    /// Open before time starts.
    pub connections: usize,
    /// An open loop opens more where all are busy, up to this many.
    pub connections_max: Option<usize>,
    /// Measured time; a trace is as long as it is unless this cuts it.
    pub seconds: Option<f64>,
    /// Unmeasured time before.
    pub warm_up: f64,
    /// Ends the run early after this many.
    pub requests: Option<u64>,
    /// The core to which the generator is pinned, where it then never sleeps.
    pub core: Option<usize>,
    /// Allows a server on another machine.
    pub allow_remote: bool,
}

impl Default for RunSpec {
    fn default() -> RunSpec {
        RunSpec {
            connections: CONNECTIONS,
            connections_max: None,
            seconds: None,
            warm_up: 1.0,
            requests: None,
            core: None,
            allow_remote: false,
        }
    }
}

/// What a run of no given length takes.
const SECONDS: f64 = 10.0;

#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    #[error("can't read the scenario {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}: {source}")]
    Toml { path: PathBuf, source: Box<toml::de::Error> },
    #[error("'{url}' is no address; write it as http://host:port or unix:/path")]
    Url { url: String },
    #[error("{address} is on another machine; add --allow-remote if loading it is what you mean")]
    Remote { address: SocketAddr },
    #[error("give seconds above 0 and warm-up from 0, both up to {SECONDS_MAX}")]
    Seconds,
    #[error("give 1 to {CONNECTIONS_MAX} connections, and no fewer connections-max")]
    Connections,
    #[error("slo: {0}")]
    Slo(#[from] span::SpanError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl Scenario {
    /// `target`: a URL, or a TOML file.
    pub fn of(target: &str, flags: &Flags) -> Result<Scenario, ScenarioError> {
        let mut scenario = if Path::new(target).extension().is_some_and(|end| end == "toml") {
            Scenario::read(Path::new(target))?
        } else {
            Scenario::at(target)
        };
        flags.apply(&mut scenario);
        scenario.run.check()?;
        scenario.slo()?;
        Ok(scenario)
    }

    fn at(url: &str) -> Scenario {
        Scenario {
            url: url.to_owned(),
            slo: None,
            request: Spec::default(),
            load: LoadSpec::default(),
            run: RunSpec::default(),
            folder: PathBuf::new(),
        }
    }

    fn read(path: &Path) -> Result<Scenario, ScenarioError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ScenarioError::Read { path: path.to_owned(), source })?;
        let parsed = toml::from_str(&text).map_err(|source| ScenarioError::Toml {
            path: path.to_owned(),
            source: Box::new(source),
        });
        let mut scenario: Scenario = parsed?;
        scenario.folder = path.parent().map_or_else(PathBuf::new, Path::to_owned);
        scenario.request = scenario.request.beside(&scenario.folder);
        Ok(scenario)
    }

    pub fn slo(&self) -> Result<Option<Duration>, span::SpanError> {
        self.slo.as_deref().map(span::parse).transpose()
    }

    /// Makes the requests and asks the server for the first of them.
    pub fn target(&self) -> Result<Target, ScenarioError> {
        Ok(request::prepare(&self.request, address_of(&self.url, self.run.allow_remote)?)?)
    }

    /// `number`: which of several runs it is. Runs of one number have the same arrivals, others have others.
    pub fn planned(&self, number: u64) -> Result<Planned, ScenarioError> {
        let run = &self.run;
        let seed = self.request.seed.wrapping_add(number);
        let load = self.load.prepare(run.connections, seed, &self.folder)?;
        let seconds = run.seconds.or(load.seconds).unwrap_or(SECONDS);
        if !(seconds > 0.0 && seconds <= SECONDS_MAX) {
            return Err(ScenarioError::Seconds);
        }
        let most = run.connections_max.unwrap_or(CONNECTIONS_MAX).max(run.connections);
        let connections_max = if self.load.is_open() { most } else { run.connections };
        let plan = Plan {
            connections: run.connections,
            connections_max,
            load: load.load,
            wait: if run.core.is_some() { Wait::Spin } else { Wait::Sleep },
            warm_up: Duration::from_secs_f64(run.warm_up),
            measure: Duration::from_secs_f64(seconds),
            requests_max: run.requests.unwrap_or(u64::MAX),
        };
        let terms = Terms { open_loop: self.load.is_open(), slo: self.slo()?, connections_max };
        Ok(Planned { plan, terms, label: load.label })
    }
}

/// A run that is ready but for its requests.
#[derive(Clone, Debug)]
pub struct Planned {
    pub plan: Plan,
    pub terms: Terms,
    /// The kind of load.
    pub label: String,
}

impl RunSpec {
    fn check(&self) -> Result<(), ScenarioError> {
        let span = |seconds: f64| (0.0..=SECONDS_MAX).contains(&seconds);
        if !(span(self.warm_up) && self.seconds.is_none_or(span)) {
            return Err(ScenarioError::Seconds);
        }
        let most = self.connections_max.unwrap_or(CONNECTIONS_MAX);
        let sane = self.connections >= 1 && self.connections <= most && most <= CONNECTIONS_MAX;
        if sane { Ok(()) } else { Err(ScenarioError::Connections) }
    }
}

/// Loopback unless told otherwise: nobody should load a stranger's server by a typing error.
pub fn address_of(url: &str, allow_remote: bool) -> Result<Address, ScenarioError> {
    if let Some(path) = url.strip_prefix("unix:") {
        return Ok(Address::unix(Path::new(path)));
    }
    let wrong = || ScenarioError::Url { url: url.to_owned() };
    let schemes = ["http://", "grpc://"];
    let host = schemes.iter().find_map(|scheme| url.strip_prefix(scheme)).unwrap_or(url);
    let mut found = host.trim_end_matches('/').to_socket_addrs().map_err(|_| wrong())?;
    let address = found.next().ok_or_else(wrong)?;
    if address.ip().is_loopback() || allow_remote {
        Ok(address.into())
    } else {
        Err(ScenarioError::Remote { address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrivals::Pattern;

    fn file(name: &str, text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("foil-bench-{}-{name}", std::process::id()));
        std::fs::write(&path, text).expect("written");
        path
    }

    fn of(path: &Path, flags: &Flags) -> Result<Scenario, ScenarioError> {
        Scenario::of(path.to_str().expect("text"), flags)
    }

    #[test]
    fn only_loopback_is_loaded_unless_told_otherwise() {
        assert!(address_of("http://127.0.0.1:8000/", false).is_ok());
        assert!(address_of("[::1]:8000", false).is_ok());
        assert!(address_of("http://192.0.2.1:80", true).is_ok());
        let remote = address_of("http://192.0.2.1:80", false);
        assert!(matches!(remote, Err(ScenarioError::Remote { .. })));
        assert!(matches!(address_of("http://nothing", false), Err(ScenarioError::Url { .. })));
    }

    #[test]
    fn a_path_is_a_unix_socket() {
        let address = address_of("unix:/run/foil/http", false).expect("an address");
        assert_eq!(address, Address::Unix(Path::new("/run/foil/http")));
        assert_eq!(
            (address.to_string(), address.host()),
            ("unix:/run/foil/http".into(), "localhost".into())
        );
    }

    #[test]
    fn flags_go_over_what_a_file_says() {
        let path = file(
            "over.toml",
            "url = 'http://127.0.0.1:1'\nslo = '20ms'\n[request]\nmodel = 'm'\nrows = 4\n\
             [load]\npattern = 'gamma'\ncv = 3\nrate = 100\n[run]\nseconds = 5\n",
        );
        let flags = Flags { rows: Some(8), ..Flags::default() };
        let scenario = of(&path, &flags).expect("a scenario");
        std::fs::remove_file(&path).expect("gone");
        assert_eq!((scenario.request.rows, scenario.request.model.as_deref()), (8, Some("m")));
        assert_eq!(scenario.slo().expect("a span"), Some(Duration::from_millis(20)));
        let gamma = LoadSpec::Open { pattern: Pattern::Gamma { cv: 3.0 }, rate: Some(100.0) };
        assert_eq!(scenario.load, gamma);
        let planned = scenario.planned(0).expect("a plan");
        assert_eq!(planned.plan.measure, Duration::from_secs(5));
        assert_eq!(planned.label, "open loop, gamma gaps of CV 3, 100 requests/s");
        assert!(planned.terms.open_loop && planned.plan.connections_max == CONNECTIONS_MAX);
    }

    #[test]
    fn the_scenarios_that_come_along_are_right() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let files = std::fs::read_dir(folder).expect("the folder");
        let paths: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
        assert!(paths.len() >= 5);
        for path in paths {
            let planned = of(&path, &Flags::default()).and_then(|scenario| scenario.planned(0));
            assert!(planned.is_ok(), "{}: {:?}", path.display(), planned.err());
        }
    }

    #[test]
    fn a_mistake_in_a_file_is_named() {
        let path = file("wrong.toml", "url = 'http://127.0.0.1:1'\n[request]\nrow = 4\n");
        let told = of(&path, &Flags::default()).expect_err("no such field").to_string();
        std::fs::remove_file(&path).expect("gone");
        assert!(told.contains("row") && told.contains("wrong.toml"), "{told}");
        let missing = Scenario::of("nowhere.toml", &Flags::default());
        assert!(matches!(missing, Err(ScenarioError::Read { .. })));
    }

    #[test]
    fn numbers_without_a_meaning_are_refused() {
        let with = |flags: Flags| Scenario::of("http://127.0.0.1:1", &flags).map(|_| ());
        let flags = |connections| Flags { connections: Some(connections), ..Flags::default() };
        assert!(matches!(with(flags(0)), Err(ScenarioError::Connections)));
        assert!(matches!(with(flags(100_000)), Err(ScenarioError::Connections)));
        let warm_up = Flags { warm_up: Some(-1.0), ..Flags::default() };
        assert!(matches!(with(warm_up), Err(ScenarioError::Seconds)));
        let path = file("slo.toml", "url = 'http://127.0.0.1:1'\nslo = 'soon'\n");
        let slo = of(&path, &Flags::default());
        std::fs::remove_file(&path).expect("gone");
        assert!(matches!(slo, Err(ScenarioError::Slo(_))));
    }
}
