//! What handing a batch over costs the engine: `ShmLane::send` itself, with 32 rows of 784 float32, without a wake.
//!
//! `cargo bench -p engine --bench handover [-- --json]`. Measured twice: with the container on the same core (played by
//! this thread between two sends, so that it is awake and the caches are one), and in another process, spinning on a
//! core of its own, which takes every byte of the slot out of this core's cache before the next batch is written.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use bench::clock::wait_until;
use bench::compare::spread;
use bench::report::Table;
use bench::samples::{Plan, sample};
use bench::threads::on_core;
use bench::twin::Twin;
use bytes::Bytes;
use clap::{Parser, Subcommand};
use engine::dispatch::lane::shm::ShmLane;
use engine::dispatch::lane::{Batch, News};
use engine::ids::BatchId;
use engine::query::types::{TaskInputs, Tensor, TensorData};
use schemas::lifecycle::{
    FromEngine, LaneGeometry, LaneMemory, Late, MESSAGE_BYTES_MAX, ModelSpec, Welcome,
    encode_from_engine,
};
use schemas::predict::{BatchHeader, HEADER_BYTES_MAX, HeaderWriter};
use schemas::tensor::{DType, Dim, Layout, TensorSpec};
use shm_rpc::container_side::{ContainerSide, Next};
use shm_rpc::engine_side::EngineSide;
use shm_rpc::handshake::{ContainerSession, EngineListener, EngineSession, Received};
use shm_rpc::{LaneConfig, Status};
use smallvec::smallvec;
use tokio::runtime::{Builder, LocalOptions};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Fewer give no median worth the name.
const ROUNDS: usize = 7;
const ROUNDS_MAX: usize = 101;
const PLAN: Plan = Plan { warm: 500, timed: 5_000 };

const ROWS: u32 = 32;
const FEATURES: u64 = 784;
const ROW_BYTES: usize = FEATURES as usize * 4;
/// Batches of different requests take turns, so that their rows are not always in the nearest cache.
const BATCHES: usize = 4;
/// Room for a header and the padding behind it.
const HEAD_BYTES: u32 = HEADER_BYTES_MAX as u32 + 64;

const INCARNATION: u64 = 1;
const JOIN_WAIT: Duration = Duration::from_secs(10);
/// Fruitless looks of the container before it asks whether the engine still lives.
const LOOKS: u32 = 1 << 16;
/// Fruitless looks before the container is given up: seconds, where a reply takes microseconds.
const LOOKS_MAX: u64 = 1 << 32;

