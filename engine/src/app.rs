//! The composition root: build, spawn, drain. Nothing else knows every room.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, oneshot, watch};

use crate::api::listener::{self, DrainPhase};
use crate::classes::{ClassError, Classes};
use crate::cli::{LogFormat, MetricsCompat, Serve};
use crate::clipper_rpc::{Port, Registry as Containers};
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::dispatch::{CORE_MAILBOX_MESSAGES_MAX, CoreLinks, CoreMsg};
use crate::fleet::catalog::{Catalog, PublishedCatalog};
use crate::fleet::cores::{self, CpusError};
use crate::fleet::deployments;
use crate::fleet::deployments::uploads::Uploads;
use crate::fleet::devices::inventory::InventoryError;
use crate::fleet::launch::Launchers;
use crate::fleet::launch::docker::{self, Docker};
use crate::fleet::launch::process::Programs;
use crate::fleet::launch::users::Users;
use crate::fleet::orders::{FleetLink, Order};
use crate::fleet::seats::Devices;
use crate::fleet::supervisor::{Fleet, FleetConfig, StartError};
use crate::fleet::target::{self, TargetError};
use crate::handover::{self, HandoverError, Role};
use crate::ids::{ClassId, CoreId};
use crate::observe::deployments::DeploymentCounts;
use crate::observe::export::{self, Beside, Compat};
use crate::observe::log::{Log, Style};
use crate::observe::reports::Reporting;
use crate::observe::stages::CoreSnapshot;
use crate::socket_file::SocketError;
use crate::threads;

mod administration;
mod clipper;
mod containers;
mod core_thread;
mod devices;
mod doors;
mod from_config;
mod local_doors;
mod service_manager;
mod socket_directory;
mod upgrade;

use self::administration::{AdminDoor, wanted};
use self::clipper::Interface;
use self::core_thread::{CoreSeed, Share};
use self::doors::Doors;
use self::from_config::{http_limits, lane_settings, open_profiles};
use self::local_doors::LocalDoors;
use self::socket_directory::SocketDirectory;
use self::upgrade::{Program, Signals, Wish};

