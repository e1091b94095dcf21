//! One typed tree of settings and limits, from flags, environment, file and defaults, in that order of weight.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use schemas::lifecycle::Late;

use crate::classes::{ClassError, Classes, SloClass};
use crate::cli::{Lane, Launcher, LogFormat, MetricsCompat, Serve};
use crate::socket_file::MODE_DEFAULT;
use control::{Control, ControlError, ControlFile};

mod clipper;
pub mod control;
mod device_toml;
mod limits;

pub use self::clipper::Clipper;
pub use self::device_toml::DeviceToml;
pub use self::limits::Limits;

/// Where an engine listens unless it is told otherwise.
pub const HTTP: SocketAddr = loopback(8000);
pub const GRPC: SocketAddr = loopback(8001);
pub const METRICS: SocketAddr = loopback(8002);

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}

/// What `foil serve` runs with.
#[derive(Clone, Debug)]
pub struct Config {
    pub targets: Vec<String>,
    pub name: Option<String>,
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    pub metrics: SocketAddr,
    /// Clipper's own interface; None: off.
    pub clipper: Option<Clipper>,
    /// Where containers written for Clipper dial in.
    pub clipper_rpc: Option<SocketAddr>,
    /// A Unix socket that answers HTTP as well.
    pub http_socket: Option<PathBuf>,
    /// Clients may register POSIX shared memory by its name.
    pub client_shm: bool,
    /// A Unix socket over which they may pass sealed memory.
    pub client_shm_socket: Option<PathBuf>,
    /// Permissions of both sockets.
    pub socket_mode: u32,
    pub metrics_compat: Option<MetricsCompat>,
    /// A line of the log for each request.
    pub access_log: bool,
    /// CPU numbers, one front-end thread each.
    pub cores: Vec<usize>,
    /// What runs models that name nothing else.
    pub launcher: Launcher,
    /// Images that are not there are fetched from their registries.
    pub pull: bool,
    pub lane: Lane,
    pub huge_pages: bool,
    /// Devices in place of the machine's, as in a file; None: the machine's own.
    pub inventory: Option<PathBuf>,
    /// Models run as the engine's user even where each could have its own.
    pub shared_user: bool,
    pub python: Option<PathBuf>,
    pub drain_delay: Duration,
    pub server_timing: bool,
    /// Replicas run synthetic batches before they are live, unless their model says otherwise.
    pub warm_up: bool,
    /// Where deployed models and learned latency profiles are kept; None: nowhere.
    pub state: Option<PathBuf>,
    pub log_format: LogFormat,
    /// Models that are deployed are looked after; never without a state directory.
    pub deployments: bool,
    /// Which models are served at run time, and who decides.
    pub control: Control,
    pub classes: Classes,
    pub limits: Limits,
}

/// The file given by `--config`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    targets: Vec<String>,
    name: Option<String>,
    http: Option<SocketAddr>,
    grpc: Option<SocketAddr>,
    metrics: Option<SocketAddr>,
    clipper: Option<String>,
    clipper_query: Option<SocketAddr>,
    clipper_admin: Option<SocketAddr>,
    clipper_rpc: Option<SocketAddr>,
    http_socket: Option<PathBuf>,
    client_shm: Option<bool>,
    client_shm_socket: Option<PathBuf>,
    socket_mode: Option<String>,
    metrics_compat: Option<String>,
    access_log: Option<bool>,
    cores: Option<Vec<usize>>,
    launcher: Option<String>,
    pull: Option<bool>,
    lane: Option<String>,
    huge_pages: Option<bool>,
    shared_user: Option<bool>,
    python: Option<PathBuf>,
    drain_delay: Option<String>,
    server_timing: Option<bool>,
    warm_up: Option<bool>,
    state: Option<PathBuf>,
    log_format: Option<String>,
    deployments: Option<bool>,
    model_control_mode: Option<String>,
    load_model: Vec<String>,
    repository_poll_secs: Option<u64>,
    admin: Option<SocketAddr>,
    admin_token_file: Option<PathBuf>,
    /// In order of their names, so that numbers don't depend on where a table stands.
    classes: BTreeMap<String, ClassToml>,
    limits: Limits,
}

/// `[classes.NAME]` in the file given by `--config`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ClassToml {
    weight: Option<u32>,
    priority: Option<u32>,
    slo: Option<String>,
    late: Option<String>,
}

