//! The servers that are compared, as child processes whose output is kept for the error that needs it.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::OverheadError;
use super::ask::{Dialect, Question, Said, row};
use crate::address::Address;
use crate::clock::wait_until;
use crate::grpc;
use crate::http::get;
use crate::payload::Encoding;
use crate::plan::Target;
use crate::proc::{is_alive, pss_kib, tree};
use crate::threads::spawn_on;

/// Starting Python and importing numpy takes a second or two on a busy machine.
const READY_WAIT: Duration = Duration::from_secs(60);
/// A drain answers what is in flight; nothing is by then.
const STOP_WAIT: Duration = Duration::from_secs(10);
const OUTPUT_LINES: usize = 20;

pub(crate) const NOOP: &str = include_str!("../../models/noop.py");
const MOSEC_NOOP: &str = include_str!("../../models/mosec_noop.py");
const SEED: u64 = 1;
/// Sums of 784 floats in different orders differ by less.
const SUM_TOLERANCE: f32 = 0.01;

/// The least model, which every workplace holds.
pub(super) const NOOP_FILE: &str = "noop.py";

/// A folder for the models' files and the servers' output, gone with it.
pub(crate) struct Workplace(PathBuf);

impl Workplace {
    pub(crate) fn create() -> Result<Workplace, OverheadError> {
        let folder = std::env::temp_dir().join(format!("foil-bench-{}", std::process::id()));
        let prepared = std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(folder.join(NOOP_FILE), NOOP))
            .and_then(|()| std::fs::write(folder.join("mosec_noop.py"), MOSEC_NOOP));
        prepared.map_err(|source| OverheadError::Prepare { server: "foil-bench", source })?;
        Ok(Workplace(folder))
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file, and the folders above it.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), OverheadError> {
        let path = self.file(name);
        let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        let written = folder.and_then(|()| std::fs::write(path, text));
        written.map_err(|source| OverheadError::Prepare { server: "foil-bench", source })
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        // A folder left in the place for temporary ones harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How `foil serve` is started.
pub(crate) struct Foil<'a> {
    pub(crate) program: &'a Path,
    pub(crate) python: Option<&'a Path>,
    /// Where the whole tree is pinned, if it is.
    pub(crate) core: Option<usize>,
    /// What the engine is told.
    pub(crate) cores: &'a [usize],
    /// A model or a repository, in the workplace.
    pub(crate) target: &'a str,
}

/// Ended with its children when dropped.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(super) metrics: Option<SocketAddr>,
    /// Where HTTP is answered for clients on this machine; its TCP address where there is no socket.
    pub(super) socket: Address,
    pub(crate) dialect: Dialect,
    /// Processes that work for it and are none of its children, with theirs.
    helpers: Vec<u32>,
    child: Child,
    output: PathBuf,
}

impl Server {
    pub(crate) fn floor(workplace: &Workplace, core: usize) -> Result<Server, OverheadError> {
        let address = free_address("hyper")?;
        let own = std::env::current_exe();
        let own = own.map_err(|source| OverheadError::Prepare { server: "hyper", source })?;
        let mut command = Command::new(own);
        command.args(["floor", "--listen", &address.to_string(), "--core", &core.to_string()]);
        Server::start(workplace, "hyper", Dialect::Floor, address, Some(core), command)?.ready("/")
    }

    /// The floor of gRPC.
    pub(crate) fn grpc_floor(workplace: &Workplace, core: usize) -> Result<Server, OverheadError> {
        let address = free_address("h2")?;
        let own = std::env::current_exe();
        let own = own.map_err(|source| OverheadError::Prepare { server: "h2", source })?;
        let mut command = Command::new(own);
        command.args(["floor", "--grpc", "--listen", &address.to_string()]);
        command.args(["--core", &core.to_string()]);
        let dialect = Dialect::GrpcFloor;
        let server = Server::start(workplace, "h2", dialect, address, Some(core), command)?;
        server.ready_when(|| grpc::ask(address, &[]).is_ok())
    }

    /// Comes back when every model is ready.
    pub(crate) fn serving(workplace: &Workplace, foil: &Foil<'_>) -> Result<Server, OverheadError> {
        Server::serving_over(workplace, foil, Dialect::Oip)
    }

    /// The same, to be asked over HTTP or gRPC.
    pub(crate) fn serving_over(
        workplace: &Workplace,
        foil: &Foil<'_>,
        dialect: Dialect,
    ) -> Result<Server, OverheadError> {
        let (http, grpc) = (free_address("foil")?, free_address("foil")?);
        let metrics = free_address("foil")?;
        let cores = foil.cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let mut command = Command::new(foil.program);
        command.arg("serve").arg(workplace.file(foil.target));
        command.args(["--http", &http.to_string(), "--grpc", &grpc.to_string()]);
        command.args(["--metrics", &metrics.to_string(), "--cores", &cores]);
        let socket = workplace.file(&format!("http-{}", http.port()));
        command.arg("--http-socket").arg(&socket);
        // A measurement starts from nothing that an earlier one left.
        command.env("FOIL_STATE", "none");
        if let Some(python) = foil.python {
            command.env("FOIL_PYTHON", python);
        }
        let address = if dialect.is_grpc() { grpc } else { http };
        let mut server = Server::start(workplace, "foil", dialect, address, foil.core, command)?;
        server.metrics = Some(metrics);
        server.socket = Address::unix(&socket);
        server.ready_at(http, "/v2/health/ready")
    }