/// The engine before this one has let go of its state directory when it starts this one.
const HANDED_OVER_WAIT: Duration = Duration::from_secs(10);
/// One that was killed a moment ago is gone by then.
const KILLED_WAIT: Duration = Duration::from_millis(500);

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
    Inventory(#[from] InventoryError),
    #[error(transparent)]
    Class(#[from] ClassError),
    #[error(transparent)]
    Deployments(#[from] deployments::OpenError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot listen on {address}: {source}; is another server running there?")]
    Listen { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Handover(#[from] HandoverError),
    #[error("cannot {doing}: {source}")]
    System { doing: &'static str, source: io::Error },
}

fn system(doing: &'static str) -> impl Fn(io::Error) -> ServeError {
    move |source| ServeError::System { doing, source }
}

/// Serves until a signal, then drains.
pub fn serve(flags: Serve) -> Result<(), ServeError> {
    // Before anything else: the file may be replaced while it runs.
    let program = Program::of_this_process();
    let doors = Doors::new(handover::inherited()?);
    let config = Config::resolve(flags, &threads::available_cpus())?;
    let log = start_log(config.log_format);
    let targets =
        target::resolve(&config.targets, config.name.as_deref(), &wanted(&config.control))?;
    cores::check(&targets, &threads::available_cpus())?;
    let targets = with_classes(targets, &config.classes)?;
    let opened = deployments(&config, doors.has_predecessor())?;
    for name in targets.iter().filter_map(|(target, _)| target.name.as_deref()) {
        if opened.as_ref().is_some_and(|opened| opened.holds(name)) {
            return Err(deployments::OpenError::Twice { name: name.to_owned() }.into());
        }
    }
    if targets.is_empty() && opened.as_ref().is_some_and(deployments::Opened::is_empty) {
        eprintln!("nothing is deployed yet; in another terminal: foil deploy model.py");
    }
    let (mut engine, orders) = Engine::build(config, log, doors, opened.as_ref())?;
    engine.opened = opened;
    let control = runtime().map_err(system("start the control runtime"))?;
    let docker = engine.docker.clone();
    control.block_on(async {
        docker.sweep();
        let served = engine.run(targets, orders, &program).await;
        docker.clear_up().await;
        served
    })
}

/// The state directory, where deployments are looked after.
fn deployments(
    config: &Config,
    has_predecessor: bool,
) -> Result<Option<deployments::Opened>, deployments::OpenError> {
    let Some(state) = config.state.as_deref().filter(|_| config.deployments) else {
        return Ok(None);
    };
    let patience = if has_predecessor { HANDED_OVER_WAIT } else { KILLED_WAIT };
    deployments::open(state, patience).map(Some)
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
    local: LocalDoors,
    doors: Doors,
    /// Cores answer from when this is true.
    open: watch::Sender<bool>,
    users: Option<Users>,
    docker: Rc<Docker>,
    admin: Option<SocketAddr>,
    /// The state directory, until the fleet has it.
    opened: Option<deployments::Opened>,
    deployments: DeploymentCounts,
    devices: Devices,
}

impl Engine {
    fn build(
        config: Config,
        log: Arc<Log>,
        mut doors: Doors,
        opened: Option<&deployments::Opened>,
    ) -> Result<(Engine, mpsc::Receiver<Order>), ServeError> {
        let devices = devices::find(&config)?;
        let clock = Clock::start();
        let reporting = Reporting { log, traces: Arc::default(), access_log: config.access_log };
        let catalog = PublishedCatalog::new(ArcSwap::from_pointee(Catalog::default()));
        let drain = watch::Sender::new(DrainPhase::Serving);
        let open = watch::Sender::new(!doors.has_predecessor());
        let metrics = doors.alone(Role::Metrics, &mut config.metrics.clone())?;
        let (links, mailboxes): (Vec<_>, Vec<_>) =
            config.cores.iter().map(|_| mpsc::channel(CORE_MAILBOX_MESSAGES_MAX)).unzip();
        let links: CoreLinks = links.into();
        let containers = config.clipper_rpc.map(containers::bind).transpose()?;
        let clipper = Interface::build(&config, containers.as_ref(), &catalog, &links)?;
        let users = Users::available(config.shared_user);
        let sockets = SocketDirectory::make(clock, users.is_some())
            .map_err(system("make a directory for sockets"))?;
        let docker = Docker::new(docker::Settings {
            sockets: sockets.path.clone(),
            state: config.state.clone(),
            pull: config.pull,
        });
        let local = LocalDoors::open(&config, &mut doors)?;
        let (fleet, orders) = FleetLink::channel();
        if let Some(opened) = opened {
            let bytes_max = config.limits.upload_bytes_max;
            fleet.take_uploads(Uploads::new(opened.artifacts.clone(), bytes_max));
        }
        let admin_door = config.control.admin.as_ref();
        let admin_door = admin_door.map(|admin| AdminDoor::open(admin, &mut doors)).transpose()?;
        let admin = admin_door.as_ref().map(|door| door.address);
        let (http, grpc, cores) = (config.http, config.grpc, Vec::new());
        let mut engine = Engine {
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
            local,
            doors,
            open,
            users,
            docker,
            admin,
            opened: None,
            deployments: DeploymentCounts::default(),
            devices,
        };
        engine.start_cores(mailboxes, &fleet, &reporting, admin_door)?;
        Ok((engine, orders))
    }

    fn start_cores(
        &mut self,
        mailboxes: Vec<mpsc::Receiver<CoreMsg>>,
        fleet: &FleetLink,
        reporting: &Reporting,
        mut admin: Option<AdminDoor>,
    ) -> Result<(), ServeError> {
        let config = &self.config;
        let http = self.doors.one_each(Role::Http, &mut self.http, mailboxes.len())?;
        let grpc = self.doors.one_each(Role::Grpc, &mut self.grpc, mailboxes.len())?;
        let mut admin_unix = self.local.admin().map_err(system("duplicate a listener"))?;
        let listeners = http.into_iter().zip(grpc);
        for (index, (mailbox, (http, grpc))) in mailboxes.into_iter().zip(listeners).enumerate() {
            let share = Share {
                catalog: self.catalog.clone(),
                classes: config.classes.clone(),
                drain: self.drain.subscribe(),
                open: self.open.subscribe(),
                limits: http_limits(config),
                server_timing: config.server_timing,
                reporting: reporting.clone(),
                http,
                grpc,
                unix: self.local.http_for_a_core().map_err(system("duplicate a listener"))?,
                shared_memory: self.local.registry(),
                clipper: self.clipper.as_mut().map(Interface::seat).transpose()?,
                fleet: fleet.clone(),
                // Administrators are few: the first core has time for all of them.
                admin: admin.take(),
                admin_unix: admin_unix.take(),
            };
            let (id, links) = (CoreId(index), self.links.clone());
            let seed = CoreSeed { id, clock: self.clock, links, mailbox, share };
            let thread = threads::spawn_pinned(index, config.cores[index], move || seed.run());
            self.cores.push(thread.map_err(system("start a core's thread"))?);
        }
        Ok(())
    }

    async fn run(
        mut self,
        targets: Vec<(target::Target, ClassId)>,
        orders: mpsc::Receiver<Order>,
        program: &Program,
    ) -> Result<(), ServeError> {
        let mut signals = Signals::listen()?;
        self.announce()?;
        let metrics = self.serve_metrics()?;
        self.local.serve().map_err(system("serve clients on this machine"))?;
        let mut fleet = Fleet::new(self.fleet_config());
        fleet.manage(self.opened.take(), targets.len(), self.deployments.clone());
        let containers = containers::open(self.containers.take(), &fleet, &self.config)?;
        if let Some(clipper) = self.clipper.take() {
            clipper.open();
        }
        tokio::select! {
            started = fleet.start(targets) => started?,
            () = signals.end() => return Ok(()),
        }
        if self.doors.has_predecessor() {
            tokio::select! {
                () = fleet.deployments_up() => {}
                () = signals.end() => return Ok(()),
            }
        }
        self.relieve_predecessor()?;
        service_manager::is_ready();
        fleet.follow(orders);
        let mut handed_over = false;
        loop {
            if signals.next().await == Wish::End {
                break;
            }
            tokio::select! {
                () = signals.end() => break,
                upgraded = self.upgrade(&fleet, program) => if upgraded {
                    metrics.abort();
                    handed_over = true;
                    break;
                }
            }
        }
        self.doors.close();
        service_manager::ends(handed_over);
        eprintln!("draining; signal again to end at once");
        tokio::select! {
            () = self.drain(fleet, containers, handed_over) => {}
            () = signals.end() => {}
        }
        Ok(())
    }

    /// Says where it listens.
    fn announce(&self) -> Result<(), ServeError> {
        let metrics = self.metrics.local_addr().map_err(system("read a listener's address"))?;
        let Engine { http, grpc, .. } = self;
        let admin = self.admin.map_or(String::new(), |admin| format!("  admin http://{admin}"));
        eprintln!("listening  http://{http}  grpc {grpc}  metrics http://{metrics}/metrics{admin}");
        Ok(())
    }

    fn serve_metrics(&self) -> Result<tokio::task::JoinHandle<()>, ServeError> {
        let doing = "serve metrics";
        let listener = self.metrics.try_clone().map_err(system(doing))?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(system(doing))?;
        let (links, mut open) = (self.links.clone(), self.open.subscribe());
        let compat = match self.config.metrics_compat {
            None => Compat::None,
            Some(MetricsCompat::Triton) => Compat::Triton,
        };
        let (deployments, devices) = (self.deployments.clone(), self.devices.standings.clone());
        let beside = Beside { compat, deployments, devices };
        Ok(tokio::task::spawn_local(async move {
            // An error means that the engine ends.
            if open.wait_for(|open| *open).await.is_ok() {
                export::serve(listener, beside, move || scrape(links.clone())).await;
            }
        }))
    }

    fn fleet_config(&self) -> FleetConfig {
        FleetConfig {
            clock: self.clock,
            limits: self.config.limits.clone(),
            lane: lane_settings(&self.config),
            cores: self.config.cores.clone(),
            users: self.users,
            programs: Programs::find(self.config.python.clone()),
            launchers: Launchers { default: self.config.launcher, docker: self.docker.clone() },
            classes: self.config.classes.clone(),
            catalog: self.catalog.clone(),
            links: self.links.clone(),
            sockets: self.sockets.path.clone(),
            warm_up: self.config.warm_up,
            profiles: self.config.state.as_deref().and_then(open_profiles),
            repositories: administration::repositories(&self.config),
            changes: self.config.control.admin.is_some() || self.config.control.polls().is_some(),
            poll_every: self.config.control.polls(),
            devices: self.devices.clone(),
            base_url: format!("http://{}", self.http),
        }
    }

    /// Not ready at once; accepts for the delay; then answers what was accepted and ends. Whoever has handed over does
    /// the last only.
    async fn drain(&self, fleet: Fleet, containers: Option<Rc<Containers>>, handed_over: bool) {
        if handed_over {
            self.drain.send_replace(DrainPhase::HandedOver);
        } else {
            self.catalog.store(Arc::new(self.catalog.load().drained()));
            self.drain.send_replace(DrainPhase::NotReady);
            tokio::time::sleep(self.config.drain_delay).await;
            self.drain.send_replace(DrainPhase::Closing);
        }
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
