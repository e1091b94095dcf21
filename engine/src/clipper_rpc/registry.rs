//! Which model versions are registered and which containers are there. On the control thread, one message at a time.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use schemas::lifecycle::{BATCH_ROWS_MAX, Late, ModelSpec};
use schemas::tensor::{DType, Dim, TensorSpec};
use tokio::sync::{mpsc, oneshot};

use super::models::{
    Asks, ContainerRecord, InputType, ModelId, RegisterError, Registration, RemoveError,
};
use crate::dispatch::lane::remote::EngineEnd;
use crate::dispatch::{FixedBatches, Sharing};
use crate::fleet::remote_models::{Declared, EstablishError, Joined, RemoteModel};
use crate::fleet::supervisor::Shared;
use crate::ids::{ReplicaId, Version};

/// Model versions that may be registered in an engine's life. Each has a dispatcher and keeps its number; whoever can
/// reach the port may register one where containers do that by themselves.
const VERSIONS_MAX: usize = 1024;

/// Numbers of versions that are no numbers of their own: above every directory's of a repository.
const FIRST_NUMBER: u64 = 1 << 32;

/// Rows of a batch where no size is given: what the fastest models the paper measured answer within 20 ms.
const ROWS_MAX: u32 = 1024;

/// Clipper gives a container up that is silent for so long, and one that computes is silent.
const BATCH_TIMEOUT: Duration = Duration::from_secs(30);

/// Containers that have gone and not been struck off yet.
const LEFT_MAX: usize = 64;

/// What becomes of a container whose model version nobody registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strangers {
    /// It waits for whoever registers it.
    Wait,
    /// It registers its version itself.
    Register,
}

/// What is asked of the registry.
#[derive(Debug)]
pub enum Ask {
    Register { registration: Registration, reply: oneshot::Sender<Result<Version, RegisterError>> },
    Remove { id: ModelId, reply: oneshot::Sender<Result<(), RemoveError>> },
    List { reply: oneshot::Sender<Vec<ContainerRecord>> },
    Arrive(Arrival),
}

/// A container that has said what it runs.
#[derive(Debug)]
pub struct Arrival {
    pub id: ModelId,
    pub input_type: InputType,
    pub end: EngineEnd,
    pub verdict: oneshot::Sender<Result<ReplicaId, Refused>>,
    pub gone: oneshot::Receiver<Gone>,
}

/// Why a container's session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gone {
    /// The engine had ended its lane.
    LetGo,
    /// In a sentence.
    Left(String),
}

/// Why a container gets no work.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(
        "the model takes {model}, its container {container}; start it with the same input type"
    )]
    InputType { model: &'static str, container: &'static str },
    #[error(transparent)]
    Register(#[from] RegisterError),
}

struct Left {
    id: ModelId,
    replica: ReplicaId,
    why: Gone,
}

pub struct Registry {
    shared: Rc<Shared>,
    strangers: Strangers,
    /// Where containers dial in.
    address: SocketAddr,
    versions: RefCell<BTreeMap<ModelId, Entry>>,
    numbers: RefCell<HashMap<ModelId, Version>>,
    left: mpsc::Sender<Left>,
}

/// One model version, registered or not.
#[derive(Default)]
struct Entry {
    registered: Option<Registered>,
    next_replica: u32,
    containers: BTreeMap<ReplicaId, Container>,
}

#[derive(Clone)]
struct Registered {
    model: Rc<RemoteModel>,
    input_type: InputType,
}

struct Container {
    input_type: InputType,
    stands: Stands,
}

enum Stands {
    /// For its version to be registered.
    Waiting(EngineEnd),
    Serving(Rc<RemoteModel>, Joined),
    /// Its lane is dropped; its session will end.
    Dismissed,
}

