//! Clipper's interface in the composition: its room for applications on the control thread, a listener on each core.

use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::administration::AdminDoor;
use super::core_thread::spawn;
use super::{ServeError, check_free, listen};
use crate::api::admin::Door;
use crate::api::clipper::{self, Clipper};
use crate::api::connections::DrainPhase;
use crate::api::front_end::FrontEnd;
use crate::api::listener;
use crate::apps::control::{self, Control, Wishes};
use crate::apps::{Apps, Mode, PublishedApps};
use crate::clipper_rpc::Port;
use crate::config::Config;
use crate::dispatch::CoreLinks;
use crate::fleet::catalog::PublishedCatalog;

/// All of it, before anybody answers.
pub(super) struct Interface {
    shared: Clipper,
    /// Where applications are asked; with port 0 the first core's listener chooses.
    query: SocketAddr,
    admin: SocketAddr,
    /// For the first core: administrators are few.
    admin_listener: Option<(TcpListener, Door)>,
    control: Control,
    wishes: Wishes,
}

impl Interface {
    pub(super) fn build(
        config: &Config,
        containers: Option<&Port>,
        catalog: &PublishedCatalog,
        links: &CoreLinks,
    ) -> Result<Option<Interface>, ServeError> {
        let (Some(config), Some(containers)) = (&config.clipper, containers) else {
            return Ok(None);
        };
        check_free(config.query)?;
        let AdminDoor { address: admin, listener, door } = AdminDoor::bind(&config.admin)?;
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
        let (query, admin_listener) = (config.query, Some((listener, door)));
        Ok(Some(Interface { shared, query, admin, admin_listener, control, wishes }))
    }

    /// One core's share.
    pub(super) fn seat(&mut self) -> Result<Seat, ServeError> {
        let (clipper, query) = (self.shared.clone(), listen(&mut self.query)?);
        Ok(Seat { clipper, query, admin: self.admin_listener.take() })
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
    query: TcpListener,
    admin: Option<(TcpListener, Door)>,
}

impl Seat {
    pub(super) fn take(self, front: &FrontEnd, drain: watch::Receiver<DrainPhase>) {
        let clipper = Rc::new(self.clipper);
        if let Some((listener, door)) = self.admin {
            let front = FrontEnd { door, ..front.clone() };
            let clipper = clipper.clone();
            let speak = move |front, connections, stream| {
                clipper::admin(clipper.clone(), front, connections, stream)
            };
            spawn(listener::serve(Rc::new(front), listener, drain.clone(), speak));
        }
        let speak = move |front, connections, stream| {
            clipper::query(clipper.clone(), front, connections, stream)
        };
        let front = Rc::new(front.clone());
        spawn(listener::serve(front, self.query, drain, speak));
    }
}
