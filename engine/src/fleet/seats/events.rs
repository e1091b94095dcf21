//! What the watch over the devices tells, and what becomes of it: placement, the replicas there, the metrics.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::accounts::{Account, Ours};
use super::{Devices, Seats, Sitting};
use crate::fleet::devices::health::{Action, DeviceEvent, GpuProcess, Residents, Trouble};
use crate::fleet::devices::inventory::{Gpu, Health, Inventory};
use crate::fleet::devices::watch::{self, Events};
use crate::fleet::placement::CONTEXT_BYTES;
use crate::observe::devices::DeviceStanding;

impl Seats {
    /// Hears of the devices from now on, unless they are none of this machine's.
    pub fn watch(self: &Rc<Self>, devices: &Devices) {
        self.publish();
        if !devices.are_watched {
            return;
        }
        let (to, events) = watch::channel();
        let found = devices.inventory.hosts.iter().flat_map(|host| host.gpus.clone());
        let found: Vec<_> = found.collect();
        match watch::start(&found, to, self.residents.subscribe()) {
            Ok(()) => {
                drop(tokio::task::spawn_local(follow(self.clone(), Events::new(events, &found))))
            }
            Err(error) => tracing::warn!("GPUs are used and not watched: {error}"),
        }
    }
}

/// As long as the devices are watched.
async fn follow(seats: Rc<Seats>, mut events: Events) {
    while let Some(event) = events.recv().await {
        seats.handle(event);
    }
}

impl Seats {
    pub fn handle(&self, event: DeviceEvent) {
        match event {
            DeviceEvent::Memory(used) => self.account(&used),
            DeviceEvent::Processes(processes) => self.measure(&processes),
            DeviceEvent::Trouble { devices, trouble } => self.act(&devices, &trouble),
        }
        self.publish();
    }

    fn act(&self, devices: &[String], trouble: &Trouble) {
        let device = devices.first().map_or("", String::as_str);
        match trouble.action() {
            Action::SuspectReplicas => {
                let replicas = self.suspect(devices, trouble);
                tracing::warn!(device, replicas, "{trouble}: its replicas are started anew");
            }
            Action::Unhealthy => {
                let reason = trouble.to_string();
                self.set_health(devices, &Health::Unhealthy { reason });
                tracing::error!(device, "takes no more replicas: {trouble}");
            }
            Action::Healthy => {
                self.set_health(devices, &Health::Healthy);
                tracing::info!(device, "takes replicas again: {trouble}");
            }
            Action::Taken { bytes } => {
                if let Some(account) = self.accounts.borrow_mut().get_mut(device) {
                    account.leaked_bytes = bytes;
                }
                tracing::warn!(device, "{trouble}");
            }
        }
        self.changed.send_replace(());
    }

    /// Says how many there are.
    fn suspect(&self, devices: &[String], trouble: &Trouble) -> usize {
        let mut sitting = self.sitting.borrow_mut();
        let there = sitting.iter_mut().filter(|it| devices.iter().any(|uuid| it.is_on(uuid)));
        there.map(|it| it.suspect = Some(trouble.to_string().into())).count()
    }

    fn set_health(&self, devices: &[String], health: &Health) {
        let mut inventory = self.inventory.borrow_mut();
        let gpus = inventory.hosts.iter_mut().flat_map(|host| &mut host.gpus);
        gpus.filter(|gpu| devices.contains(&gpu.uuid)).for_each(|gpu| gpu.health = health.clone());
    }

    /// What placement takes to be used is what others than our replicas hold.
    fn account(&self, used: &[(String, u64)]) {
        let mut accounts = self.accounts.borrow_mut();
        for (uuid, used_bytes) in used {
            // A slice that was made since the inventory was taken has none.
            let Some(account) = accounts.get_mut(uuid) else { continue };
            *account = account.look(*used_bytes, self.ours(uuid));
            self.set_foreign(uuid, account.foreign_bytes);
        }
    }