impl Registry {
    /// Answers what is asked until the engine ends.
    pub fn start(
        shared: Rc<Shared>,
        strangers: Strangers,
        address: SocketAddr,
        asks: Asks,
    ) -> Rc<Registry> {
        let (left, leaving) = mpsc::channel(LEFT_MAX);
        let (versions, numbers) = (RefCell::default(), RefCell::default());
        let registry = Rc::new(Registry { shared, strangers, address, versions, numbers, left });
        tokio::task::spawn_local(registry.clone().run(asks, leaving));
        registry
    }

    async fn run(self: Rc<Registry>, mut asks: Asks, mut leaving: mpsc::Receiver<Left>) {
        loop {
            tokio::select! {
                Some(left) = leaving.recv() => self.strike_off(left).await,
                Some(ask) = asks.recv() => self.answer(ask).await,
                else => return,
            }
        }
    }

    /// Comes back when every model has answered all it accepted.
    pub async fn drain(&self) {
        let models: Vec<_> = self.versions.borrow().values().filter_map(Entry::model).collect();
        let drain = |model: Rc<RemoteModel>| async move { model.drain().await };
        let draining = models.into_iter().map(|model| tokio::task::spawn_local(drain(model)));
        for drained in draining.collect::<Vec<_>>() {
            if let Err(error) = drained.await {
                tracing::error!(%error, "a model's drain ended early");
            }
        }
    }

    async fn answer(self: &Rc<Registry>, ask: Ask) {
        // Whoever asked may have gone.
        match ask {
            Ask::Register { registration, reply } => {
                drop(reply.send(self.register(registration).await));
            }
            Ask::Remove { id, reply } => drop(reply.send(self.remove(&id))),
            Ask::List { reply } => drop(reply.send(self.list())),
            Ask::Arrive(arrival) => self.arrive(arrival).await,
        }
    }

    async fn register(&self, registration: Registration) -> Result<Version, RegisterError> {
        let Registration { id, input_type, batch_size } = registration;
        if self.registered(&id).is_some() {
            return Err(RegisterError::Exists { name: id.name, version: id.version });
        }
        let version = self.number(&id)?;
        let most = batch_size.map(|size| size.get().min(BATCH_ROWS_MAX));
        let declared = Declared {
            name: id.name.clone(),
            version,
            spec: spec(&id, input_type, most.unwrap_or(ROWS_MAX)),
            fixed_batches: most
                .map(|size| FixedBatches { size: size.into(), delay: Duration::ZERO }),
            batch_bytes_max: self.shared.config.limits.slot_bytes_max.into(),
            sharing: Sharing::RowByRow,
            absent: format!("no container serves it; it is to dial in at {}", self.address).into(),
        };
        let model = RemoteModel::establish(self.shared.clone(), declared).await;
        let model = model.map_err(|error| match error {
            EstablishError::NameTaken => {
                RegisterError::NameTaken { name: id.name.clone(), version }
            }
            EstablishError::Stopping => RegisterError::Stopping,
        })?;
        let registered = Registered { model: Rc::new(model), input_type };
        let waiting = self.enter(&id, registered.clone());
        for (replica, end) in waiting {
            self.join(&id, replica, &registered, end).await;
        }
        Ok(version)
    }

    /// Records the version. Returns the containers that waited for it; those of another input type are dismissed.
    fn enter(&self, id: &ModelId, registered: Registered) -> Vec<(ReplicaId, EngineEnd)> {
        let mut versions = self.versions.borrow_mut();
        let entry = versions.entry(id.clone()).or_default();
        let mut waiting = Vec::new();
        for (&replica, container) in &mut entry.containers {
            let Some(end) = container.take_waiting() else { continue };
            if container.input_type == registered.input_type {
                waiting.push((replica, end));
            } else {
                let refused = refused(registered.input_type, container.input_type);
                say_left(id, replica, &Gone::Left(refused.to_string()));
            }
        }
        entry.registered = Some(registered);
        waiting
    }