impl File {
    fn clipper(&self) -> clipper::InFile {
        clipper::InFile {
            mode: self.clipper.clone(),
            query: self.clipper_query,
            admin: self.clipper_admin,
            rpc: self.clipper_rpc,
            token_file: self.admin_token_file.clone(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: {message}")]
    Parse { path: PathBuf, message: String },
    #[error(
        "without a TARGET, and with --deployments, foil serve keeps what is deployed in a state directory, and there is \
         none; give --state DIR, or a TARGET: a Python file with a model, or a model repository directory"
    )]
    NoState,
    #[error(
        "--name goes with a single target, {count} were given; put models in a repository to name them"
    )]
    NameForMany { count: usize },
    #[error("'{text}' is no duration; write a number and us, ms, s or m, as in 20ms")]
    Duration { text: String },
    #[error("launcher '{launcher}' does not exist; use process or docker")]
    Launcher { launcher: String },
    #[error("lane '{lane}' does not exist; use auto, memfd or posix")]
    Lane { lane: String },
    #[error("metrics_compat '{compat}' does not exist; use triton, or leave it out")]
    MetricsCompat { compat: String },
    #[error("log_format '{format}' does not exist; use pretty or json")]
    LogFormat { format: String },
    #[error("socket_mode '{mode}' is no octal number of at most 777; write it as in 660")]
    SocketMode { mode: String },
    #[error("CPU {cpu} is not available to this process; use some of {available:?}")]
    NoSuchCpu { cpu: usize, available: Vec<usize> },
    #[error("CPU {cpu} is named twice in --cores")]
    CpuTwice { cpu: usize },
    #[error("{limit} is {value}; it must be at least {least}")]
    LimitTooSmall { limit: &'static str, value: u64, least: u64 },
    #[error("clipper '{mode}' does not exist; use on, strict or off")]
    ClipperMode { mode: String },
    #[error("addresses of Clipper's interface are given, but it is off; add --clipper")]
    ClipperOff,
    #[error(transparent)]
    Class(#[from] ClassError),
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl Config {
    /// Puts the layers together and checks them against each other and the CPUs there are.
    pub fn resolve(flags: Serve, available: &[usize]) -> Result<Config, ConfigError> {
        let file = flags.config.as_deref().map(read_file).transpose()?.unwrap_or_default();
        let (clipper, clipper_rpc) = clipper::resolve(&flags, &file.clipper())?;
        let targets = if flags.targets.is_empty() { file.targets } else { flags.targets };
        let alone = targets.is_empty() && clipper_rpc.is_none();
        let deployments = alone || flags.control.deployments || file.deployments.unwrap_or(false);
        let addresses = flags.addresses;
        let drain_delay = flags.drain_delay.or(file.drain_delay);
        let mode = flags.socket_mode.or(file.socket_mode);
        let control = ControlFile {
            model_control_mode: file.model_control_mode,
            load_model: file.load_model,
            repository_poll_secs: file.repository_poll_secs,
            admin: file.admin,
            admin_token_file: file.admin_token_file,
            token_used: clipper.is_some(),
        };
        let config = Config {
            targets,
            name: flags.name.or(file.name),
            http: addresses.http.or(file.http).unwrap_or(HTTP),
            grpc: addresses.grpc.or(file.grpc).unwrap_or(GRPC),
            metrics: addresses.metrics.or(file.metrics).unwrap_or(METRICS),
            clipper,
            clipper_rpc,
            http_socket: flags.http_socket.or(file.http_socket),
            client_shm: flags.client_shm || file.client_shm.unwrap_or(false),
            client_shm_socket: flags.client_shm_socket.or(file.client_shm_socket),
            socket_mode: mode.map_or(Ok(MODE_DEFAULT), socket_mode)?,
            metrics_compat: metrics_compat(flags.metrics_compat, file.metrics_compat)?,
            access_log: flags.access_log || file.access_log.unwrap_or(false),
            cores: flags.cores.or(file.cores).unwrap_or_else(|| default_cores(available)),
            launcher: launcher(flags.launcher, file.launcher)?,
            pull: flags.pull || file.pull.unwrap_or(false),
            lane: lane(flags.lane, file.lane)?,
            huge_pages: flags.huge_pages || file.huge_pages.unwrap_or(false),
            inventory: flags.inventory,
            shared_user: flags.shared_user || file.shared_user.unwrap_or(false),
            python: flags.python.or(file.python),
            drain_delay: drain_delay.as_deref().map_or(Ok(Duration::ZERO), duration)?,
            server_timing: !flags.no_server_timing && file.server_timing.unwrap_or(true),
            warm_up: !flags.no_warm_up && file.warm_up.unwrap_or(true),
            state: state_directory(flags.state.or(file.state)),
            log_format: log_format(flags.log_format, file.log_format)?,
            deployments,
            control: Control::resolve(flags.control, control)?,
            classes: classes(file.classes)?,
            limits: file.limits,
        };
        config.check(available)?;
        Ok(config)
    }

    fn check(&self, available: &[usize]) -> Result<(), ConfigError> {
        if self.deployments && self.state.is_none() {
            return Err(ConfigError::NoState);
        }
        if self.name.is_some() && self.targets.len() != 1 {
            return Err(ConfigError::NameForMany { count: self.targets.len() });
        }
        for (index, &cpu) in self.cores.iter().enumerate() {
            if !available.contains(&cpu) {
                return Err(ConfigError::NoSuchCpu { cpu, available: available.to_vec() });
            }
            if self.cores[..index].contains(&cpu) {
                return Err(ConfigError::CpuTwice { cpu });
            }
        }
        self.limits.check()
    }
}

fn classes(tables: BTreeMap<String, ClassToml>) -> Result<Classes, ConfigError> {
    let tables = tables.into_iter().map(|(name, table)| class(&name, table));
    Ok(Classes::new(tables.collect::<Result<_, _>>()?)?)
}

fn class(name: &str, table: ClassToml) -> Result<SloClass, ConfigError> {
    let late = match table.late.as_deref() {
        None => None,
        Some("serve") => Some(Late::Serve),
        Some("shed") => Some(Late::Shed),
        Some(late) => {
            let (name, late) = (name.to_owned(), late.to_owned());
            return Err(ClassError::Late { name, late }.into());
        }
    };
    let slo = table.slo.as_deref().map(duration).transpose()?;
    let priority = table.priority;
    Ok(SloClass { priority, slo, late, ..SloClass::new(name, table.weight.unwrap_or(1)) })
}

/// One core on machines of up to 4, else a quarter: models need the others.
pub fn default_cores(available: &[usize]) -> Vec<usize> {
    let count = if available.len() <= 4 { 1 } else { available.len() / 4 };
    available[..count.min(available.len())].to_vec()
}

fn launcher(flag: Option<Launcher>, file: Option<String>) -> Result<Launcher, ConfigError> {
    match (flag, file) {
        (Some(launcher), _) => Ok(launcher),
        (None, None) => Ok(Launcher::Process),
        (None, Some(name)) => {
            Launcher::named(&name).ok_or(ConfigError::Launcher { launcher: name })
        }
    }
}

fn lane(flag: Option<Lane>, file: Option<String>) -> Result<Lane, ConfigError> {
    match (flag, file.as_deref()) {
        (Some(lane), _) => Ok(lane),
        (None, None | Some("auto")) => Ok(Lane::Auto),
        (None, Some("memfd")) => Ok(Lane::Memfd),
        (None, Some("posix")) => Ok(Lane::Posix),
        (None, Some(lane)) => Err(ConfigError::Lane { lane: lane.to_owned() }),
    }
}

fn log_format(flag: Option<LogFormat>, file: Option<String>) -> Result<LogFormat, ConfigError> {
    match (flag, file.as_deref()) {
        (Some(format), _) => Ok(format),
        (None, None | Some("pretty")) => Ok(LogFormat::Pretty),
        (None, Some("json")) => Ok(LogFormat::Json),
        (None, Some(format)) => Err(ConfigError::LogFormat { format: format.to_owned() }),
    }
}

fn socket_mode(text: String) -> Result<u32, ConfigError> {
    let octal = text.bytes().all(|digit| digit.is_ascii_digit());
    let mode = octal.then(|| u32::from_str_radix(&text, 8).ok()).flatten();
    mode.filter(|mode| *mode <= 0o777).ok_or(ConfigError::SocketMode { mode: text })
}

fn metrics_compat(
    flag: Option<MetricsCompat>,
    file: Option<String>,
) -> Result<Option<MetricsCompat>, ConfigError> {
    match (flag, file) {
        (None, Some(compat)) if compat != "triton" => Err(ConfigError::MetricsCompat { compat }),
        (flag, file) => Ok(flag.or(file.map(|_| MetricsCompat::Triton))),
    }
}

/// Where what is deployed and learned outlives the engine; None where that is not wanted, or nobody has a home.
pub fn state_directory(given: Option<PathBuf>) -> Option<PathBuf> {
    const OURS: &str = "hydrofoil";
    if let Some(given) = given {
        return (given != Path::new("none")).then_some(given);
    }
    let home = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|it| it.is_absolute());
    let state = home("XDG_STATE_HOME").or_else(|| Some(home("HOME")?.join(".local/state")))?;
    Some(state.join(OURS))
}

/// `20ms`, `1.5s`, `2m`, `500us`.
pub fn duration(text: &str) -> Result<Duration, ConfigError> {
    let wrong = || ConfigError::Duration { text: text.to_owned() };
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit.trim() {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

fn read_file(path: &Path) -> Result<File, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(path, &text)
}

/// Parses TOML; an unknown key's error names the key most like it.
pub fn parse<T: for<'de> Deserialize<'de>>(path: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let message = with_suggestion(error.message());
        let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
        let message = line.map_or(message.clone(), |line| format!("line {line}: {message}"));
        ConfigError::Parse { path: path.to_owned(), message }
    })
}

