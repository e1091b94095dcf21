//! The composition root: build, spawn, drain. Nothing else knows every room.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, UNIX_EPOCH};

use arc_swap::ArcSwap;
use shm_rpc::Memory;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

use crate::api::admin::Door;
use crate::api::front_end::{FrontEnd, HttpLimits, HttpOptions};
use crate::api::listener::{self, DrainPhase};
use crate::api::oip_grpc;
use crate::classes::{ClassError, Classes};
use crate::cli::{Lane, LogFormat, MetricsCompat, Serve};
use crate::client_shm::registry::Registry;
use crate::clipper_rpc::{Port, Registry as Containers};
use crate::clock::Clock;
use crate::config::{Config, ConfigError, Limits};
use crate::dispatch::{CORE_MAILBOX_MESSAGES_MAX, Core, CoreLinks, CoreMsg, run_core_mailbox};
use crate::fleet::catalog::{Catalog, PublishedCatalog};
use crate::fleet::cores::{self, CpusError};
use crate::fleet::launch::process::Programs;
use crate::fleet::launch::users::Users;
use crate::fleet::orders::{FleetLink, Order};
use crate::fleet::profiles::Profiles;
use crate::fleet::supervisor::{Fleet, FleetConfig, StartError};
use crate::fleet::target::{self, TargetError};
use crate::fleet::welcome::LaneSettings;
use crate::ids::{ClassId, CoreId};
use crate::observe::export::{self, Compat};
use crate::observe::log::{Log, Style};
use crate::observe::reports::{Reporting, Reports};
use crate::observe::stages::{CoreRecorder, CoreSnapshot};
use crate::socket_file::SocketError;
use crate::threads;

mod administration;
mod clipper;
mod containers;
mod local_doors;
mod socket_directory;

use self::administration::{AdminDoor, wanted};
use self::clipper::{Interface, Seat};
use self::local_doors::LocalDoors;
use self::socket_directory::SocketDirectory;

/// A core that does not answer a scrape within this is left out of it.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Cpus(#[from] CpusError),
    #[error(transparent)]
    Class(#[from] ClassError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot listen on {address}: {source}; is another server running there?")]
    Listen { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("cannot {doing}: {source}")]
    System { doing: &'static str, source: io::Error },
}

fn system(doing: &'static str) -> impl Fn(io::Error) -> ServeError {
    move |source| ServeError::System { doing, source }
}

/// Serves until a signal, then drains.
pub fn serve(flags: Serve) -> Result<(), ServeError> {
    let config = Config::resolve(flags, &threads::available_cpus())?;
    let log = start_log(config.log_format);
    let targets =
        target::resolve(&config.targets, config.name.as_deref(), &wanted(&config.control))?;
    cores::check(&targets, &threads::available_cpus())?;
    let targets = with_classes(targets, &config.classes)?;
    let (engine, orders) = Engine::build(config, log)?;
    let control = runtime().map_err(system("start the control runtime"))?;
    control.block_on(engine.run(targets, orders))
}

/// Each target with the class of its requests.
fn with_classes(
    targets: Vec<target::Target>,
    classes: &Classes,
) -> Result<Vec<(target::Target, ClassId)>, ClassError> {
    targets.into_iter().map(|it| target::class_of(&it, classes).map(|class| (it, class))).collect()
}

fn start_log(format: LogFormat) -> Arc<Log> {
    let style = match format {
        LogFormat::Pretty => Style::Pretty,
        LogFormat::Json => Style::Json,
    };
    Log::start(style, std::env::var("FOIL_LOG").ok())
}

fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
}

/// Everything that runs, before any model does.
struct Engine {
    config: Config,
    clock: Clock,
    catalog: PublishedCatalog,
    links: CoreLinks,
    drain: watch::Sender<DrainPhase>,
    /// They end with the process; kept to say so if one ends earlier.
    cores: Vec<JoinHandle<()>>,
    http: SocketAddr,
    grpc: SocketAddr,
    metrics: TcpListener,
    /// Of Clipper's containers, until it is opened.
    containers: Option<Port>,
    /// The same.
    clipper: Option<Interface>,
    sockets: SocketDirectory,
    doors: LocalDoors,
    users: Option<Users>,
    admin: Option<SocketAddr>,
}