    fn remove(&self, id: &ModelId) -> Result<(), RemoveError> {
        let mut versions = self.versions.borrow_mut();
        let registered = versions.get_mut(id).and_then(|entry| entry.registered.take());
        let Registered { model, .. } = registered.ok_or(RemoveError::Unknown)?;
        model.unpublish();
        let bound = Duration::from_secs(self.shared.config.limits.drain_s);
        let id = id.clone();
        tokio::task::spawn_local(async move {
            if tokio::time::timeout(bound, model.drain()).await.is_err() {
                let ModelId { name, version } = id;
                tracing::error!(%name, %version, ?bound, "a removed model did not drain in time");
            }
        });
        Ok(())
    }

    fn list(&self) -> Vec<ContainerRecord> {
        let versions = self.versions.borrow();
        let record = |id: &ModelId, (&replica, container): (&ReplicaId, &Container)| {
            ContainerRecord { id: id.clone(), replica, input_type: container.input_type }
        };
        let of = |(id, entry): (&ModelId, &Entry)| -> Vec<_> {
            entry.containers.iter().map(|container| record(id, container)).collect()
        };
        versions.iter().flat_map(of).collect()
    }

    async fn arrive(self: &Rc<Registry>, arrival: Arrival) {
        let Arrival { id, input_type, end, verdict, gone } = arrival;
        let admitted = match self.admit(&id, input_type).await {
            Ok(admitted) => admitted,
            // The session says so in the log, and may have ended.
            Err(refused) => return drop(verdict.send(Err(refused))),
        };
        let replica = self.add(&id, input_type);
        // A session that has ended meanwhile says so below.
        let _heard = verdict.send(Ok(replica));
        tokio::task::spawn_local(self.clone().mind(id.clone(), replica, gone));
        match admitted {
            Some(registered) => self.join(&id, replica, &registered, end).await,
            None => self.wait(&id, replica, end),
        }
    }

    /// The model it may serve; None: not registered yet.
    async fn admit(
        &self,
        id: &ModelId,
        container: InputType,
    ) -> Result<Option<Registered>, Refused> {
        if self.registered(id).is_none() && self.strangers == Strangers::Register {
            let (id, batch_size) = (id.clone(), None);
            self.register(Registration { id, input_type: container, batch_size }).await?;
        }
        match self.registered(id) {
            Some(it) if it.input_type != container => Err(refused(it.input_type, container)),
            registered => Ok(registered),
        }
    }

    fn add(&self, id: &ModelId, input_type: InputType) -> ReplicaId {
        let mut versions = self.versions.borrow_mut();
        let entry = versions.entry(id.clone()).or_default();
        let replica = ReplicaId(entry.next_replica);
        entry.next_replica += 1;
        entry.containers.insert(replica, Container { input_type, stands: Stands::Dismissed });
        replica
    }

    fn wait(&self, id: &ModelId, replica: ReplicaId, end: EngineEnd) {
        let ModelId { name, version } = id;
        tracing::info!(%name, %version, %replica, "a container waits for its model to be registered");
        self.set(id, replica, Stands::Waiting(end));
    }

    async fn join(&self, id: &ModelId, replica: ReplicaId, to: &Registered, end: EngineEnd) {
        let joined = to.model.replica_up(replica, end).await;
        let ModelId { name, version } = id;
        tracing::info!(%name, %version, %replica, "a container serves");
        self.set(id, replica, Stands::Serving(to.model.clone(), joined));
    }

    fn set(&self, id: &ModelId, replica: ReplicaId, stands: Stands) {
        let mut versions = self.versions.borrow_mut();
        // It is struck off by this very task only.
        let container = versions.get_mut(id).and_then(|entry| entry.containers.get_mut(&replica));
        if let Some(container) = container {
            container.stands = stands;
        }
    }

    /// Until its session ends.
    async fn mind(
        self: Rc<Registry>,
        id: ModelId,
        replica: ReplicaId,
        gone: oneshot::Receiver<Gone>,
    ) {
        let why = gone.await.unwrap_or(Gone::LetGo);
        // Without a registry there is nothing to strike it off.
        let _told = self.left.send(Left { id, replica, why }).await;
    }

