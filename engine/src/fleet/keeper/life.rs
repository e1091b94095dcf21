//! What one incarnation has: its process, its directory, how far it got.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::LifeError;
use super::seating::Sits;
use crate::clock::Time;
use crate::fleet::launch::Container;
use crate::ids::Incarnation;

/// One incarnation as far as it got.
#[derive(Default)]
pub(super) struct Life {
    pub(super) incarnation: Option<Incarnation>,
    pub(super) process: Option<Container>,
    /// Dropped after the process, which lives in it.
    pub(super) home: Option<Home>,
    /// The dispatcher has its lane.
    pub(super) handed_over: bool,
    pub(super) live_since: Option<Time>,
    /// Given back after the process, which uses it.
    pub(super) sits: Option<Sits>,
}

/// The directory of one incarnation: its socket, and what it may write. Removed with everything in it.
pub(super) struct Home {
    pub(super) path: PathBuf,
}

impl Home {
    pub(super) fn make(
        root: &Path,
        incarnation: Incarnation,
        user: Option<u32>,
    ) -> Result<Home, LifeError> {
        let path = root.join(incarnation.to_string());
        DirBuilder::new().mode(0o700).create(&path).map_err(LifeError::Home)?;
        let home = Home { path };
        if let Some(user) = user {
            std::os::unix::fs::chown(&home.path, Some(user), Some(user))
                .map_err(LifeError::Home)?;
        }
        Ok(home)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::debug!(%error, "a replica's directory could not be removed");
        }
    }
}
