//! What a core's thread is born with, and what it does: its share of the front end, and the dispatchers of its models.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tokio::sync::{mpsc, watch};

use super::administration::AdminDoor;
use super::clipper::Seat;
use super::runtime;
use crate::api::admin::Door;
use crate::api::front_end::{FrontEnd, HttpLimits, HttpOptions};
use crate::api::listener::{self, DrainPhase};
use crate::api::oip_grpc;
use crate::classes::Classes;
use crate::client_shm::registry::Registry;
use crate::clock::Clock;
use crate::dispatch::{Core, CoreLinks, CoreMsg, run_core_mailbox};
use crate::fleet::catalog::PublishedCatalog;
use crate::fleet::orders::FleetLink;
use crate::ids::CoreId;
use crate::observe::reports::{Reporting, Reports};
use crate::observe::stages::CoreRecorder;

pub(super) struct CoreSeed {
    pub(super) id: CoreId,
    pub(super) clock: Clock,
    pub(super) links: CoreLinks,
    pub(super) mailbox: mpsc::Receiver<CoreMsg>,
    pub(super) share: Share,
}

/// A core's share of the front end.
pub(super) struct Share {
    pub(super) catalog: PublishedCatalog,
    pub(super) classes: Classes,
    pub(super) drain: watch::Receiver<DrainPhase>,
    /// Nobody is answered before this is true.
    pub(super) open: watch::Receiver<bool>,
    pub(super) limits: HttpLimits,
    pub(super) server_timing: bool,
    pub(super) reporting: Reporting,
    pub(super) http: Vec<TcpListener>,
    pub(super) grpc: Vec<TcpListener>,
    pub(super) unix: Option<UnixListener>,
    pub(super) shared_memory: Option<Arc<Registry>>,
    pub(super) clipper: Option<Seat>,
    pub(super) fleet: FleetLink,
    pub(super) admin: Option<AdminDoor>,
    pub(super) admin_unix: Option<UnixListener>,
}

impl CoreSeed {
    pub(super) fn run(self) {
        match runtime() {
            Ok(runtime) => runtime.block_on(self.serve()),
            Err(error) => tracing::error!(%error, "a core's runtime could not start"),
        }
    }

    async fn serve(self) {
        let CoreSeed { id, clock, links, mailbox, share } = self;
        let core = Core { id, clock, links, recorder: CoreRecorder::new(id) };
        tokio::task::spawn_local(share.answer(core.clone()));
        run_core_mailbox(core, mailbox).await;
    }
}

impl Share {
    async fn answer(mut self, core: Core) {
        // An error means that the engine ends.
        if self.open.wait_for(|open| *open).await.is_err() {
            return;
        }
        let front = FrontEnd {
            core: core.id,
            clock: core.clock,
            catalog: self.catalog,
            classes: self.classes,
            recorder: core.recorder.clone(),
            reports: Rc::new(Reports::new(self.reporting, core.id, since_1970(core.clock))),
            limits: self.limits,
            options: HttpOptions { server_timing: self.server_timing },
            shared_memory: self.shared_memory,
            door: Door::Public,
            fleet: self.fleet,
        };
        let drain = || self.drain.clone();
        if let Some(AdminDoor { listener, door, .. }) = self.admin {
            let front = Rc::new(FrontEnd { door, ..front.clone() });
            spawn(listener::serve(front, listener, drain(), listener::admin));
        }
        if let Some(unix) = self.admin_unix {
            let front = Rc::new(FrontEnd { door: Door::Admin { token: None }, ..front.clone() });
            spawn(listener::serve(front, unix, drain(), listener::admin));
        }
        let front = Rc::new(front);
        if let Some(unix) = self.unix {
            spawn(listener::serve(front.clone(), unix, drain(), listener::oip));
        }
        if let Some(clipper) = self.clipper {
            clipper.take(&front, drain());
        }
        for http in self.http {
            spawn(listener::serve(front.clone(), http, drain(), listener::oip));
        }
        for grpc in self.grpc {
            spawn(listener::serve(front.clone(), grpc, drain(), oip_grpc::oip));
        }
    }
}

/// What the clock on the wall says.
fn since_1970(clock: Clock) -> Duration {
    clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Answers in a task of its own, until the engine ends.
pub(super) fn spawn(front_end: impl Future<Output = io::Result<()>> + 'static) {
    tokio::task::spawn_local(async {
        if let Err(error) = front_end.await {
            tracing::error!(%error, "a core's front end ended");
        }
    });
}