/// serde lists what it expected in backquotes after the unknown key: the nearest of them is the suggestion.
fn with_suggestion(message: &str) -> String {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let Some((unknown, expected)) = quoted.split_first() else { return message.to_owned() };
    let nearest = expected.iter().min_by_key(|known| distance(unknown, known));
    match nearest {
        Some(known) if message.starts_with("unknown field") && distance(unknown, known) <= 3 => {
            format!("unknown key '{unknown}', did you mean '{known}'?")
        }
        _ => message.to_owned(),
    }
}

/// Levenshtein's edit distance, row by row.
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// `model.toml` in a repository directory: a model's settings by the decorator's names, and how to run it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelToml {
    pub max_batch: Option<u32>,
    pub slo: Option<String>,
    pub late: Option<String>,
    pub batch_timeout: Option<String>,
    pub replicas: Option<u32>,
    /// With `replicas_max`: the engine keeps as many as the load needs, between the two. One when left out.
    pub replicas_min: Option<u32>,
    pub replicas_max: Option<u32>,
    pub pad: Option<bool>,
    pub launcher: Option<String>,
    pub image: Option<String>,
    /// What one container may use, as in `2g`; only Docker bounds it.
    pub memory: Option<String>,
    /// `cpu`, `gpu`, or `auto`: a GPU where one is free and worth it, else the CPU.
    pub device: Option<String>,
    /// Of one replica on a GPU, as in `2g`; left out, it shares its GPU with nobody.
    pub gpu_memory: Option<String>,
    /// Which GPU: how its name begins, as in `H100`, or the profile of a slice, as in `1g.10gb`.
    pub gpu: Option<String>,
    /// It shares its GPU with nobody.
    pub gpu_whole: Option<bool>,
    /// CPUs for each replica, chosen by the engine and pinned; left out: not pinned.
    pub threads: Option<u32>,
    pub env: BTreeMap<String, String>,
    /// `python` (default), `native` or `program`.
    pub runtime: Option<String>,
    /// `file.py` or `file.py:Class` in the version's directory, in place of model.py.
    pub entry: Option<String>,
    /// Which native model: linear, embedding_mlp, echo, noop, sleep, timed.
    pub kind: Option<String>,
    /// With runtime `program`: an executable, relative to the version's directory.
    pub program: Option<PathBuf>,
    /// CPUs that belong to this model alone; its replicas are pinned there.
    pub cpus: Option<Vec<usize>>,
    /// The SLO class of requests that name none.
    pub class: Option<String>,
    /// By output, a file that names its classes, a line each; relative to the model's directory.
    pub labels: BTreeMap<String, String>,
    /// Replicas of unlike speed, in groups; in place of `replicas` and `cpus`.
    pub devices: Option<Vec<DeviceToml>>,
    /// Batches of a fixed size instead of learned ones.
    pub fixed_batches: Option<FixedBatchesToml>,
    /// Requests that may wait, in place of `limits.queue_tasks_max`.
    pub queue_tasks_max: Option<u32>,
    /// What the model may ask for by name, as `ctx.parameters`.
    pub parameters: BTreeMap<String, String>,
    /// How close a deployed version's answer to its sample must be to what is expected.
    pub check: CheckToml,
    /// False: replicas are live without having run a synthetic batch.
    pub warm_up: Option<bool>,
}

