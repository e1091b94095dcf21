//! Carries out orders: models come, go and give their places to others while the rest is served.
//!
//! A model whose files or settings have changed starts beside the one that is served, is warmed up, and takes its place
//! in the catalog in one step; then the old one answers what it had accepted, and ends. A load that fails changes
//! nothing but the index. Orders for one name go one after the other; reading disks never happens on this thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::time::timeout;

use super::catalog::{ModelEntry, ModelState};
use super::deployments::{FleetError, Overseer};
use super::digest;
use super::model::{Model, Place};
use super::orders::{Load, Order, OrderError};
use super::repository::Found;
use super::retire::{retire, withdraw};
use super::supervisor::{Shared, StartError, begin, start_others};
use super::target::Target;

mod index;
mod plan;

use plan::{Plan, plan};

/// Orders under way or waiting for another of the same name; more are turned away.
const ORDERS_UNDER_WAY_MAX: usize = 64;

/// What a successor's other replicas may take after the first before it goes on with those it has.
const REPLICAS_WAIT: Duration = Duration::from_secs(60);

/// Why a model that an administrator unloaded is not ready.
const UNLOADED: &str = "unloaded";

/// Orders that are being carried out.
struct UnderWay {
    shared: Rc<Shared>,
    room: Semaphore,
    /// One for each name that something is done with.
    locks: RefCell<HashMap<String, Rc<Mutex<()>>>>,
}

/// Takes orders until nobody can give any.
pub async fn follow(
    shared: Rc<Shared>,
    overseer: Option<Rc<Overseer>>,
    mut orders: mpsc::Receiver<Order>,
) {
    let under_way = UnderWay::new(shared);
    while let Some(order) = orders.recv().await {
        let order = match (order, &overseer) {
            (Order::Deployments(ask), Some(overseer)) => {
                overseer.take(ask);
                continue;
            }
            (order, _) => order,
        };
        let under_way = under_way.clone();
        tokio::task::spawn_local(async move { under_way.take(order).await });
    }
}

/// Looks at the repositories now and then: what is new or has changed is loaded, what is gone unloaded.
pub async fn poll(shared: Rc<Shared>, every: Duration) {
    let under_way = UnderWay::new(shared);
    let mut before = at_start(&under_way.shared);
    loop {
        tokio::time::sleep(every).await;
        if under_way.shared.handing_over.get() {
            continue;
        }
        let Some(seen) = look(&under_way.shared).await else { continue };
        under_way.adjust(&before, &seen).await;
        before = seen;
    }
}

/// What came from the repositories when the engine started; whether it has changed since is for the first look to say.
fn at_start(shared: &Shared) -> HashMap<String, u64> {
    let repositories = &shared.config.repositories;
    let models = shared.models.borrow();
    let from_there = models.iter().filter(|model| {
        let (home, _) = model.target.program.home();
        model.target.name.as_deref().is_some_and(|name| repositories.hold(name, &home))
    });
    from_there.filter_map(|model| Some((model.name()?.to_owned(), 0))).collect()
}

/// Every name of the repositories, with what tells whether something was written in its directory.
async fn look(shared: &Shared) -> Option<HashMap<String, u64>> {
    let repositories = shared.config.repositories.clone();
    let look = move || {
        let names = repositories.names().into_iter();
        names.map(|name| (name.clone(), repositories.stamp(&name))).collect()
    };
    tokio::task::spawn_blocking(look).await.ok()
}

impl UnderWay {
    fn new(shared: Rc<Shared>) -> Rc<UnderWay> {
        let room = Semaphore::new(ORDERS_UNDER_WAY_MAX);
        Rc::new(UnderWay { shared, room, locks: RefCell::default() })
    }