    /// What a replica's processes take beside CUDA itself.
    fn measure(&self, processes: &[(String, GpuProcess)]) {
        for it in self.sitting.borrow().iter() {
            let (Some(uuid), Some((pid, peak_bytes))) = (it.gpu(), &it.measured) else { continue };
            let its = processes.iter().filter(|(on, it)| on == uuid && it.lineage.contains(pid));
            let bytes: u64 = its.map(|(_, it)| it.bytes.saturating_sub(CONTEXT_BYTES)).sum();
            peak_bytes.set(peak_bytes.get().max(bytes));
        }
    }

    fn ours(&self, uuid: &str) -> Ours {
        let sitting = self.sitting.borrow();
        let there: Vec<&Sitting> = sitting.iter().filter(|it| it.is_on(uuid)).collect();
        let declared = |it: &&Sitting| {
            let bytes = it.seat.memory_bytes;
            (bytes > 0).then(|| bytes.saturating_add(CONTEXT_BYTES))
        };
        Ours {
            tickets: there.iter().map(|it| it.ticket).collect(),
            declared_bytes: there.iter().map(declared).sum(),
        }
    }

    fn set_foreign(&self, uuid: &str, bytes: u64) {
        let mut inventory = self.inventory.borrow_mut();
        for gpu in inventory.hosts.iter_mut().flat_map(|host| &mut host.gpus) {
            if gpu.uuid == uuid {
                gpu.used_bytes = bytes;
            }
            let slices = gpu.slices.iter_mut().flatten();
            slices.filter(|slice| slice.uuid == uuid).for_each(|slice| slice.used_bytes = bytes);
        }
    }

    /// For whoever tells leaks from replicas: who sits where has changed.
    pub(super) fn tell_residents(&self) {
        let mut residents = Residents::new();
        for uuid in self.sitting.borrow().iter().filter_map(Sitting::gpu) {
            *residents.entry(uuid.to_owned()).or_default() += 1;
        }
        self.residents.send_replace(residents);
        self.publish();
    }

    /// For the metrics.
    fn publish(&self) {
        let inventory = self.inventory.borrow();
        let gpus = inventory.hosts.iter().flat_map(|host| &host.gpus);
        self.standings.set(gpus.flat_map(|gpu| self.standings_of(gpu)).collect());
    }

    /// Of a GPU, and of its slices.
    fn standings_of(&self, gpu: &Gpu) -> Vec<DeviceStanding> {
        let whole = self.standing(&gpu.uuid, &gpu.name, gpu.memory_bytes, gpu);
        let slices = gpu.slices.iter().flatten();
        let slices = slices.map(|it| self.standing(&it.uuid, &it.profile, it.memory_bytes, gpu));
        [whole].into_iter().chain(slices).collect()
    }

    fn standing(&self, uuid: &str, name: &str, memory_bytes: u64, gpu: &Gpu) -> DeviceStanding {
        let account = self.accounts.borrow().get(uuid).cloned().unwrap_or_default();
        DeviceStanding {
            uuid: uuid.to_owned(),
            name: name.to_owned(),
            is_healthy: gpu.health == Health::Healthy,
            memory_bytes,
            used_bytes: account.used_bytes,
            foreign_bytes: account.foreign_bytes,
            leaked_bytes: account.leaked_bytes,
            replicas: self.residents.borrow().get(uuid).copied().unwrap_or(0),
        }
    }
}

/// Nobody of ours is there yet: all that is used is a stranger's.
pub(super) fn first_accounts(inventory: &Inventory) -> BTreeMap<String, Account> {
    let mut accounts = BTreeMap::new();
    for gpu in inventory.hosts.iter().flat_map(|host| &host.gpus) {
        accounts.insert(gpu.uuid.clone(), Account::first(gpu.used_bytes));
        for slice in gpu.slices.iter().flatten() {
            accounts.insert(slice.uuid.clone(), Account::first(slice.used_bytes));
        }
    }
    accounts
}

impl Sitting {
    fn gpu(&self) -> Option<&str> {
        self.seat.device.gpu()
    }

    fn is_on(&self, uuid: &str) -> bool {
        self.gpu() == Some(uuid)
    }
}

#[cfg(test)]
mod tests;