    pub(super) fn mosec(
        workplace: &Workplace,
        python: &Path,
        core: usize,
    ) -> Result<Server, OverheadError> {
        let address = free_address("mosec")?;
        let mut command = Command::new(python);
        command.arg(workplace.file("mosec_noop.py"));
        command.args(["--address", "127.0.0.1", "--port", &address.port().to_string()]);
        Server::start(workplace, "mosec", Dialect::Plain, address, Some(core), command)?.ready("/")
    }

    pub(crate) fn start(
        workplace: &Workplace,
        name: &'static str,
        dialect: Dialect,
        address: SocketAddr,
        core: Option<usize>,
        mut command: Command,
    ) -> Result<Server, OverheadError> {
        // Several servers of one name may be up at once.
        let output = workplace.file(&format!("{name}-{}.log", address.port()));
        let prepare = |source| OverheadError::Prepare { server: name, source };
        let log = File::create(&output).map_err(prepare)?;
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(prepare)?).stderr(log);
        let child = spawn_on(core, &mut command)?;
        let (socket, helpers) = (address.into(), Vec::new());
        Ok(Server { name, address, metrics: None, socket, dialect, helpers, child, output })
    }

    pub(crate) fn ready(self, path: &str) -> Result<Server, OverheadError> {
        let address = self.address;
        self.ready_at(address, path)
    }

    /// Where it is asked elsewhere than it is seen to be ready.
    pub(crate) fn ready_at(self, address: SocketAddr, path: &str) -> Result<Server, OverheadError> {
        self.ready_when(|| get(address, path).is_ok_and(|answer| answer.status == 200))
    }

    /// Comes back when so many replicas can answer, of all models together: a model is ready with its first.
    pub(crate) fn with_replicas(self, wanted: u64) -> Result<Server, OverheadError> {
        let metrics = self.metrics;
        self.ready_when(|| {
            let page = metrics.and_then(|address| get(address, "/metrics").ok());
            page.is_some_and(|page| live_replicas(&String::from_utf8_lossy(&page.body)) >= wanted)
        })
    }

    fn ready_when(mut self, mut is_ready: impl FnMut() -> bool) -> Result<Server, OverheadError> {
        let child = &mut self.child;
        let mut ended = false;
        let ready = wait_until(READY_WAIT, || {
            ended = !matches!(child.try_wait(), Ok(None));
            ended || is_ready()
        });
        if ready && !ended {
            return Ok(self);
        }
        Err(OverheadError::NotReady { server: self.name, output: self.last_output() })
    }

    /// The server's own process, without those it started.
    pub(crate) fn engine(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn processes(&self) -> Vec<u32> {
        let helpers = self.helpers.iter().flat_map(|process| tree(*process));
        tree(self.child.id()).into_iter().chain(helpers).collect()
    }

    /// What these and their children cost, too.
    pub(super) fn counts(&mut self, helpers: Vec<u32>) {
        self.helpers = helpers;
    }

    pub(crate) fn pss_mib(&self) -> f64 {
        pss_kib(&self.processes()) as f64 / 1024.0
    }

    /// What to ask, and the answer that every request must get: the first one, once it is known to be right.
    pub(super) fn target(&self, encoding: Encoding) -> Result<Target, OverheadError> {
        let question = Question { dialect: self.dialect, encoding, model: "noop" };
        let request = question.request(self.address, SEED);
        let Said { is_answer, body } = question.ask(self.address, &request)?;
        if !is_answer || !self.is_right(&question, SEED, &body) {
            let answer = String::from_utf8_lossy(&body).into_owned();
            return Err(OverheadError::WrongAnswer { server: self.name, answer });
        }
        Ok(question.target(self.address, request, Some(body)))
    }

    /// Whether that is the least model's answer to the row of this seed.
    pub(crate) fn is_right(&self, question: &Question<'_>, seed: u64, body: &[u8]) -> bool {
        let expected: f32 = row(seed).iter().sum();
        let is_floor = matches!(self.dialect, Dialect::Floor | Dialect::GrpcFloor);
        match question.answer(body) {
            Some(answer) if is_floor => answer.is_empty(),
            Some(answer) => matches!(answer[..], [sum] if (sum - expected).abs() < SUM_TOLERANCE),
            None => false,
        }
    }

    fn last_output(&self) -> String {
        let output = std::fs::read(&self.output).unwrap_or_default();
        let output = String::from_utf8_lossy(&output);
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(OUTPUT_LINES)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let started = tree(self.child.id());
        let child = &mut self.child;
        let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        // One that has ended can't be asked to; waiting for it below tells.
        let _ = process.map(|process| kill_process(process, Signal::TERM));
        if !wait_until(STOP_WAIT, || !matches!(child.try_wait(), Ok(None))) {
            let _ = child.kill();
            let _ = child.wait();
        }
        // A parent that leaves its workers behind must not leave them to the next measurement.
        for left in started.iter().skip(1).filter(|&&process| is_alive(process)) {
            let process = i32::try_from(*left).ok().and_then(Pid::from_raw);
            let _ = process.map(|process| kill_process(process, Signal::KILL));
        }
    }
}

fn live_replicas(page: &str) -> u64 {
    let gauges = page.lines().filter(|line| line.starts_with("foil_replicas{"));
    gauges.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

/// Beside this program, else on PATH.
pub(super) fn find_foil() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok()?.with_file_name("foil");
    if beside.is_file() {
        return Some(beside);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("foil")).find(|file| file.is_file())
}

/// Free now; taken by the server a moment later.
pub(crate) fn free_address(server: &'static str) -> Result<SocketAddr, OverheadError> {
    let found = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    found.map_err(|source: io::Error| OverheadError::Prepare { server, source })
}
