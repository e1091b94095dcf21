//! What is asked of the fleet of deployed models, from any thread, with the way back for the answer.

use serde_json::Value;
use tokio::sync::oneshot;

use super::FleetError;
use super::artifacts::Staged;
use super::events::Accepted;
use super::wanted::{Options, Replicas};

/// One ask. Whoever gave it may go; what it changes is changed all the same.
#[derive(Debug)]
pub enum Ask {
    Show {
        what: Show,
        done: oneshot::Sender<Result<Value, FleetError>>,
    },
    Roll {
        name: String,
        roll: Roll,
        done: oneshot::Sender<Result<Accepted, FleetError>>,
    },
    Set {
        name: String,
        set: Set,
        done: oneshot::Sender<Result<Value, FleetError>>,
    },
    Remove {
        name: String,
        version: Option<u64>,
        done: oneshot::Sender<Result<(), FleetError>>,
    },
    /// Python and its libraries, as models would have them there.
    Runtime {
        of: RuntimeOf,
        done: oneshot::Sender<Result<Value, FleetError>>,
    },
    Output {
        of: OutputOf,
        done: oneshot::Sender<Result<Vec<Output>, FleetError>>,
    },
}

/// As JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Show {
    Engine,
    Models,
    Model { name: String },
    Replicas,
}

/// What gives the traffic to another version.
#[derive(Debug)]
pub enum Roll {
    Deploy { staged: Staged, options: Options },
    Promote { version: u64 },
    Back,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Set {
    Replicas(Replicas),
    Slo(Option<String>),
}

/// Where a model would run; nothing said: where this engine's do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RuntimeOf {
    pub launcher: Option<String>,
    pub image: Option<String>,
}

/// Whose output is wanted: of all where nothing is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputOf {
    pub name: String,
    pub version: Option<u64>,
    pub replica: Option<u32>,
    /// The last of each.
    pub lines: usize,
    /// What has been shown already.
    pub seen: Vec<(Printer, u64)>,
}

/// One life of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Printer {
    pub version: u64,
    pub replica: u32,
    pub life: u32,
}

/// The last lines of one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    pub printer: Printer,
    pub lines: Vec<String>,
    /// Lines that it has printed so far.
    pub total: u64,
}

impl Ask {
    pub fn refuse(self, why: FleetError) {
        match self {
            Ask::Show { done, .. } | Ask::Set { done, .. } | Ask::Runtime { done, .. } => {
                drop(done.send(Err(why)));
            }
            Ask::Roll { done, .. } => drop(done.send(Err(why))),
            Ask::Remove { done, .. } => drop(done.send(Err(why))),
            Ask::Output { done, .. } => drop(done.send(Err(why))),
        }
    }
}
