//! One engine, owned by its process id, ended with its owner.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::client::{Client, Response, bytes_of};

/// Nothing an engine does in these tests takes this long; what does, hangs.
pub const WATCHDOG: Duration = Duration::from_secs(60);

/// Between two looks at something that is to happen.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The repository's root.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the crate lies in the repository").to_owned()
}

/// A model of `tests/models`.
pub fn model(file: &str) -> String {
    root().join("tests/models").join(file).display().to_string()
}

/// A program of the virtual environment, where `cargo xtask setup` put the wheel.
pub fn program(name: &str) -> PathBuf {
    let directory = std::env::var_os("FOIL_TEST_BIN").map(PathBuf::from);
    directory.unwrap_or_else(|| root().join(".venv/bin")).join(name)
}

/// A directory of its own, removed with its owner.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        let path =
            std::env::temp_dir().join(format!("hydrofoil-test-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Scratch(path)
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().expect("inside the scratch directory"))
            .expect("made");
        std::fs::write(path, text).expect("written");
    }

    pub fn path(&self, path: &str) -> String {
        self.0.join(path).display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What can't be removed is left to the system's own cleaning.
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

/// A command that serves `arguments` on free ports.
pub fn command(arguments: &[&str]) -> Command {
    command_of(&program("foil"), arguments)
}

/// The same of another `foil`.
pub fn command_of(foil: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(foil);
    let addresses = ["--http", "--grpc", "--metrics"].map(|flag| [flag, "127.0.0.1:0"]);
    command.arg("serve").args(addresses.concat()).args(arguments);
    command.env("FOIL_PYTHON", program("python")).stdin(Stdio::null());
    // A test starts from nothing that an earlier one left.
    command.env("FOIL_STATE", "none");
    command
}

/// A running engine.
pub struct Engine {
    child: Child,
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    pub metrics: SocketAddr,
    /// Of engines started with `--admin`.
    pub admin: Option<SocketAddr>,
    said: Arc<Mutex<String>>,
}

impl Engine {
    /// Serves and waits until `models` are ready.
    pub fn start(arguments: &[&str], models: usize) -> Engine {
        Engine::start_with(command(arguments), models)
    }

    /// The same with a command of the test's own making.
    pub fn start_with(command: Command, models: usize) -> Engine {
        let mut engine = Engine::start_unready(command);
        wait_until("the engine is ready", || {
            assert!(
                engine.child.try_wait().expect("waits").is_none(),
                "it ended: {}",
                engine.said()
            );
            engine.said().lines().filter(|line| line.starts_with("ready ")).count() == models
        });
        assert!(engine.has_address(), "it says where it listens");
        engine
    }

    /// Starts and does not wait for any model.
    pub fn start_unready(mut command: Command) -> Engine {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("foil starts");
        let said = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().expect("stderr is piped");
        let log = said.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = log.lock().expect("nobody panics while writing");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Engine { child, http: nowhere, grpc: nowhere, metrics: nowhere, admin: None, said }
    }

    /// Whether it has said where it listens; from then on it can be talked to.
    pub fn has_address(&mut self) -> bool {
        let said = self.said();
        let Some(line) = said.lines().find(|line| line.starts_with("listening")) else {
            return false;
        };
        let mut addresses = line.split("http://").skip(1).map(address);
        self.http = addresses.next().flatten().expect("an HTTP address");
        self.metrics = addresses.next().flatten().expect("a metrics address");
        self.admin = addresses.next().flatten();
        self.grpc = line.split("grpc ").nth(1).and_then(address).expect("an address for gRPC");
        true
    }

    /// How it ended, if it has.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("waits")
    }

    /// Sends an infer request whose answer nobody waits for.
    pub fn post_and_forget(&self, model: &str, body: &str) {
        let path = format!("/v2/models/{model}/infer");
        self.client().send(&bytes_of("POST", &path, &[], body.as_bytes()));
    }

    /// All it has written to stderr.
    pub fn said(&self) -> String {
        self.said.lock().expect("nobody panics while writing").clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn client(&self) -> Client {
        Client::connect(self.http)
    }

    pub fn get(&self, path: &str) -> Response {
        self.client().get(path)
    }

    pub fn infer(&self, model: &str, body: &str) -> Response {
        self.client().infer(model, body)
    }

    /// The value of the first metric line that starts with `start`.
    pub fn metric(&self, start: &str) -> f64 {
        let page = Client::connect(self.metrics).get("/metrics").text();
        let line = page.lines().find(|line| line.starts_with(start));
        let line = line.unwrap_or_else(|| panic!("no metric {start} in\n{page}"));
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a value")
    }

    /// The sum of all metric lines that `is_meant`.
    pub fn sum(&self, is_meant: impl Fn(&str) -> bool) -> f64 {
        let page = Client::connect(self.metrics).get("/metrics").text();
        let values = page.lines().filter(|line| !line.starts_with('#') && is_meant(line));
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Replicas of this model that were lost, for whatever reason.
    pub fn restarts(&self, model: &str) -> f64 {
        let start = format!("foil_replica_restarts_total{{model=\"{model}\"");
        self.sum(|line| line.starts_with(&start))
    }

    /// Processes whose parent is the engine.
    pub fn containers(&self) -> Vec<u32> {
        let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
        let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter(|&pid| parent(pid) == Some(self.pid())).collect()
    }

    /// Open descriptors of the engine.
    pub fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.pid());
        std::fs::read_dir(path).expect("the engine lives").count()
    }

    /// Mappings of shared-memory files in the engine.
    pub fn shared_mappings(&self) -> usize {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", self.pid())).expect("it lives");
        maps.lines().filter(|line| line.contains("/memfd:")).count()
    }

    /// A line of the kernel's account of its memory, as in `VmHWM`; in bytes.
    pub fn memory(&self, line: &str) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).expect("the engine lives");
        let value = status.lines().find_map(|it| it.strip_prefix(line)?.strip_prefix(':'));
        let kib = value.and_then(|it| it.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.expect("a number of kB") << 10
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal);
    }

    /// SIGTERM, and the exit status.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    pub fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        wait_until("the engine ends", || {
            ended = self.child.try_wait().expect("waits");
            ended.is_some()
        });
        ended.expect("it ended")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // It may have ended; its containers die with it.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the engine said:\n{}", self.said());
        }
    }
}

/// Ends those who go on until it is set, also when a check panics: a scope waits for its threads.
pub struct Ends<'a>(pub &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends a signal to a process that a test owns.
pub fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process id");
    kill_process(pid, signal).expect("the process is there");
}

/// Looks until `done`; panics when the watchdog bites.
#[expect(clippy::disallowed_methods, reason = "a watchdog needs a clock, and a look needs a pause")]
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < WATCHDOG, "watchdog: waited in vain until {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn address(text: &str) -> Option<SocketAddr> {
    text.split([' ', '/']).next()?.parse().ok()
}
