//! Clipper's interface in the composition: its room for applications on the control thread, a listener on each core.

use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{ServeError, check_free, log_end, system};
use crate::api::clipper::{self, Clipper};
use crate::api::connections::DrainPhase;
use crate::api::front_end::FrontEnd;
use crate::api::listener;
use crate::apps::control::{self, Control, Wishes};
use crate::apps::{Apps, Mode, PublishedApps};
use crate::clipper_rpc::Port;
use crate::config;
use crate::dispatch::CoreLinks;
use crate::fleet::catalog::PublishedCatalog;

/// All of it, before anybody answers.
pub(super) struct Interface {
    shared: Clipper,
    /// Where applications are asked; with port 0 the first core's listener chooses.
    query: SocketAddr,
    admin: TcpListener,
    control: Control,
    wishes: Wishes,
}

impl Interface {
    pub(super) fn build(
        config: config::Clipper,
        containers: &Port,
        catalog: &PublishedCatalog,
        links: &CoreLinks,
    ) -> Result<Interface, ServeError> {
        check_free(config.query)?;
        check_free(config.admin)?;
        let admin = super::listen(&mut config.admin.clone())?;
        let mode = if config.strict { Mode::Strict } else { Mode::Sane };
        let apps = PublishedApps::new(ArcSwap::from_pointee(Apps::default()));
        let (changes, wishes) = control::channel();
        let containers = containers.models();
        let control = Control {
            apps: apps.clone(),
            catalog: catalog.clone(),
            containers: containers.clone(),
            mode,
        };
        let (links, query_ids) = (links.clone(), Arc::default());
        let shared = Clipper { apps, changes, containers, links, mode, query_ids };
        Ok(Interface { shared, query: config.query, admin, control, wishes })
    }

    /// One core's share.
    pub(super) fn seat(&mut self) -> Result<Seat, ServeError> {
        let listener = super::listen(&mut self.query)?;
        Ok(Seat { clipper: self.shared.clone(), listener })
    }

    /// Takes changes from now on, on this thread. `front` is this thread's own.
    pub(super) fn open(
        self,
        front: FrontEnd,
        drain: watch::Receiver<DrainPhase>,
    ) -> Result<(), ServeError> {
        let admin = self.admin.local_addr().map_err(system("read a listener's address"))?;
        let query = self.query;
        eprintln!("listening  clipper http://{query}  admin http://{admin}");
        tokio::task::spawn_local(self.control.run(self.wishes));
        let clipper = Rc::new(self.shared);
        let speak = move |front, connections, stream| {
            clipper::admin(clipper.clone(), front, connections, stream)
        };
        let serving = listener::serve(Rc::new(front), self.admin, drain, speak);
        tokio::task::spawn_local(log_end(serving));
        Ok(())
    }
}

/// What a core needs to answer applications.
pub(super) struct Seat {
    clipper: Clipper,
    listener: TcpListener,
}

impl Seat {
    pub(super) fn take(self, front: Rc<FrontEnd>, drain: watch::Receiver<DrainPhase>) {
        let clipper = Rc::new(self.clipper);
        let speak = move |front, connections, stream| {
            clipper::query(clipper.clone(), front, connections, stream)
        };
        tokio::task::spawn_local(log_end(listener::serve(front, self.listener, drain, speak)));
    }
}