    async fn strike_off(&self, left: Left) {
        let Left { id, replica, why } = left;
        let Some(container) = self.take_container(&id, replica) else { return };
        let Stands::Serving(model, mut joined) = container.stands else {
            return say_left(&id, replica, &why);
        };
        let why = joined.fault().map_or(why, Gone::Left);
        say_left(&id, replica, &why);
        model.replica_down(&joined, why.to_string().into()).await;
    }

    /// Versions that were never registered are forgotten with their last container.
    fn take_container(&self, id: &ModelId, replica: ReplicaId) -> Option<Container> {
        let mut versions = self.versions.borrow_mut();
        let entry = versions.get_mut(id)?;
        let container = entry.containers.remove(&replica);
        if entry.containers.is_empty() && !self.numbers.borrow().contains_key(id) {
            versions.remove(id);
        }
        container
    }

    fn registered(&self, id: &ModelId) -> Option<Registered> {
        self.versions.borrow().get(id).and_then(|entry| entry.registered.clone())
    }

    /// The version's number, for as long as the engine lives.
    fn number(&self, id: &ModelId) -> Result<Version, RegisterError> {
        let mut numbers = self.numbers.borrow_mut();
        if let Some(&known) = numbers.get(id) {
            return Ok(known);
        }
        let count = numbers.len();
        if count == VERSIONS_MAX {
            return Err(RegisterError::TooMany { count });
        }
        let version = own_number(&id.version).unwrap_or_else(|| next_number(&numbers, &id.name));
        numbers.insert(id.clone(), version);
        Ok(version)
    }
}

impl Entry {
    fn model(&self) -> Option<Rc<RemoteModel>> {
        self.registered.as_ref().map(|it| it.model.clone())
    }
}

impl Container {
    /// Its lane, if it waits for its version to be registered.
    fn take_waiting(&mut self) -> Option<EngineEnd> {
        match std::mem::replace(&mut self.stands, Stands::Dismissed) {
            Stands::Waiting(end) => Some(end),
            others => {
                self.stands = others;
                None
            }
        }
    }
}

/// `7` is 7; `007`, `v7` and what only later engines could tell from other texts' numbers have none.
fn own_number(text: &Arc<str>) -> Option<Version> {
    let number: u64 = text.parse().ok()?;
    (number < FIRST_NUMBER && number.to_string() == **text).then_some(Version(number))
}

/// One more than the model's last.
fn next_number(numbers: &HashMap<ModelId, Version>, name: &str) -> Version {
    let given = numbers.iter().filter(|(id, _)| *id.name == *name).map(|(_, version)| version.0);
    Version(given.max().map_or(FIRST_NUMBER, |last| FIRST_NUMBER.max(last + 1)))
}

fn refused(model: InputType, container: InputType) -> Refused {
    Refused::InputType { model: model.name(), container: container.name() }
}

fn say_left(id: &ModelId, replica: ReplicaId, why: &Gone) {
    let ModelId { name, version } = id;
    match why {
        Gone::LetGo => tracing::info!(%name, %version, %replica, "{why}"),
        Gone::Left(_) => tracing::warn!(%name, %version, %replica, "a container left: {why}"),
    }
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gone::LetGo => f.write_str("a container was let go"),
            Gone::Left(why) => f.write_str(why),
        }
    }
}

fn spec(id: &ModelId, input_type: InputType, max_batch: u32) -> ModelSpec {
    let output = TensorSpec { name: "output".into(), dtype: DType::Str, dims: vec![Dim::Batch] };
    ModelSpec {
        name: id.name.to_string(),
        platform: "clipper".into(),
        inputs: vec![input_type.tensor()],
        outputs: vec![output],
        batched: true,
        max_batch,
        slo_us: None,
        late: Late::Serve,
        batch_timeout_us: BATCH_TIMEOUT.as_micros() as u64,
        replicas: 1,
        pad: false,
        decoupled: false,
    }
}

#[cfg(test)]
mod tests;