impl Engine {
    fn build(config: Config, log: Arc<Log>) -> Result<(Engine, mpsc::Receiver<Order>), ServeError> {
        let clock = Clock::start();
        let reporting = Reporting { log, traces: Arc::default(), access_log: config.access_log };
        let catalog = PublishedCatalog::new(ArcSwap::from_pointee(Catalog::default()));
        let drain = watch::Sender::new(DrainPhase::Serving);
        let metrics = TcpListener::bind(config.metrics)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(|source| ServeError::Listen { address: config.metrics, source })?;
        let (links, mailboxes): (Vec<_>, Vec<_>) =
            config.cores.iter().map(|_| mpsc::channel(CORE_MAILBOX_MESSAGES_MAX)).unzip();
        let links: CoreLinks = links.into();
        let containers = config.clipper_rpc.map(containers::bind).transpose()?;
        let mut clipper = Interface::build(&config, containers.as_ref(), &catalog, &links)?;
        check_free(config.http)?;
        check_free(config.grpc)?;
        let users = Users::available(config.shared_user);
        let sockets = SocketDirectory::make(clock, users.is_some())
            .map_err(system("make a directory for sockets"))?;
        let doors = LocalDoors::open(&config)?;
        let (fleet, orders) = FleetLink::channel();
        let mut admin_door = config.control.admin.as_ref().map(AdminDoor::open).transpose()?;
        let admin = admin_door.as_ref().map(|door| door.address);
        let (mut cores, mut http, mut grpc) = (Vec::new(), config.http, config.grpc);
        for (index, mailbox) in mailboxes.into_iter().enumerate() {
            let listeners = Listeners { http: listen(&mut http)?, grpc: listen(&mut grpc)? };
            let seed = CoreSeed {
                id: CoreId(index),
                clock,
                links: links.clone(),
                catalog: catalog.clone(),
                classes: config.classes.clone(),
                drain: drain.subscribe(),
                limits: http_limits(&config),
                server_timing: config.server_timing,
                reporting: reporting.clone(),
                listeners,
                shared_memory: doors.registry(),
                unix: doors.http_for_a_core().map_err(system("duplicate a listener"))?,
                clipper: clipper.as_mut().map(Interface::seat).transpose()?,
                mailbox,
                fleet: fleet.clone(),
                // Administrators are few: the first core has time for all of them.
                admin: admin_door.take(),
            };
            let thread = threads::spawn_pinned(index, config.cores[index], move || seed.run());
            cores.push(thread.map_err(system("start a core's thread"))?);
        }
        let engine = Engine {
            config,
            clock,
            catalog,
            links,
            drain,
            cores,
            http,
            grpc,
            metrics,
            containers,
            clipper,
            sockets,
            doors,
            users,
            admin,
        };
        Ok((engine, orders))
    }

