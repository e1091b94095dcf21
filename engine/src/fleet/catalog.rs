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
    /// No replica can answer; `reason` is a sentence with the container's last output.
    Unavailable { reason: Arc<str>, retry_after: Duration },
}

#[derive(Clone, Debug)]
pub struct ModelEntry {
    pub handle: ModelHandle,
    pub state: ModelState,
}

#[derive(Clone, Debug, Default)]
pub struct Catalog {
    models: ByName<Arc<str>, BTreeMap<Version, ModelEntry>>,
    draining: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    Model,
    Version,
}

impl Catalog {
    /// The version asked for, or the newest one.
    pub fn find(&self, name: &str, version: Option<Version>) -> Result<&ModelEntry, Missing> {
        let versions = self.models.get(name).ok_or(Missing::Model)?;
        match version {
            Some(version) => versions.get(&version).ok_or(Missing::Version),
            None => versions.last_key_value().map(|(_, entry)| entry).ok_or(Missing::Version),
        }
    }

    /// Versions of a model in ascending order; empty when there is no such model.
    pub fn versions(&self, name: &str) -> impl Iterator<Item = Version> + '_ {
        self.models.get(name).into_iter().flat_map(|versions| versions.keys().copied())
    }

    /// Every entry, by name and then version.
    pub fn entries(&self) -> Vec<&ModelEntry> {
        let mut entries: Vec<_> = self.models.values().flat_map(BTreeMap::values).collect();
        entries.sort_by_key(|entry| (entry.handle.name.clone(), entry.handle.version));
        entries
    }

    /// Every model can answer, there is at least one, and the engine is not shutting down.
    pub fn is_ready(&self) -> bool {
        !self.draining
            && !self.models.is_empty()
            && self.entries().iter().all(|entry| entry.state == ModelState::Ready)
    }

    pub fn is_draining(&self) -> bool {
        self.draining
    }

    #[must_use]
    pub fn with(&self, entry: ModelEntry) -> Catalog {
        let mut next = self.clone();
        let versions = next.models.entry(entry.handle.name.clone()).or_default();
        versions.insert(entry.handle.version, entry);
        next
    }

    #[must_use]
    pub fn without(&self, name: &str, version: Version) -> Catalog {
        let mut next = self.clone();
        if let Some(versions) = next.models.get_mut(name) {
            versions.remove(&version);
            if versions.is_empty() {
                next.models.remove(name);
            }
        }
        next
    }

    #[must_use]
    pub fn with_state(&self, name: &str, version: Version, state: ModelState) -> Catalog {
        let mut next = self.clone();
        if let Some(entry) = next.models.get_mut(name).and_then(|of| of.get_mut(&version)) {
            entry.state = state;
        }
        next
    }

    #[must_use]
    pub fn drained(&self) -> Catalog {
        Catalog { draining: true, ..self.clone() }
    }
}

/// Shared by every core; written by the supervisor alone.
pub type PublishedCatalog = Arc<ArcSwap<Catalog>>;
