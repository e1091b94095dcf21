//! What the connections of one core share, whatever they speak: the way to the models, limits, the core's recorder.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::api::admin::Door;
use crate::api::body::BodyLimits;
use crate::classes::Classes;
use crate::client_shm::registry::Registry;
use crate::clock::Clock;
use crate::fleet::catalog::PublishedCatalog;
use crate::fleet::orders::FleetLink;
use crate::ids::CoreId;
use crate::observe::reports::Reports;
use crate::observe::stages::CoreRecorder;

#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// Per core.
    pub connections_max: usize,
    /// The request line and the headers of one request.
    pub head_bytes_max: usize,
    /// Of one request, whether it comes compressed or not.
    pub body_bytes_max: u64,
    /// Of all bodies that one core gathers at a time.
    pub gathered_bytes_max: u64,
    /// From the connection's start to the end of its first request's head.
    pub head_time_max: Duration,
    /// Between an answer and the end of the next request's head; so an answer must be read within it, too.
    pub idle_time_max: Duration,
    /// From the head's end to the body's.
    pub body_time_max: Duration,
}

impl Default for HttpLimits {
    fn default() -> HttpLimits {
        HttpLimits {
            // Below the 8192 tasks of the hand-off to a dispatcher, so that a burst of one core fits it.
            connections_max: 4096,
            // Eight times what proxies usually let pass.
            head_bytes_max: 64 << 10,
            // What clients of other servers are used to, and the largest batch most models see.
            body_bytes_max: 64 << 20,
            // Sixteen of the largest; a body that comes in one piece is not gathered.
            gathered_bytes_max: 1 << 30,
            head_time_max: Duration::from_secs(10),
            // Longer than the 60 s after which most proxies close their side, so that they close first.
            idle_time_max: Duration::from_secs(75),
            // A full body over a link of 20 Mbit/s.
            body_time_max: Duration::from_secs(30),
        }
    }
}

impl HttpLimits {
    /// Those of each body.
    pub fn of_bodies(&self) -> BodyLimits {
        BodyLimits {
            bytes_max: self.body_bytes_max,
            time_max: self.body_time_max,
            gathered_bytes_max: self.gathered_bytes_max,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct HttpOptions {
    /// Whether answers say in `Server-Timing` where their time went.
    pub server_timing: bool,
}

impl Default for HttpOptions {
    fn default() -> HttpOptions {
        HttpOptions { server_timing: true }
    }
}

/// All that the connections of one core need.
#[derive(Clone, Debug)]
pub struct FrontEnd {
    pub core: CoreId,
    pub clock: Clock,
    pub catalog: PublishedCatalog,
    pub classes: Classes,
    pub recorder: Rc<CoreRecorder>,
    pub reports: Rc<Reports>,
    pub limits: HttpLimits,
    pub options: HttpOptions,
    /// Memory that clients registered; None: switched off.
    pub shared_memory: Option<Arc<Registry>>,
    /// Which address its connections come to: who may do what.
    pub door: Door,
    /// For orders to load and unload.
    pub fleet: FleetLink,
}