    async fn run(
        mut self,
        targets: Vec<(target::Target, ClassId)>,
        orders: mpsc::Receiver<Order>,
    ) -> Result<(), ServeError> {
        let mut term = signal(SignalKind::terminate()).map_err(system("listen for SIGTERM"))?;
        let mut int = signal(SignalKind::interrupt()).map_err(system("listen for SIGINT"))?;
        self.serve_metrics()?;
        self.doors.serve().map_err(system("serve clients on this machine"))?;
        let mut fleet = Fleet::new(self.fleet_config());
        let containers = containers::open(self.containers.take(), &fleet, &self.config)?;
        if let Some(clipper) = self.clipper.take() {
            clipper.open();
        }
        tokio::select! {
            started = fleet.start(targets) => started?,
            _ = term.recv() => return Ok(()),
            _ = int.recv() => return Ok(()),
        }
        fleet.follow(orders);
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        eprintln!("draining; signal again to end at once");
        tokio::select! {
            () = self.drain(fleet, containers) => {}
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        Ok(())
    }

    fn serve_metrics(&self) -> Result<(), ServeError> {
        let doing = "serve metrics";
        let listener = self.metrics.try_clone().map_err(system(doing))?;
        let address = listener.local_addr().map_err(system(doing))?;
        let Engine { http, grpc, .. } = self;
        let admin = self.admin.map_or(String::new(), |admin| format!("  admin http://{admin}"));
        eprintln!("listening  http://{http}  grpc {grpc}  metrics http://{address}/metrics{admin}");
        let listener = tokio::net::TcpListener::from_std(listener).map_err(system(doing))?;
        let links = self.links.clone();
        let compat = match self.config.metrics_compat {
            None => Compat::None,
            Some(MetricsCompat::Triton) => Compat::Triton,
        };
        tokio::task::spawn_local(export::serve(listener, compat, move || scrape(links.clone())));
        Ok(())
    }

    fn fleet_config(&self) -> FleetConfig {
        FleetConfig {
            clock: self.clock,
            limits: self.config.limits.clone(),
            lane: lane_settings(&self.config),
            cores: self.config.cores.clone(),
            users: self.users,
            programs: Programs::find(self.config.python.clone()),
            classes: self.config.classes.clone(),
            catalog: self.catalog.clone(),
            links: self.links.clone(),
            sockets: self.sockets.path.clone(),
            warm_up: self.config.warm_up,
            profiles: self.config.state.as_deref().and_then(open_profiles),
            repositories: administration::repositories(&self.config),
            changes: self.config.control.admin.is_some() || self.config.control.polls().is_some(),
            poll_every: self.config.control.polls(),
            base_url: format!("http://{}", self.http),
        }
    }

    /// Not ready at once; accepts for the delay; then answers what was accepted and ends.
    async fn drain(&self, fleet: Fleet, containers: Option<Rc<Containers>>) {
        self.catalog.store(Arc::new(self.catalog.load().drained()));
        self.drain.send_replace(DrainPhase::NotReady);
        tokio::time::sleep(self.config.drain_delay).await;
        self.drain.send_replace(DrainPhase::Closing);
        let bound = Duration::from_secs(self.config.limits.drain_s);
        let ended = tokio::time::timeout(bound, async {
            // Front ends drop their receivers when their last connection has ended.
            self.drain.closed().await;
            if let Some(containers) = containers {
                containers.drain().await;
            }
            fleet.stop().await;
        });
        if self.cores.iter().any(JoinHandle::is_finished) {
            tracing::error!("a core's thread ended before the drain");
        }
        if ended.await.is_err() {
            tracing::error!(
                ?bound,
                "the drain took longer than limits.drain_s; what is left is abandoned"
            );
        }
    }
}

/// How lanes are made here; `auto` says what it chose and why.
fn lane_settings(config: &Config) -> LaneSettings {
    let memory = match config.lane {
        Lane::Memfd => Memory::Memfd,
        Lane::Posix => Memory::Posix,
        Lane::Auto => match shm_rpc::engine_side::choose_memory() {
            (memory, None) => {
                tracing::info!(lane = memory.name(), "this system seals memory");
                memory
            }
            (memory, Some(why)) => {
                tracing::warn!(lane = memory.name(), "this system does not seal memory: {why}");
                memory
            }
        },
    };
    let Limits { slot_bytes_max, variable_slot_bytes, .. } = config.limits;
    let huge_pages = config.huge_pages && memory == Memory::Memfd;
    if config.huge_pages && !huge_pages {
        tracing::warn!("huge pages need lane memfd; going on without");
    }
    LaneSettings { memory, huge_pages, slot_bytes_max, variable_slot_bytes }
}

/// An engine that can't keep what it learns serves all the same.
fn open_profiles(state: &Path) -> Option<Profiles> {
    let opened = Profiles::open(state);
    opened
        .inspect_err(|error| {
            tracing::warn!("learned latency profiles are not kept (--state): {error}");
        })
        .ok()
}

/// Cores share their port, and so would a second engine, silently: an ordinary bind tells whether it is taken.
fn check_free(address: SocketAddr) -> Result<(), ServeError> {
    let taken = |source| ServeError::Listen { address, source };
    TcpListener::bind(address).map(drop).map_err(taken)
}

/// With port 0 the first core's listener chooses, and the others share its choice.
fn listen(address: &mut SocketAddr) -> Result<TcpListener, ServeError> {
    let listener = listener::bind(*address)
        .map_err(|source| ServeError::Listen { address: *address, source })?;
    *address = listener.local_addr().map_err(system("read a listener's address"))?;
    Ok(listener)
}

fn http_limits(config: &Config) -> HttpLimits {
    HttpLimits {
        connections_max: config.limits.connections_max,
        head_bytes_max: config.limits.head_bytes_max,
        body_bytes_max: config.limits.body_bytes_max,
        gathered_bytes_max: config.limits.gathered_bytes_max,
        head_time_max: Duration::from_secs(config.limits.head_s),
        idle_time_max: Duration::from_secs(config.limits.idle_s),
        body_time_max: Duration::from_secs(config.limits.body_s),
    }
}

/// Every core's records; one that is stuck is left out.
async fn scrape(links: CoreLinks) -> Vec<CoreSnapshot> {
    let mut snapshots = Vec::new();
    for link in links.iter() {
        let (reply, snapshot) = oneshot::channel();
        if link.send(CoreMsg::Snapshot(reply)).await.is_err() {
            continue;
        }
        if let Ok(Ok(snapshot)) = tokio::time::timeout(SNAPSHOT_WAIT, snapshot).await {
            snapshots.push(snapshot);
        }
    }
    snapshots
}

/// What the clock on the wall says.
fn since_1970(clock: Clock) -> Duration {
    clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Where a core is asked, by protocol.
struct Listeners {
    http: TcpListener,
    grpc: TcpListener,
}

/// What a core's thread is born with.
struct CoreSeed {
    id: CoreId,
    clock: Clock,
    links: CoreLinks,
    catalog: PublishedCatalog,
    classes: Classes,
    drain: watch::Receiver<DrainPhase>,
    limits: HttpLimits,
    server_timing: bool,
    reporting: Reporting,
    listeners: Listeners,
    shared_memory: Option<Arc<Registry>>,
    unix: Option<UnixListener>,
    clipper: Option<Seat>,
    mailbox: mpsc::Receiver<CoreMsg>,
    fleet: FleetLink,
    admin: Option<AdminDoor>,
}

impl CoreSeed {
    fn run(self) {
        match runtime() {
            Ok(runtime) => runtime.block_on(self.serve()),
            Err(error) => tracing::error!(%error, "a core's runtime could not start"),
        }
    }

    async fn serve(self) {
        let recorder = CoreRecorder::new(self.id);
        let front = FrontEnd {
            core: self.id,
            clock: self.clock,
            catalog: self.catalog,
            classes: self.classes,
            recorder: recorder.clone(),
            reports: Rc::new(Reports::new(self.reporting, self.id, since_1970(self.clock))),
            limits: self.limits,
            options: HttpOptions { server_timing: self.server_timing },
            shared_memory: self.shared_memory,
            door: Door::Public,
            fleet: self.fleet,
        };
        if let Some(AdminDoor { listener, door, .. }) = self.admin {
            let front = FrontEnd { door, ..front.clone() };
            let front =
                listener::serve(Rc::new(front), listener, self.drain.clone(), listener::admin);
            tokio::task::spawn_local(log_end(front));
        }
        let core = Core { id: self.id, clock: self.clock, links: self.links, recorder };
        let (front, Listeners { http, grpc }) = (Rc::new(front), self.listeners);
        if let Some(unix) = self.unix {
            let drain = self.drain.clone();
            tokio::task::spawn_local(log_end(listener::serve(
                front.clone(),
                unix,
                drain,
                listener::oip,
            )));
        }
        if let Some(clipper) = self.clipper {
            clipper.take(&front, self.drain.clone());
        }
        let drain = self.drain.clone();
        let grpc = listener::serve(front.clone(), grpc, drain, oip_grpc::oip);
        let http = listener::serve(front, http, self.drain, listener::oip);
        tokio::task::spawn_local(log_end(http));
        tokio::task::spawn_local(log_end(grpc));
        run_core_mailbox(core, self.mailbox).await;
    }
}

async fn log_end(front_end: impl Future<Output = io::Result<()>>) {
    if let Err(error) = front_end.await {
        tracing::error!(%error, "a core's front end ended");
    }
}
