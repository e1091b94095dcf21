//! Models that are deployed: what is wanted of them is durable, and this engine makes it so.
//!
//! `wanted` says what there is to be, `store` keeps it, `artifacts` keeps the files; `reconcile` says what to do next, and
//! `carry_out` does it, one thing at a time for each model. A change is acknowledged once it is durable; whatever was
//! under way when an engine died is taken up by the next one, from what is wanted and what lies there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use self::artifacts::{ArchiveError, Artifacts};
use self::lock::{LockError, StateLock};
use self::store::{Desired, Store, StoreError};
use self::wanted::Refused;
use super::launch::Place;
use super::orders::OrderError;
use super::target::{self, TargetError};
use crate::clock::Clock;
use crate::ids::Version;

pub mod artifacts;
pub mod asks;
mod carry_out;
pub(super) mod causes;
mod changes;
mod check;
pub mod events;
mod lock;
mod model;
mod observe;
mod output;
mod overseer;
pub mod reconcile;
mod replace;
mod report;
mod runtime;
mod start;
pub mod store;
pub mod uploads;
pub mod wanted;

pub use self::overseer::Overseer;

/// The database in the state directory.
const DATABASE: &str = "fleet.db";

/// Why an engine can't look after deployments.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the state directory {path} can't be used: {source}; give another by --state")]
    Directory { path: PathBuf, source: std::io::Error },
    #[error(
        "'{name}' is deployed to this engine, and a TARGET has the same name; foil rm it, or give the TARGET another --name"
    )]
    Twice { name: String },
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why something asked of the fleet is refused. Each message is a sentence for whoever asked.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    #[error("there is no model '{name}'; foil ls shows those there are")]
    NoModel { name: String },
    #[error("'{name}' can't be a model's name; use up to {max} letters, digits, '-', '_' and '.', a letter or digit first", max = NAME_BYTES_MAX)]
    Name { name: String },
    #[error(
        "'{name}' is served from a TARGET of foil serve; change it there, or deploy under another name"
    )]
    NotDeployed { name: String },
    #[error(
        "this engine does not look after deployments; start it with foil serve --deployments, or without a TARGET"
    )]
    NotManaging,
    #[error("'{name}': {refused}")]
    Refused { name: String, refused: Refused },
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("the version can't be served: {why}")]
    Files { why: String },
    #[error("{0}")]
    Asked(String),
    #[error("the version's files could not be put in place: {0}")]
    Disk(std::io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the Python that runs models does not say which libraries it has: {why}")]
    Runtime { why: String },
    #[error("there is no replica to show the output of; foil ps shows those there are")]
    NoReplica,
    #[error("{most} uploads are under way already; retry when some are done", most = uploads::UPLOADS_MAX)]
    Uploads,
    /// As whatever else is asked of the fleet.
    #[error(transparent)]
    Order(#[from] OrderError),
    #[error("the engine is shutting down")]
    Stopping,
}

/// A name is part of paths, metrics and pages.
const NAME_BYTES_MAX: usize = 128;

/// One that can be a directory, part of a URL and a label.
pub fn check_name(name: &str) -> Result<(), FleetError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if first && name.len() <= NAME_BYTES_MAX && name.bytes().all(plain) {
        return Ok(());
    }
    Err(FleetError::Name { name: name.chars().take(NAME_BYTES_MAX).collect() })
}

/// Everything of the state directory, held by this engine alone.
pub struct Opened {
    lock: StateLock,
    store: Store,
    pub artifacts: Artifacts,
    desired: Desired,
    places: Places,
    state: PathBuf,
}

impl Opened {
    pub fn holds(&self, name: &str) -> bool {
        self.desired.contains_key(name)
    }

    pub fn is_empty(&self) -> bool {
        self.desired.is_empty()
    }
}

/// By model and version, what its containers are.
type Places = BTreeMap<String, BTreeMap<u64, Place>>;

/// Takes the state directory; what a dead engine left half-way is removed. `patience`: how long another engine that is
/// about to go may hold it. Blocks: called before anything is served.
pub fn open(state: &Path, patience: Duration) -> Result<Opened, OpenError> {
    let failed = |source| OpenError::Directory { path: state.to_owned(), source };
    std::fs::create_dir_all(state).map_err(failed)?;
    let lock = StateLock::take(state, patience)?;
    let (store, desired) = Store::open(&state.join(DATABASE))?;
    let artifacts = Artifacts::open(state).map_err(failed)?;
    let is_wanted = |name: &str, version| {
        desired.get(name).is_some_and(|row| row.versions.contains_key(&version))
    };
    artifacts.sweep(is_wanted).map_err(failed)?;
    let places = desired.iter().map(|(name, row)| (name.clone(), places(&artifacts, name, row)));
    let places = places.collect();
    Ok(Opened { lock, store, artifacts, desired, places, state: state.to_owned() })
}

/// Those that can't be read are for the start of the version to complain of.
fn places(artifacts: &Artifacts, name: &str, row: &wanted::ModelRow) -> BTreeMap<u64, Place> {
    let read = |version: &u64| {
        let read = target::deployed(name, Version(*version), &artifacts.of(name, *version));
        Some((*version, read.ok()?.place))
    };
    row.versions.keys().filter_map(read).collect()
}

/// As settings write it: `20ms`, `10m`.
pub fn duration(text: &str) -> Result<Duration, FleetError> {
    crate::config::duration(text).map_err(|error| FleetError::Asked(error.to_string()))
}

/// Since 1970, as the store has it.
pub(crate) fn wall_ms(clock: Clock) -> u64 {
    let now = clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// What an author got wrong, without the path of this machine's state directory.
fn in_archive(error: &TargetError, directory: &Path) -> String {
    let text = error.to_string();
    let within = format!("{}/", directory.display());
    text.replace(&within, "").replace(&directory.display().to_string(), "the archive")
}
