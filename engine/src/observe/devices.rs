//! How each GPU and slice of this host stands: written where replicas are placed, read by a scrape.

use std::sync::{Arc, Mutex, PoisonError};

/// One GPU, or a slice of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceStanding {
    pub uuid: String,
    /// Or the slice's profile.
    pub name: String,
    pub is_healthy: bool,
    pub memory_bytes: u64,
    /// By anybody.
    pub used_bytes: u64,
    /// Of that, by others than this engine's replicas.
    pub foreign_bytes: u64,
    /// What stayed taken after a replica had gone.
    pub leaked_bytes: u64,
    /// This engine's, with a seat there.
    pub replicas: u32,
}

/// One for the whole engine. Both sides are on the control thread, off every request's path.
#[derive(Clone, Debug, Default)]
pub struct DeviceStandings(Arc<Mutex<Vec<DeviceStanding>>>);

impl DeviceStandings {
    pub fn set(&self, standings: Vec<DeviceStanding>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = standings;
    }

    pub fn get(&self) -> Vec<DeviceStanding> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
