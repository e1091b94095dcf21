//! What the rest of the engine asks of Clipper's side: models are registered, listed with their containers, removed.
//!
//! For the admin API. [`ClipperModels`] is a handle that any thread may have and clone. A model version is established
//! by [`ClipperModels::register`] and is in the engine's catalog from then on, under the name given and the [`Version`]
//! returned; whoever asks it finds its `ModelHandle` there, as for any other model. It has one input, `input`:
//!
//! | Clipper's input type | tensor | one row |
//! |---|---|---|
//! | `integers` | INT32 `[n, ?]` | an array; unlike lengths share a batch |
//! | `floats`, `doubles` | FP32, FP64 `[n, ?]` | the same |
//! | `bytes`, `strings` | BYTES (dtypes `bytes`, `str`) `[n]` | one element |
//!
//! and one output, `output`: BYTES (dtype `str`) `[n]`, as the container said it. A row without elements is refused
//! (`TaskError::InputRefused`) except for strings: Clipper's containers die of it.
//!
//! Until a container is live, the catalog has the version as `ModelState::Absent`, and again when the last has
//! gone: that is the time for an app's default answer.
//!
//! **Versions.** Clipper's are texts, ours are numbers. `7` is version 7; any other text (`v1`, `007`) gets a number
//! from 2³² upwards, the same one whenever it is registered again in this engine's life. Which version is Clipper's
//! current one is the admin API's to know: our "newest" means nothing here.
//!
//! **Containers before their model.** Clipper's deployers start containers first and register the model afterwards. A
//! container of an unknown version waits: it is listed, kept alive and gets no work until its version is registered.

use std::num::NonZeroU32;
use std::sync::Arc;

use schemas::tensor::{DType, Dim, TensorSpec};
use tokio::sync::{mpsc, oneshot};

use super::registry::Ask;
use crate::ids::{ReplicaId, Version};

/// Changes waiting for the control thread: administration is rare, and containers dial in a few at a time.
const ASKS_MAX: usize = 64;

/// Longest name of a model and text of a version, in bytes: they stand in paths, metrics and logs.
pub const NAME_BYTES_MAX: usize = 128;

/// The five kinds of input. The numbers are those on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputType {
    Bytes = 0,
    Integers = 1,
    Floats = 2,
    Doubles = 3,
    Strings = 4,
}

impl InputType {
    const ALL: [(InputType, &'static str, &'static [&'static str]); 5] = [
        (InputType::Bytes, "bytes", &["byte", "b"]),
        (InputType::Integers, "integers", &["ints", "integer", "int", "i"]),
        (InputType::Floats, "floats", &["float", "f"]),
        (InputType::Doubles, "doubles", &["double", "d"]),
        (InputType::Strings, "strings", &["string", "str", "strs", "s"]),
    ];

    /// By its name or one of the names that Clipper takes for it.
    pub fn of_name(name: &str) -> Option<InputType> {
        let named = |(_, canonical, aliases): &&(InputType, &str, &[&str])| {
            *canonical == name || aliases.contains(&name)
        };
        InputType::ALL.iter().find(named).map(|(it, ..)| *it)
    }

    pub fn of_code(code: u64) -> Option<InputType> {
        InputType::ALL.iter().map(|(it, ..)| *it).find(|it| *it as u64 == code)
    }

    /// As Clipper's answers say it.
    pub fn name(self) -> &'static str {
        InputType::ALL[self as usize].1
    }

    /// The one input of models of this type.
    pub fn tensor(self) -> TensorSpec {
        let (dtype, dims): (_, &[Dim]) = match self {
            InputType::Bytes => (DType::Bytes, &[Dim::Batch]),
            InputType::Integers => (DType::I32, &[Dim::Batch, Dim::Variable]),
            InputType::Floats => (DType::F32, &[Dim::Batch, Dim::Variable]),
            InputType::Doubles => (DType::F64, &[Dim::Batch, Dim::Variable]),
            InputType::Strings => (DType::Str, &[Dim::Batch]),
        };
        TensorSpec { name: "input".into(), dtype, dims: dims.to_vec() }
    }
}

/// A model version, by Clipper's words for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelId {
    pub name: Arc<str>,
    pub version: Arc<str>,
}

impl ModelId {
    /// Refuses what Clipper can't list and what has no place in a path.
    pub fn new(name: &str, version: &str) -> Result<ModelId, RegisterError> {
        for (what, text) in [("name", name), ("version", version)] {
            let fits = !text.is_empty() && text.len() <= NAME_BYTES_MAX;
            let wrong = |c: char| c.is_control() || [',', ':', '/'].contains(&c);
            if !fits || text.contains(wrong) {
                return Err(RegisterError::Name { what, text: text.chars().take(64).collect() });
            }
        }
        Ok(ModelId { name: name.into(), version: version.into() })
    }
}

