//! Who of the engine's replicas sits on which device: what there is, what is taken, what a host was found to lack.
//!
//! One life of a replica takes a seat before its container is started and gives it back when the container has gone,
//! so that a life may come up elsewhere than the one before it. Where it goes is [`super::placement`]'s to say. Replicas
//! of models that say nothing of devices take none.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use self::accounts::Account;
use super::devices::health::Residents;
use super::devices::inventory::{DeviceId, Inventory};
use super::placement::{Ask, NoSeat, Seat, seat};
use crate::clock::{Clock, Time};
use crate::observe::devices::DeviceStandings;

mod accounts;
pub mod environment;
mod events;

/// A host whose Docker could not give out a GPU is asked again after this: somebody may have installed what it lacked.
const RUNTIME_LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What there is for replicas to run on.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    pub inventory: Inventory,
    /// They are this machine's, and tell of their troubles.
    pub are_watched: bool,
    /// For the metrics.
    pub standings: DeviceStandings,
}

/// Of one engine, on its control thread.
pub struct Seats {
    clock: Clock,
    inventory: RefCell<Inventory>,
    sitting: RefCell<Vec<Sitting>>,
    next_ticket: Cell<u64>,
    /// Told when a device or a replica is no longer fit.
    changed: watch::Sender<()>,
    residents: watch::Sender<Residents>,
    /// Whose the memory of each GPU and slice of the inventory is, by UUID.
    accounts: RefCell<BTreeMap<String, Account>>,
    standings: DeviceStandings,
    /// Since when Docker here is known to have no GPU to give, and why.
    no_gpu_runtime: RefCell<Option<(Time, Rc<str>)>>,
}

struct Sitting {
    ticket: u64,
    seat: Rc<Seat>,
    /// By the engine; else by its model.toml.
    chosen: bool,
    /// What happened on its device since it took its seat.
    suspect: Option<Arc<str>>,
    /// Its process, and where the most that it ever took of a GPU is kept.
    measured: Option<(u32, Rc<Cell<u64>>)>,
}

/// A seat of one life; given back when it is dropped.
pub struct Taken {
    seats: Rc<Seats>,
    ticket: u64,
    pub seat: Rc<Seat>,
}

impl Seats {
    pub fn new(devices: &Devices, clock: Clock) -> Rc<Seats> {
        let inventory = devices.inventory.clone();
        Rc::new(Seats {
            clock,
            accounts: RefCell::new(events::first_accounts(&inventory)),
            inventory: RefCell::new(inventory),
            sitting: RefCell::default(),
            next_ticket: Cell::new(0),
            changed: watch::Sender::new(()),
            residents: watch::Sender::default(),
            standings: devices.standings.clone(),
            no_gpu_runtime: RefCell::default(),
        })
    }

    /// The best seat there is now.
    pub fn take(self: &Rc<Self>, ask: &Ask) -> Result<Taken, Box<NoSeat>> {
        Ok(self.give(self.find(ask, None)?, true))
    }

    /// The best there would be if this one were free.
    pub fn best(&self, ask: &Ask, but: &Taken) -> Result<Seat, Box<NoSeat>> {
        self.find(ask, Some(but))
    }

    fn find(&self, ask: &Ask, but: Option<&Taken>) -> Result<Seat, Box<NoSeat>> {
        let sitting = self.sitting.borrow();
        let others: Vec<Seat> = others(&sitting, but).map(|it| Seat::clone(&it.seat)).collect();
        seat(&self.inventory.borrow(), &others, ask).map_err(Box::new)
    }

    /// One that its model.toml names, whoever else sits there.
    pub fn sit(self: &Rc<Self>, seat: Seat) -> Taken {
        self.give(seat, false)
    }

    fn give(self: &Rc<Self>, seat: Seat, chosen: bool) -> Taken {
        let (ticket, seat) = (self.next_ticket.get(), Rc::new(seat));
        self.next_ticket.set(ticket + 1);
        self.sitting.borrow_mut().push(Sitting {
            ticket,
            seat: seat.clone(),
            chosen,
            suspect: None,
            measured: None,
        });
        self.tell_residents();
        Taken { seats: self.clone(), ticket, seat }
    }

