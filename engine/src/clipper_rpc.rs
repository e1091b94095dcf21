//! Clipper's containers as replicas: they dial in, say which model version they run, and take batches like any other.
//!
//! ```text
//! container ── TCP, ZMTP, Clipper's RPC v3 ──► session ── remote lane ──► dispatcher of its model
//!                                                 └────── arrival ─────► registry (control thread) ◄── models::ClipperModels
//! ```
//!
//! [`models`] is what the rest of the engine asks; `registry` who is there; `session` one container; `frames` what
//! messages mean; `batches` rows as arrays; `zmtp` ZeroMQ's wire. Sessions run on a thread of their own: whatever
//! containers send, neither a front-end core nor the control thread sees more of it than answers.
//!
//! Deliberately absent: feedback, which Clipper's server never sends.

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};

mod batches;
mod frames;
pub mod models;
mod registry;
mod session;
mod zmtp;

pub use registry::{Registry, Strangers};

use models::{Asks, ClipperModels};
use session::Room;

use crate::config::Limits;
use crate::fleet::supervisor::Shared;

/// Containers connected at a time; more are closed at once. As many as a model may have replicas.
const CONNECTIONS_MAX: usize = 1024;

/// After a failed accept (descriptors are short): some will have been closed by then.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where containers dial in, before anybody answers.
pub struct Port {
    listener: TcpListener,
    address: SocketAddr,
    models: ClipperModels,
    asks: Asks,
}

impl Port {
    pub fn bind(address: SocketAddr) -> io::Result<Port> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (models, asks) = models::channel();
        Ok(Port { listener, address, models, asks })
    }

    /// The handle for whoever registers models; it waits for [`Port::open`].
    pub fn models(&self) -> ClipperModels {
        self.models.clone()
    }

    /// Answers from now on. Must be called on the control thread.
    pub fn open(self, shared: Rc<Shared>, strangers: Strangers) -> io::Result<Rc<Registry>> {
        let Port { listener, address, models, asks } = self;
        let Limits { container_silence_s, slot_bytes_max, .. } = shared.config.limits;
        serve(
            listener,
            Room {
                models,
                silence_max: Duration::from_secs(container_silence_s),
                response_bytes_max: slot_bytes_max as usize,
            },
        )?;
        eprintln!("listening  tcp://{address} for Clipper's containers");
        Ok(Registry::start(shared, strangers, address, asks))
    }
}

/// Answers containers on a thread of its own until the process ends.
fn serve(listener: TcpListener, room: Room) -> io::Result<()> {
    std::thread::Builder::new().name("foil-clipper".into()).spawn(move || {
        let runtime =
            Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        match runtime {
            Ok(runtime) => runtime.block_on(accept(listener, room)),
            Err(error) => tracing::error!(%error, "the thread for containers could not start"),
        }
    })?;
    Ok(())
}

async fn accept(listener: TcpListener, room: Room) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "containers can't dial in"),
    };
    let open = Rc::new(Cell::new(0));
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => admit(&open, stream, peer, room.clone()),
            Err(error) => {
                tracing::warn!(%error, "a container could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit(open: &Rc<Cell<usize>>, stream: tokio::net::TcpStream, peer: SocketAddr, room: Room) {
    if open.get() == CONNECTIONS_MAX {
        return tracing::warn!(%peer, "a container was turned away: {CONNECTIONS_MAX} are connected");
    }
    open.set(open.get() + 1);
    let open = open.clone();
    tokio::task::spawn_local(async move {
        session::run(stream, peer, room).await;
        open.set(open.get() - 1);
    });
}
