//! Clipper's own interface: its query API on one address, its admin API on another.
//!
//! [`query`] answers applications, `prediction` is their walk to a model, [`admin`] changes what there is; `exchange` is
//! one HTTP exchange, the same for both. The texts are Clipper's, since programs compare them; they are made in
//! [`crate::codec::clipper`]. Where Clipper's behaviour is a defect, [`Mode`] decides; the table is in `docs/clipper.md`.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::net::TcpStream;

use crate::api::connections::Connections;
use crate::api::front_end::FrontEnd;
use crate::apps::control::Changes;
use crate::apps::{Mode, PublishedApps};
use crate::clipper_rpc::models::ClipperModels;
use crate::dispatch::CoreLinks;

mod admin;
mod exchange;
mod prediction;
mod query;

/// What both sides share, whoever answers.
#[derive(Clone, Debug)]
pub struct Clipper {
    pub apps: PublishedApps,
    pub changes: Changes,
    pub containers: ClipperModels,
    pub links: CoreLinks,
    pub mode: Mode,
    /// Counts the engine's queries from zero, over all cores.
    pub query_ids: Arc<AtomicU64>,
}

/// A connection to the query API.
pub async fn query(
    clipper: Rc<Clipper>,
    front: Rc<FrontEnd>,
    connections: Rc<Connections>,
    stream: TcpStream,
) {
    let answer = async |front: &FrontEnd, asked| query::answer(&clipper, front, asked).await;
    exchange::speak(&front, &connections, stream, clipper.mode, answer).await;
}

/// A connection to the admin API.
pub async fn admin(
    clipper: Rc<Clipper>,
    front: Rc<FrontEnd>,
    connections: Rc<Connections>,
    stream: TcpStream,
) {
    let answer = async |front: &FrontEnd, asked| admin::answer(&clipper, front, asked).await;
    exchange::speak(&front, &connections, stream, clipper.mode, answer).await;
}