#[derive(Parser)]
struct Cli {
    /// One line of JSON instead of the table
    #[arg(long)]
    json: bool,
    /// Interleaved rounds
    #[arg(long, default_value_t = ROUNDS)]
    rounds: usize,
    /// The engine's core and the container's
    #[arg(long, value_delimiter = ',', num_args = 1, default_values_t = [0, 1])]
    cores: Vec<usize>,
    /// What cargo says to every benchmark
    #[arg(long, hide = true, global = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What the other process is for.
#[derive(Subcommand)]
enum Role {
    #[command(hide = true)]
    Container { socket: PathBuf },
    /// Plays the engine for a script that measures the hand-over in Python
    Python { python: PathBuf, script: PathBuf },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.role {
        Some(Role::Container { socket }) => spin(socket),
        Some(Role::Python { python, script }) => in_python(python, script, &cli.cores),
        None => measure(&cli),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("handover: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(cli: &Cli) -> Outcome<()> {
    let [engine, container] = cli.cores[..] else { return Err("give two cores".into()) };
    if !(1..=ROUNDS_MAX).contains(&cli.rounds) {
        return Err(format!("use 1 to {ROUNDS_MAX} rounds").into());
    }
    let (mut one_core, mut across) = (Vec::new(), Vec::new());
    for round in 0..cli.rounds {
        eprintln!("handover: round {} of {}", round + 1, cli.rounds);
        one_core.push(on_one_core(engine)?);
        across.push(across_cores(engine, container)?);
    }
    let mut table = Table::new(&["handover", "median", "min", "max"]);
    let mut medians = Vec::new();
    for (name, values) in [("handover_rust_us", one_core), ("handover_rust_across_us", across)] {
        let found = spread(&values).ok_or("nothing was measured")?;
        let cells = [found.median, found.min, found.max].map(|value| format!("{value:.2}"));
        table.row([name.to_owned()].into_iter().chain(cells));
        medians.push(format!("\"{name}\":{:.3}", found.median));
    }
    if cli.json {
        println!("{{{}}}", medians.join(","));
    } else {
        print!("{table}");
    }
    Ok(())
}

// ---- the engine ----

/// The container is this thread, in turns with the engine.
fn on_one_core(core: usize) -> Outcome<f64> {
    let one_core = || -> Outcome<f64> {
        let (mut listener, path) = listen()?;
        let theirs = ContainerSession::connect(&path)?;
        let ours = listener.try_accept()?.ok_or("the connection is not there")?;
        let (side, _ours) = lane(ours)?;
        let mut container = Container::join(theirs)?;
        sends(side, || container.look().map(drop))
    };
    on_core(Some(core), one_core)?
}

/// The container is another process, which never sleeps.
fn across_cores(engine: usize, container: usize) -> Outcome<f64> {
    let (mut listener, path) = listen()?;
    let mut twin = Twin::start(container, &["container".as_ref(), path.as_ref()])?;
    let mut accepted = Ok(None);
    wait_until(JOIN_WAIT, || {
        accepted = listener.try_accept();
        !matches!(accepted, Ok(None)) || twin.has_ended()
    });
    let (side, session) = lane(accepted?.ok_or("the container did not come")?)?;
    let p50_us = on_core(Some(engine), || sends(side, || Ok(())))??;
    // It leaves when it sees the socket closed.
    drop(session);
    twin.leaves()?;
    Ok(p50_us)
}

/// The script is the container; it prints what it measured itself.
fn in_python(python: &Path, script: &Path, cores: &[usize]) -> Outcome<()> {
    let (mut listener, path) = listen()?;
    let mut child = Command::new(python).arg(script).env("FOIL_SOCKET", &path).spawn()?;
    let mut accepted = Ok(None);
    wait_until(JOIN_WAIT, || {
        accepted = listener.try_accept();
        !matches!(accepted, Ok(None))
    });
    let mut session = accepted?.ok_or("the script did not come")?;
    receive(&mut session)?;
    let welcome = FromEngine::Welcome(Welcome { lane: geometry() });
    let (side, fds) = EngineSide::create(config(), INCARNATION)?;
    session.send_lane(&encode_from_engine(&welcome), &fds)?;
    receive(&mut session)?;
    let served = on_core(cores.first().copied(), || sends(side, || leave_if_closed(&mut session)))?;
    let status = child.wait()?;
    match (served, status.success()) {
        // The script leaves when it has measured enough, whatever we still wanted to send.
        (_, true) => Ok(()),
        (Err(error), false) => Err(error),
        (Ok(_), false) => Err("the script failed".into()),
    }
}

/// Waits for a message of the handshake; what it says is the other benchmarks' business.
fn receive(session: &mut EngineSession) -> Outcome<()> {
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    let mut received = Ok(Received::WouldBlock);
    wait_until(JOIN_WAIT, || {
        received = session.try_recv(&mut buffer);
        !matches!(received, Ok(Received::WouldBlock))
    });
    match received? {
        Received::Message(_) => Ok(()),
        Received::WouldBlock | Received::Closed => Err("the script did not speak".into()),
    }
}

fn leave_if_closed(session: &mut EngineSession) -> Outcome<()> {
    match session.try_recv(&mut [0; 64])? {
        Received::Closed => Err("the script left".into()),
        Received::Message(_) | Received::WouldBlock => Ok(()),
    }
}

fn geometry() -> LaneGeometry {
    let LaneConfig { ring_depth, slots, request_slot_bytes, reply_slot_bytes, .. } = config();
    LaneGeometry {
        ring_depth,
        slots,
        request_slot_bytes,
        reply_slot_bytes,
        incarnation: INCARNATION,
        memory: LaneMemory::Memfd,
        huge_pages: false,
        spin_us: 0,
    }
}

fn listen() -> Outcome<(EngineListener, PathBuf)> {
    let path = std::env::temp_dir().join(format!("handover-{}.sock", std::process::id()));
    Ok((EngineListener::bind(&path)?, path))
}

fn lane(mut session: EngineSession) -> Outcome<(EngineSide, EngineSession)> {
    let (side, fds) = EngineSide::create(config(), INCARNATION)?;
    session.send_lane(b"welcome", &fds)?;
    Ok((side, session))
}

/// The p50 of a send, in µs; `meanwhile` runs whenever the engine waits for a reply.
fn sends(side: EngineSide, mut meanwhile: impl FnMut() -> Outcome<()>) -> Outcome<f64> {
    let spec = spec();
    let batches: Vec<Vec<TaskInputs>> = (0..BATCHES).map(batch).collect();
    let batches: Vec<Vec<&TaskInputs>> =
        batches.iter().map(|tasks| tasks.iter().collect()).collect();
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let times = runtime.block_on(async {
        let mut lane = ShmLane::new(side)?;
        let times = sample(PLAN, |number, clock| -> Outcome<u64> {
            let tasks = &batches[number as usize % BATCHES];
            let batch = Batch { id: BatchId(number), rows: ROWS, tasks };
            let begun_ns = clock.now_ns();
            lane.send(&spec, batch)?;
            let took_ns = clock.now_ns() - begun_ns;
            await_reply(&mut lane, &spec, &mut meanwhile)?;
            Ok(took_ns)
        });
        lane.shut();
        times
    })?;
    Ok(times.p50_ns / 1e3)
}

fn await_reply(
    lane: &mut ShmLane,
    spec: &ModelSpec,
    meanwhile: &mut impl FnMut() -> Outcome<()>,
) -> Outcome<()> {
    for _ in 0..LOOKS_MAX {
        if let Some(News::Reply(reply)) = lane.poll_reply(spec, |_| ROWS)? {
            let outputs = reply.outcome.map_err(|failure| failure.message)?;
            assert_eq!(outputs[0].shape.as_slice(), [u64::from(ROWS), 1]);
            return Ok(());
        }
        meanwhile()?;
    }
    Err("the container does not answer".into())
}

/// A row a request.
fn batch(number: usize) -> Vec<TaskInputs> {
    let task = |row: u32| TaskInputs {
        tensors: smallvec![Tensor {
            dtype: DType::F32,
            shape: smallvec![1, FEATURES],
            data: TensorData::Fixed(Bytes::from(vec![(row as usize + number) as u8; ROW_BYTES])),
        }],
        rows: 1,
    };
    (0..ROWS).map(task).collect()
}

fn spec() -> ModelSpec {
    let tensor = |name: &str, columns| TensorSpec {
        name: name.to_owned(),
        dtype: DType::F32,
        dims: vec![Dim::Batch, Dim::Fixed(columns)],
    };
    ModelSpec {
        name: "sum".to_owned(),
        platform: "bench".to_owned(),
        inputs: vec![tensor("x", FEATURES)],
        outputs: vec![tensor("y", 1)],
        batched: true,
        max_batch: ROWS,
        slo_us: None,
        late: Late::Serve,
        batch_timeout_us: 1_000_000,
        replicas: 1,
        pad: false,
        decoupled: false,
    }
}

/// The only place that says what the lane looks like.
fn config() -> LaneConfig {
    LaneConfig::new(2, 2, HEAD_BYTES + ROWS * ROW_BYTES as u32, HEAD_BYTES + ROWS * 4)
}

// ---- the container ----

/// Reads every byte of a batch and answers a number for each row.
struct Container {
    session: ContainerSession,
    side: ContainerSide,
    bytes: Vec<u8>,
    writer: HeaderWriter,
    header: BatchHeader,
    total_bytes: u32,
}

impl Container {
    fn join(mut session: ContainerSession) -> Outcome<Container> {
        let (_, fds) = session.recv_lane(&mut [0; 64])?;
        let side = ContainerSide::map(fds.ok_or("no lane came")?, config(), INCARNATION)?;
        let mut layout = Layout::new();
        let answer = layout.fixed(DType::F32, smallvec![u64::from(ROWS), 1])?;
        let header = BatchHeader { batch_id: 0, rows: ROWS, tensors: vec![answer] };
        let bytes = vec![0; config().request_slot_bytes as usize];
        let (writer, total_bytes) = (HeaderWriter::new(), layout.total_bytes());
        Ok(Container { session, side, bytes, writer, header, total_bytes })
    }

    /// Answers a batch if one is there.
    fn look(&mut self) -> Outcome<Looked> {
        match self.side.next(Duration::ZERO)? {
            Next::Idle => return Ok(Looked::Idle),
            Next::Shut => return Ok(Looked::Shut),
            Next::Request(request) => {
                let bytes = &mut self.bytes[..request.total_bytes as usize];
                self.side.read(&request, 0, bytes)?;
                self.header.batch_id = request.tag;
                let header = self.writer.reply(&self.header)?;
                self.side.write_reply(&request, 0, header)?;
                let header_bytes = header.len() as u32;
                self.side.reply(request, Status::Ok, header_bytes, self.total_bytes, 0, 0);
            }
        }
        Ok(Looked::Answered)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Looked {
    Idle,
    Answered,
    Shut,
}

/// The other process: looks without pause, until the farewell or the engine's end.
fn spin(path: &Path) -> Outcome<()> {
    let mut container = Container::join(ContainerSession::connect(path)?)?;
    let mut idle = 0;
    loop {
        match container.look()? {
            Looked::Answered => idle = 0,
            Looked::Shut => return Ok(()),
            Looked::Idle if idle == LOOKS && container.session.is_closed() => return Ok(()),
            Looked::Idle => idle = if idle == LOOKS { 0 } else { idle + 1 },
        }
    }
}