    /// CPUs that the engine chose for others than this one.
    pub fn chosen_for_others(&self, taken: Option<&Taken>) -> Vec<usize> {
        let sitting = self.sitting.borrow();
        let chosen = others(&sitting, taken).filter(|it| it.chosen);
        chosen.flat_map(|it| it.seat.cpus.iter().copied()).collect()
    }

    /// The one host that the engine runs on, as the inventory calls it.
    pub fn host(&self) -> String {
        self.inventory.borrow().hosts.first().map(|host| host.name.clone()).unwrap_or_default()
    }

    /// Why a device takes no replicas; None: it does.
    fn unhealthy(&self, device: &DeviceId) -> Option<Arc<str>> {
        let uuid = device.gpu()?;
        let inventory = self.inventory.borrow();
        let mut gpus = inventory.hosts.iter().flat_map(|host| &host.gpus);
        gpus.find(|gpu| gpu.has(uuid))?.health.trouble().map(Arc::from)
    }

    fn suspicion(&self, ticket: u64) -> Option<Arc<str>> {
        let sitting = self.sitting.borrow();
        sitting.iter().find(|it| it.ticket == ticket)?.suspect.clone()
    }

    /// Docker has said why it can't give out a GPU.
    pub fn mark_no_gpu_runtime(&self, why: &str) {
        *self.no_gpu_runtime.borrow_mut() = Some((self.clock.now(), why.into()));
    }

    /// Why Docker here gives out no GPU, as far as it was tried lately.
    pub fn no_gpu_runtime(&self) -> Option<Rc<str>> {
        let marked = self.no_gpu_runtime.borrow();
        let (since, why) = marked.as_ref()?;
        (self.clock.now().since(*since) < RUNTIME_LOOK_AGAIN).then(|| why.clone())
    }
}

fn others<'a>(
    sitting: &'a [Sitting],
    but: Option<&Taken>,
) -> impl Iterator<Item = &'a Sitting> + use<'a> {
    let own = but.map(|taken| taken.ticket);
    sitting.iter().filter(move |it| Some(it.ticket) != own)
}

impl Taken {
    /// What its process takes of a GPU's memory is measured from now on; `peak_bytes` keeps the most.
    pub fn is_measured(&self, pid: Option<u32>, peak_bytes: &Rc<Cell<u64>>) {
        let mut sitting = self.seats.sitting.borrow_mut();
        if let Some(own) = sitting.iter_mut().find(|it| it.ticket == self.ticket) {
            own.measured = pid.map(|pid| (pid, peak_bytes.clone()));
        }
    }

    /// Waits until its device takes no more replicas; says why.
    pub async fn unfit(&self) -> Arc<str> {
        self.until(|seats| seats.unhealthy(&self.seat.device)).await
    }

    /// Waits until something happened on its device that may have broken the replica; says what.
    pub async fn suspect(&self) -> Arc<str> {
        self.until(|seats| seats.suspicion(self.ticket)).await
    }

    async fn until(&self, looked: impl Fn(&Seats) -> Option<Arc<str>>) -> Arc<str> {
        let mut changed = self.seats.changed.subscribe();
        loop {
            if let Some(why) = looked(&self.seats) {
                return why;
            }
            // An error can't be: the sender is held.
            let _changed = changed.changed().await;
        }
    }

    /// The GPU, or the slice of one.
    pub fn gpu(&self) -> Option<&str> {
        self.seat.device.gpu()
    }

    pub fn cpus(&self) -> Option<&[usize]> {
        (!self.seat.cpus.is_empty()).then_some(&*self.seat.cpus)
    }

    /// The NUMA node that its memory should be of; None on a host with a single one.
    pub fn memory_node(&self) -> Option<u32> {
        self.seat.mems
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.seats.sitting.borrow_mut().retain(|it| it.ticket != self.ticket);
        self.seats.tell_residents();
    }
}
