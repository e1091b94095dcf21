//! The immutable snapshot of what is served. The supervisor publishes a new one at each change; readers on the
//! request path load it without a lock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::dispatch::handle::ModelHandle;
use crate::ids::{ByName, Version};

/// How a model version stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelState {
    /// A replica starts; none has been ready yet.
    Loading,
    /// At least one replica can answer, or a lost one is coming back at once.
    Ready,
    /// The only replica got stuck and was killed: what is asked waits for the one that takes its place, but whoever can
    /// ask elsewhere had better.
    Recovering { reason: Arc<str> },
    /// No replica can answer; `reason` is a sentence with the container's last output.
    Unavailable { reason: Arc<str>, retry_after: Duration },
    /// No replica is there, and none is the engine's to bring: they come by themselves. The engine is ready all the same.
    Absent { reason: Arc<str>, retry_after: Duration },
}

impl ModelState {
    /// The engine has done for the model what it was told to.
    fn is_settled(&self) -> bool {
        matches!(self, ModelState::Ready | ModelState::Absent { .. })
    }
}

#[derive(Clone, Debug)]
pub struct ModelEntry {
    pub handle: ModelHandle,
    pub state: ModelState,
}

/// Which version a request without one goes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultVersion {
    /// The newest there is.
    #[default]
    Newest,
    /// This one and no other, whether it is there or not.
    Only(Version),
    /// None, until one has been found good.
    None,
}

/// What is served under one name.
#[derive(Clone, Debug, Default)]
struct Versions {
    of: BTreeMap<Version, ModelEntry>,
    default: DefaultVersion,
}

#[derive(Clone, Debug, Default)]
pub struct Catalog {
    models: ByName<Arc<str>, Versions>,
    /// Every model that the engine started with has been ready once.
    started: bool,
    draining: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    Model,
    Version,
    /// The version that such requests go to is on its way.
    NotYet,
}

impl Catalog {
    /// The version asked for, or the one that requests without any go to.
    pub fn find(&self, name: &str, version: Option<Version>) -> Result<&ModelEntry, Missing> {
        let versions = self.models.get(name).ok_or(Missing::Model)?;
        match (version, versions.default) {
            (Some(version), _) => versions.of.get(&version).ok_or(Missing::Version),
            (None, DefaultVersion::Newest) => {
                versions.of.last_key_value().map(|(_, entry)| entry).ok_or(Missing::Version)
            }
            (None, DefaultVersion::Only(version)) => {
                versions.of.get(&version).ok_or(Missing::NotYet)
            }
            (None, DefaultVersion::None) => Err(Missing::NotYet),
        }
    }

    /// Versions of a model in ascending order; empty when there is no such model.
    pub fn versions(&self, name: &str) -> impl Iterator<Item = Version> + '_ {
        self.models.get(name).into_iter().flat_map(|versions| versions.of.keys().copied())
    }

    /// Every entry, by name and then version.
    pub fn entries(&self) -> Vec<&ModelEntry> {
        let mut entries: Vec<_> =
            self.models.values().flat_map(|versions| versions.of.values()).collect();
        entries.sort_by_key(|entry| (entry.handle.name.clone(), entry.handle.version));
        entries
    }

    /// The engine has started what it was told to, every model of its own can answer, and it is not shutting down. Where
    /// models come and go at run time there may be none. Versions that get no traffic but by their number don't count.
    pub fn is_ready(&self) -> bool {
        let settled = |versions: &Versions| {
            let counts = |version: &Version| match versions.default {
                DefaultVersion::Newest => true,
                DefaultVersion::Only(only) => only == *version,
                DefaultVersion::None => false,
            };
            versions.of.iter().all(|(version, entry)| !counts(version) || entry.state.is_settled())
        };
        self.started && !self.draining && self.models.values().all(settled)
    }

    pub fn is_draining(&self) -> bool {
        self.draining
    }

    #[must_use]
    pub fn with(&self, entry: ModelEntry) -> Catalog {
        let mut next = self.clone();
        let versions = next.models.entry(entry.handle.name.clone()).or_default();
        versions.of.insert(entry.handle.version, entry);
        next
    }

    /// From now on a request for the name without a version goes there.
    #[must_use]
    pub fn with_default(&self, name: &Arc<str>, default: DefaultVersion) -> Catalog {
        let mut next = self.clone();
        next.models.entry(name.clone()).or_default().default = default;
        next.without_empty(name)
    }

    fn without_empty(mut self, name: &str) -> Catalog {
        let is_empty = |versions: &Versions| {
            versions.of.is_empty() && versions.default == DefaultVersion::Newest
        };
        if self.models.get(name).is_some_and(is_empty) {
            self.models.remove(name);
        }
        self
    }

    /// Nothing changes where another model has taken the handle's place.
    #[must_use]
    pub fn with_state(&self, of: &ModelHandle, state: ModelState) -> Catalog {
        let mut next = self.clone();
        let versions = next.models.get_mut(&of.name);
        let entry = versions.and_then(|versions| versions.of.get_mut(&of.version));
        if let Some(entry) = entry.filter(|entry| entry.handle.is(of)) {
            entry.state = state;
        }
        next
    }

    /// The same for an entry that goes.
    #[must_use]
    pub fn without(&self, handle: &ModelHandle) -> Catalog {
        let mut next = self.clone();
        let Some(versions) = next.models.get_mut(&handle.name) else { return next };
        if versions.of.get(&handle.version).is_some_and(|entry| entry.handle.is(handle)) {
            versions.of.remove(&handle.version);
        }
        next.without_empty(&handle.name)
    }

    #[must_use]
    pub fn started(&self) -> Catalog {
        Catalog { started: true, ..self.clone() }
    }

    #[must_use]
    pub fn drained(&self) -> Catalog {
        Catalog { draining: true, ..self.clone() }
    }
}

/// Shared by every core; written by the supervisor alone.
pub type PublishedCatalog = Arc<ArcSwap<Catalog>>;
