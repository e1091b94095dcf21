//! What the fleet is told at run time, by whoever may: load, unload, say what there is.
//!
//! Orders go by message to the control thread, through a bounded channel. A front end waits for its answer without
//! holding up anything else; an order whose sender has gone is carried out all the same.

use std::sync::{Arc, OnceLock};

use tokio::sync::{mpsc, oneshot};

use super::deployments::FleetError;
use super::deployments::asks::Ask;
use super::deployments::uploads::Uploads;
use crate::ids::Version;

/// Orders that wait to be taken up: nobody gives more at once but by mistake.
const ORDERS_WAITING_MAX: usize = 64;

/// Why an order was not carried out. Each message is a sentence for whoever gave it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    #[error("there is no model '{name}' in a repository given to foil serve; put it there first")]
    NotFound { name: String },
    #[error("'{name}' is not loaded")]
    NotLoaded { name: String },
    #[error("'{name}' can't be the name of a model's directory; use one plain name")]
    Name { name: String },
    /// Its files say something that can't be served.
    #[error("'{name}' can't be loaded: {why}")]
    Settings { name: String, why: String },
    /// What is served under the name goes on.
    #[error("'{name}' did not come to life: {why}")]
    NotAlive { name: String, why: String },
    #[error(
        "the repository is polled (--model-control-mode poll): change the directory of '{name}' instead"
    )]
    Polled { name: String },
    #[error("'{name}' is deployed: change it by foil deploy, foil promote or foil rm")]
    Deployed { name: String },
    #[error("there are {ORDERS_WAITING_MAX} orders under way already; retry when some are done")]
    Busy,
    #[error("another engine is about to take this one's place; retry when it has")]
    HandingOver,
    #[error("the engine is shutting down")]
    Stopping,
}

/// How a model version stands in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Loading,
    Ready,
    Unavailable,
    Unloading,
}

impl Standing {
    /// As the protocol writes it.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Loading => "LOADING",
            Standing::Ready => "READY",
            Standing::Unavailable => "UNAVAILABLE",
            Standing::Unloading => "UNLOADING",
        }
    }
}

/// One line of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indexed {
    pub name: String,
    /// None, as for `standing`: in a repository, never loaded.
    pub version: Option<Version>,
    pub standing: Option<Standing>,
    /// Why it is not ready, or why its last load failed; empty where all is well.
    pub reason: String,
}

/// One order, with the way back for its answer.
#[derive(Debug)]
pub enum Order {
    Load { load: Load, done: oneshot::Sender<Result<(), OrderError>> },
    Unload { name: String, done: oneshot::Sender<Result<(), OrderError>> },
    Index { done: oneshot::Sender<Vec<Indexed>> },
    Deployments(Ask),
}

impl Order {
    /// Whoever gave it may have gone.
    pub fn refuse(self, why: OrderError) {
        match self {
            Order::Load { done, .. } | Order::Unload { done, .. } => drop(done.send(Err(why))),
            Order::Index { .. } => {}
            Order::Deployments(ask) => ask.refuse(why.into()),
        }
    }

    /// Of the model it is about.
    pub fn name(&self) -> Option<&str> {
        match self {
            Order::Load { load, .. } => Some(&load.name),
            Order::Unload { name, .. } => Some(name),
            Order::Index { .. } | Order::Deployments(_) => None,
        }
    }
}

/// A model to be loaded, or loaded anew where its directory has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    pub name: String,
    /// In place of its config.pbtxt: the same as JSON.
    pub config: Option<Arc<str>>,
}

/// The way to the fleet from any thread.
#[derive(Clone, Debug)]
pub struct FleetLink {
    orders: mpsc::Sender<Order>,
    /// The way in for archives, once the state directory is this engine's.
    uploads: Arc<OnceLock<Uploads>>,
}

impl FleetLink {
    pub fn channel() -> (FleetLink, mpsc::Receiver<Order>) {
        let (sender, orders) = mpsc::channel(ORDERS_WAITING_MAX);
        (FleetLink { orders: sender, uploads: Arc::default() }, orders)
    }

    /// Archives may come from now on.
    pub fn take_uploads(&self, uploads: Uploads) {
        // Said once, when the engine starts.
        let _first = self.uploads.set(uploads);
    }

    pub fn uploads(&self) -> Result<&Uploads, FleetError> {
        self.uploads.get().ok_or(FleetError::NotManaging)
    }

    /// Asks something of the deployed models; `ask` is told where the answer goes.
    pub async fn ask<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<Result<T, FleetError>>) -> Ask,
    ) -> Result<T, FleetError> {
        self.give(|done| Order::Deployments(ask(done))).await?
    }

    /// Answers once the model is ready, or when it is known that it won't be.
    pub async fn load(&self, load: Load) -> Result<(), OrderError> {
        self.give(|done| Order::Load { load, done }).await?
    }

    /// Answers once what was accepted has been answered and the model's processes have ended.
    pub async fn unload(&self, name: String) -> Result<(), OrderError> {
        self.give(|done| Order::Unload { name, done }).await?
    }

    /// Everything that is loaded, or lies in a repository.
    pub async fn index(&self) -> Result<Vec<Indexed>, OrderError> {
        self.give(|done| Order::Index { done }).await
    }

    async fn give<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<T>) -> Order,
    ) -> Result<T, OrderError> {
        let (done, answer) = oneshot::channel();
        self.orders.try_send(order(done)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => OrderError::Busy,
            mpsc::error::TrySendError::Closed(_) => OrderError::Stopping,
        })?;
        answer.await.map_err(|_| OrderError::Stopping)
    }
}
