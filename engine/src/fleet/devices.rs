//! The devices that replicas run on: what there is, and how it fares.

use std::path::Path;

use self::inventory::{Host, Inventory};
use self::nvml::{Listing, NoGpus};

pub mod health;
pub mod inventory;
pub mod linux;
pub mod nvml;
#[cfg(test)]
pub(crate) mod test_library;
#[cfg(test)]
pub(crate) mod test_tree;
pub mod watch;

/// What this machine has.
#[derive(Debug)]
pub struct Found {
    /// Of one host.
    pub inventory: Inventory,
    /// Why no GPU is in it.
    pub gpus_absent: Option<NoGpus>,
    /// GPUs that don't even say who they are, a sentence each.
    pub unreadable: Vec<String>,
}

/// Looks at this machine; `front_end` are the CPUs that the engine keeps for itself.
pub fn find(front_end: &[usize]) -> Found {
    let (listing, gpus_absent) = match nvml::survey(nvml::library()) {
        Ok(survey) => (survey.listing, None),
        Err(why) => (Listing::default(), Some(why)),
    };
    let root = Path::new(linux::ROOT);
    let mut cpus = linux::cpus(root);
    cpus.front_end = front_end.to_vec();
    let host = Host { name: linux::host_name(root), cpus, gpus: listing.gpus };
    let unreadable = listing.unreadable;
    Found { inventory: Inventory { hosts: vec![host] }, gpus_absent, unreadable }
}