    /// An answer that nobody waits for any more is dropped; the order is carried out all the same.
    async fn take(&self, order: Order) {
        if let Some(name) = order.name().filter(|_| self.shared.config.poll_every.is_some()) {
            let name = name.to_owned();
            return order.refuse(OrderError::Polled { name });
        }
        if self.shared.handing_over.get() && !matches!(order, Order::Index { .. }) {
            return order.refuse(OrderError::HandingOver);
        }
        if let Some(name) =
            order.name().filter(|name| self.shared.deployed.borrow().contains(*name))
        {
            let name = name.to_owned();
            return order.refuse(OrderError::Deployed { name });
        }
        let Ok(_room) = self.room.try_acquire() else { return order.refuse(OrderError::Busy) };
        match order {
            // Taken up before, where anybody looks after them.
            Order::Deployments(ask) => ask.refuse(FleetError::NotManaging),
            Order::Index { done } => drop(done.send(index::index(&self.shared).await)),
            Order::Load { load, done } => {
                self.in_turn(&load.name, self.load(&load, |result| drop(done.send(result)))).await;
            }
            Order::Unload { name, done } => {
                let unload = async { drop(done.send(self.unload(&name).await)) };
                self.in_turn(&name, unload).await;
            }
        }
    }

    /// After whatever else is done with the name.
    async fn in_turn(&self, name: &str, order: impl Future<Output = ()>) {
        let lock = self.locks.borrow_mut().entry(name.to_owned()).or_default().clone();
        let turn = lock.lock().await;
        order.await;
        drop(turn);
        // The map's and this one: nobody else waits.
        if Rc::strong_count(&lock) == 2 {
            self.locks.borrow_mut().remove(name);
        }
    }

    async fn adjust(&self, before: &HashMap<String, u64>, seen: &HashMap<String, u64>) {
        for name in before.keys().filter(|name| !seen.contains_key(*name)) {
            let unload = async {
                // What could never be loaded has nothing to unload.
                let _absent = self.unload(name).await;
            };
            self.in_turn(name, unload).await;
        }
        for (name, stamp) in seen {
            if before.get(name) != Some(stamp) {
                let load = Load { name: name.clone(), config: None };
                self.in_turn(name, self.load(&load, drop)).await;
            }
        }
    }

    /// `tell` is called as soon as the outcome is known; what the new one replaces ends after that.
    async fn load(&self, load: &Load, tell: impl FnOnce(Result<(), OrderError>)) {
        let (result, leaving) = match self.plan(load).await {
            Ok(plan) => self.carry_out(&load.name, plan).await,
            Err(error) => (Err(error), Vec::new()),
        };
        self.take_note(&load.name, &result);
        tell(result);
        for model in leaving {
            retire(&self.shared, &model).await;
        }
    }

    async fn plan(&self, load: &Load) -> Result<Plan, OrderError> {
        if *self.shared.stopping.borrow() {
            return Err(OrderError::Stopping);
        }
        // A repository that is polled may come to hold one.
        if self.shared.deployed.borrow().contains(&load.name) {
            return Err(OrderError::Deployed { name: load.name.clone() });
        }
        let (repositories, wanted) = (self.shared.config.repositories.clone(), load.clone());
        let read = tokio::task::spawn_blocking(move || {
            repositories.read(&wanted.name, wanted.config.as_deref())
        })
        .await;
        let served = served(&self.shared, &load.name);
        let found = match read.unwrap_or(Err(OrderError::Stopping)) {
            // A file target: there is nothing to look up, but the file may have changed.
            Err(OrderError::NotFound { .. }) if !served.is_empty() => again(&served).await?,
            found => found?,
        };
        Ok(plan(found, &served))
    }

