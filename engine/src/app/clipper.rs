//! Clipper's interface in the composition: its room for applications on the control thread, a listener on each core.

use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{ServeError, check_free, log_end};
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
    admin: SocketAddr,
    /// Administrators are few: the first core has time for all of them, and takes it.
    admin_listener: Option<TcpListener>,
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
        let mut admin = config.admin;
        let admin_listener = Some(super::listen(&mut admin)?);
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
        Ok(Interface { shared, query: config.query, admin, admin_listener, control, wishes })
    }

    /// One core's share.
    pub(super) fn seat(&mut self) -> Result<Seat, ServeError> {
        let listener = super::listen(&mut self.query)?;
        let admin = self.admin_listener.take();
        Ok(Seat { clipper: self.shared.clone(), listener, admin })
    }

    /// Takes changes from now on, on this thread.
    pub(super) fn open(self) {
        let Interface { query, admin, .. } = self;
        eprintln!("listening  clipper http://{query}  admin http://{admin}");
        tokio::task::spawn_local(self.control.run(self.wishes));
    }
}

/// What a core needs to answer applications.
pub(super) struct Seat {
    clipper: Clipper,
    listener: TcpListener,
    admin: Option<TcpListener>,
}

impl Seat {
    pub(super) fn take(self, front: Rc<FrontEnd>, drain: watch::Receiver<DrainPhase>) {
        let clipper = Rc::new(self.clipper);
        if let Some(admin) = self.admin {
            let clipper = clipper.clone();
            let speak = move |front, connections, stream| {
                clipper::admin(clipper.clone(), front, connections, stream)
            };
            let serving = listener::serve(front.clone(), admin, drain.clone(), speak);
            tokio::task::spawn_local(log_end(serving));
        }
        let speak = move |front, connections, stream| {
            clipper::query(clipper.clone(), front, connections, stream)
        };
        tokio::task::spawn_local(log_end(listener::serve(front, self.listener, drain, speak)));
    }
}