/// `[check]` in model.toml, for outputs that are no whole numbers: `|answer - expected| <= atol + rtol * |expected|`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct CheckToml {
    pub rtol: f64,
    pub atol: f64,
}

impl Default for CheckToml {
    fn default() -> CheckToml {
        // What other libraries, threads and batch sizes change in the last digits of f32.
        CheckToml { rtol: 1e-3, atol: 1e-5 }
    }
}

/// `[fixed_batches]` in model.toml.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct FixedBatchesToml {
    /// Rows of a full batch.
    pub size: u32,
    /// Longest wait for company, as in "2ms"; none when left out.
    pub delay: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(targets: &[&str]) -> Serve {
        Serve { targets: targets.iter().map(|&it| it.into()).collect(), ..Serve::default() }
    }

    fn file(text: &str) -> Result<File, ConfigError> {
        parse(Path::new("foil.toml"), text)
    }

    #[test]
    fn defaults_are_loopback_and_one_core_of_a_small_machine() {
        let config = Config::resolve(flags(&["m.py"]), &[0, 1]).unwrap();
        assert_eq!(config.http, "127.0.0.1:8000".parse().unwrap());
        assert_eq!(config.cores, [0]);
        let large: Vec<usize> = (0..16).collect();
        assert_eq!(Config::resolve(flags(&["m.py"]), &large).unwrap().cores, [0, 1, 2, 3]);
    }

    #[test]
    fn an_unknown_key_names_the_one_that_was_meant() {
        let error = file("[limits]\nqueue_task_max = 3").unwrap_err().to_string();
        assert!(error.contains("did you mean 'queue_tasks_max'?"), "{error}");
        assert!(error.contains("line 2"), "{error}");
    }

    #[test]
    fn classes_come_from_their_tables() {
        let text = "[classes.gold]\nweight = 10\nslo = \"20ms\"\nlate = \"shed\"\n[classes.bulk]";
        let found = classes(file(text).unwrap().classes).unwrap();
        assert_eq!(found.known(), "default, bulk, gold");
        let gold = found.find(b"gold").unwrap();
        let shown = (gold.weight, gold.slo, gold.late);
        assert_eq!(shown, (10, Some(Duration::from_millis(20)), Some(Late::Shed)));
        let bulk = found.find(b"bulk").unwrap();
        assert_eq!((bulk.weight, bulk.slo, bulk.late), (1, None, None));
    }

    #[test]
    fn a_class_that_can_not_be_is_refused_by_its_name() {
        let refused = |text: &str| {
            let text = format!("[classes.gold]\n{text}");
            let found = file(&text).and_then(|file| classes(file.classes));
            found.unwrap_err().to_string()
        };
        assert!(refused("weight = 0").contains("classes.gold"));
        assert!(refused("late = \"drop\"").contains("\"serve\" or \"shed\""));
        assert!(refused("slo = \"20\"").contains("duration"));
        assert!(refused("wieght = 1").contains("did you mean 'weight'?"));
    }

    #[test]
    fn limits_come_from_the_file_and_are_checked() {
        assert_eq!(file("[limits]\nload_s = 5").unwrap().limits.load_s, 5);
        let limits = Limits { slot_bytes_max: 10, ..Limits::default() };
        assert!(limits.check().unwrap_err().to_string().contains("slot_bytes_max"));
    }

    #[test]
    fn relations_between_settings_are_checked() {
        let error = |flags| Config::resolve(flags, &[0, 1]).unwrap_err().to_string();
        let alone = |state: &str| Serve { state: Some(state.into()), ..flags(&[]) };
        assert!(error(alone("none")).contains("TARGET"));
        assert!(Config::resolve(alone("/somewhere"), &[0, 1]).unwrap().deployments);
        assert!(!Config::resolve(flags(&["m.py"]), &[0, 1]).unwrap().deployments);
        assert!(
            error(Serve { name: Some("x".into()), ..flags(&["a.py", "b.py"]) }).contains("single")
        );
        assert!(error(Serve { cores: Some(vec![7]), ..flags(&["a.py"]) }).contains("CPU 7"));
        assert!(error(Serve { cores: Some(vec![1, 1]), ..flags(&["a.py"]) }).contains("twice"));
    }

    #[test]
    fn learned_profiles_are_kept_where_it_is_said_or_nowhere() {
        let state = |flags| Config::resolve(flags, &[0, 1]).unwrap().state;
        let given = |path: &str| Serve { state: Some(path.into()), ..flags(&["m.py"]) };
        assert_eq!(state(given("/somewhere")), Some("/somewhere".into()));
        assert_eq!(state(given("none")), None);
        assert!(state(flags(&["m.py"])).is_none_or(|path| path.ends_with("hydrofoil")));
        assert_eq!(file("state = \"none\"\nwarm_up = false").unwrap().warm_up, Some(false));
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("20ms").unwrap(), Duration::from_millis(20));
        assert_eq!(duration("1.5s").unwrap(), Duration::from_millis(1500));
        assert_eq!(duration("2m").unwrap(), Duration::from_secs(120));
        for wrong in ["20", "ms", "-1s", "1h", "1e999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