    /// Versions are independent of each other: one that fails leaves the old one in its place.
    async fn carry_out(&self, name: &str, plan: Plan) -> (Result<(), OrderError>, Vec<Rc<Model>>) {
        let begun: Vec<_> = plan.start.into_iter().map(|one| self.begin(one)).collect();
        let (mut result, mut leaving) = (Ok(()), Vec::new());
        for (model, before, first) in begun {
            let first = first.await.unwrap_or(Err(StartError::stopping(&model)));
            let up = match first {
                Ok(()) => self.take_place(&model, before.as_ref()).await,
                Err(error) => Err(error.to_string()),
            };
            match up {
                Ok(()) => leaving.extend(before),
                Err(why) => {
                    tracing::warn!(model = name, "a load failed: {why}");
                    result = Err(OrderError::NotAlive { name: name.to_owned(), why });
                    retire(&self.shared, &model).await;
                }
            }
        }
        if result.is_ok() {
            leaving.extend(plan.leave);
        }
        (result, leaving)
    }

    fn begin(&self, (found, before): (Found, Option<Rc<Model>>)) -> Begun {
        let model = Model::new(found.target, found.class, before.as_ref());
        // It was made here: nobody else has set it.
        let _first = model.digest.set(found.digest);
        let first = begin(&self.shared, &model);
        (model, before, first)
    }

    /// With all its replicas, as far as they come in time, so that the load moves to as many as before.
    async fn take_place(
        &self,
        model: &Rc<Model>,
        before: Option<&Rc<Model>>,
    ) -> Result<(), String> {
        start_others(&self.shared, model);
        let Some(before) = before else { return Ok(()) };
        let all = async {
            while model.live.get() < model.replicas() as usize {
                model.came_up.notified().await;
            }
        };
        if timeout(REPLICAS_WAIT, all).await.is_err() && model.live.get() == 0 {
            return Err(format!("no replica was live within {REPLICAS_WAIT:?} of its first"));
        }
        let Some(known) = model.established.get() else {
            return Err("it has not said hello".into());
        };
        model.place.set(Place::Served);
        before.place.set(Place::Leaving);
        let entry = ModelEntry { handle: known.handle.clone(), state: ModelState::Ready };
        self.shared.publish(|catalog| catalog.with(entry));
        self.shared.announce(model);
        Ok(())
    }

    /// A name that no directory has is nothing to remember.
    fn take_note(&self, name: &str, result: &Result<(), OrderError>) {
        let mut complaints = self.shared.complaints.borrow_mut();
        match result {
            Ok(()) => drop(complaints.remove(name)),
            Err(error @ (OrderError::Settings { .. } | OrderError::NotAlive { .. })) => {
                complaints.insert(name.to_owned(), error.to_string());
            }
            Err(_) => {}
        }
    }

    async fn unload(&self, name: &str) -> Result<(), OrderError> {
        let served = served(&self.shared, name);
        if served.is_empty() {
            return Err(OrderError::NotLoaded { name: name.to_owned() });
        }
        self.shared.complaints.borrow_mut().insert(name.to_owned(), UNLOADED.to_owned());
        for model in &served {
            withdraw(&self.shared, model);
        }
        for model in &served {
            retire(&self.shared, model).await;
        }
        Ok(())
    }
}

/// A model on its way, the one whose place it takes, and the word of its first replica.
type Begun = (Rc<Model>, Option<Rc<Model>>, tokio::sync::oneshot::Receiver<Result<(), StartError>>);

/// The same models with their files as they are now.
async fn again(served: &[Rc<Model>]) -> Result<Vec<Found>, OrderError> {
    let targets: Vec<_> = served.iter().map(|it| (it.target.clone(), it.class)).collect();
    let read = move || {
        let found = |(target, class): (Target, _)| {
            let digest = digest::of_files(&target.program);
            Found { target, class, digest }
        };
        targets.into_iter().map(found).collect()
    };
    tokio::task::spawn_blocking(read).await.map_err(|_| OrderError::Stopping)
}

/// Every version that is served under the name.
fn served(shared: &Shared, name: &str) -> Vec<Rc<Model>> {
    let models = shared.models.borrow();
    let of_name = models.iter().filter(|model| model.name() == Some(name));
    of_name.filter(|model| model.place.get() == Place::Served).cloned().collect()
}