/// A model version to be served by containers that dial in.
#[derive(Clone, Debug)]
pub struct Registration {
    pub id: ModelId,
    pub input_type: InputType,
    /// At most so many rows a batch, sent as soon as a container is free; None: batches of learned sizes.
    pub batch_size: Option<NonZeroU32>,
}

/// A container that is connected and has said what it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerRecord {
    pub id: ModelId,
    /// Counted from zero per model version, never used twice.
    pub replica: ReplicaId,
    pub input_type: InputType,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    #[error(
        "'{text}' is no {what} for a model; use 1 to {NAME_BYTES_MAX} bytes without ',', ':', '/' and control characters"
    )]
    Name { what: &'static str, text: String },
    #[error("model '{name}' version '{version}' is registered already")]
    Exists { name: Arc<str>, version: Arc<str> },
    #[error(
        "version {version} of a model '{name}' is served from a file; give the container's another name"
    )]
    NameTaken { name: Arc<str>, version: Version },
    #[error("{count} model versions were registered in this engine's life; it keeps no more apart")]
    TooMany { count: usize },
    #[error("the engine is shutting down")]
    Stopping,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    #[error("no such model version is registered")]
    Unknown,
    #[error("the engine is shutting down")]
    Stopping,
}

/// Asks the control thread, which owns all of it.
#[derive(Clone, Debug)]
pub struct ClipperModels {
    asks: mpsc::Sender<Ask>,
}

/// What [`ClipperModels`] asks, for the registry.
pub type Asks = mpsc::Receiver<Ask>;

/// A handle, and what is asked through it: made before there is anybody to answer.
pub fn channel() -> (ClipperModels, Asks) {
    let (sender, asks) = mpsc::channel(ASKS_MAX);
    (ClipperModels { asks: sender }, asks)
}

impl ClipperModels {
    /// Establishes a model version: once this returns, the catalog has it. Containers of it that wait go live.
    pub async fn register(&self, registration: Registration) -> Result<Version, RegisterError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.asks.send(Ask::Register { registration, reply }).await;
        sent.map_err(|_| RegisterError::Stopping)?;
        answer.await.unwrap_or(Err(RegisterError::Stopping))
    }

    /// Takes a model version out of the catalog. What it has accepted is still answered; its containers are let go then,
    /// and those that dial in again wait.
    pub async fn remove(&self, id: ModelId) -> Result<(), RemoveError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.asks.send(Ask::Remove { id, reply }).await;
        sent.map_err(|_| RemoveError::Stopping)?;
        answer.await.unwrap_or(Err(RemoveError::Stopping))
    }

    /// Every container that is connected and has said what it runs, in order of model, version and replica.
    pub async fn containers(&self) -> Vec<ContainerRecord> {
        let (reply, answer) = oneshot::channel();
        match self.asks.send(Ask::List { reply }).await {
            Ok(()) => answer.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }

    /// A container has said what it runs.
    pub(super) async fn arrive(&self, arrival: super::registry::Arrival) {
        // Without a registry the arrival is dropped, and its session ends.
        let _asked = self.asks.send(Ask::Arrive(arrival)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_types_are_known_by_every_name_clipper_takes() {
        for (name, of) in
            [("ints", "integers"), ("d", "doubles"), ("str", "strings"), ("byte", "bytes")]
        {
            assert_eq!(InputType::of_name(name).map(InputType::name), Some(of));
        }
        assert_eq!(InputType::of_name("tensors"), None);
        for (code, name) in (0..).zip(["bytes", "integers", "floats", "doubles", "strings"]) {
            assert_eq!(InputType::of_code(code).map(InputType::name), Some(name));
        }
        assert_eq!(InputType::of_code(5), None);
    }

    #[test]
    fn names_that_clipper_can_not_list_or_a_path_not_hold_are_refused() {
        assert!(ModelId::new("m", "1").is_ok() && ModelId::new("größe-2.1", "v 1").is_ok());
        for (name, version) in
            [("a:b", "1"), ("a", "1,2"), ("", "1"), ("a", ""), ("a/b", "1"), ("a\n", "1")]
        {
            assert!(ModelId::new(name, version).is_err(), "{name:?} {version:?}");
        }
        assert!(ModelId::new(&"x".repeat(NAME_BYTES_MAX + 1), "1").is_err());
    }
}
