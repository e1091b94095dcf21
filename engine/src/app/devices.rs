//! What there is for replicas to run on: as the system says, or a file in its place.

use crate::config::Config;
use crate::fleet::devices;
use crate::fleet::devices::inventory::{Inventory, InventoryError};
use crate::fleet::devices::nvml::NoGpus;
use crate::fleet::seats::Devices;
use crate::observe::devices::DeviceStandings;

/// The engine's own host, with the front end's CPUs in it.
pub(super) fn find(config: &Config) -> Result<Devices, InventoryError> {
    let standings = DeviceStandings::default();
    let Some(file) = &config.inventory else {
        let inventory = of_system(&config.cores);
        return Ok(Devices { inventory, are_watched: true, standings });
    };
    let mut inventory = Inventory::read(file)?;
    if let Some(host) = inventory.hosts.first_mut() {
        host.cpus.front_end.clone_from(&config.cores);
    }
    Ok(Devices { inventory, are_watched: false, standings })
}

fn of_system(front_end: &[usize]) -> Inventory {
    let found = devices::find(front_end);
    found.unreadable.iter().for_each(|gpu| tracing::warn!("{gpu}"));
    match found.gpus_absent {
        // Most machines have none, and nobody asked for one.
        None | Some(NoGpus::NoLibrary { .. } | NoGpus::None) => {}
        Some(why) => tracing::warn!("no GPU is used: {why}"),
    }
    found.inventory
}
