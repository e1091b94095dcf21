//! What Clipper calls applications: who may be asked under which name, by when it answers, and which model stands behind.
//!
//! [`Apps`] is an immutable snapshot, as the catalog is: the control thread publishes a new one at each change
//! ([`control`]), the request path loads it without a lock. In memory alone: an engine that ends forgets it. Models that
//! this engine serves from files are known here without being registered ([`known`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::ids::Version;

pub mod change;
pub mod control;
mod input_type;
pub mod known;

pub use crate::clipper_rpc::models::InputType;

/// Whether Clipper's defects are kept. The table of them is in `docs/clipper.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// What a user would want where Clipper's behaviour is a defect.
    #[default]
    Sane,
    /// The letter, for programs that lean on it.
    Strict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    pub name: Arc<str>,
    pub input_type: InputType,
    pub default_output: Arc<str>,
    pub slo_us: i32,
    /// At most one model, as in Clipper.
    pub linked: Option<Arc<str>>,
}

impl App {
    /// How long a prediction is waited for; none at all where the SLO is negative, which only the strict mode lets in.
    pub fn slo(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.slo_us).unwrap_or(0))
    }
}

/// One registered version of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelVersion {
    /// Clipper's versions are texts.
    pub text: Arc<str>,
    /// The engine's number for it.
    pub version: Version,
    pub input_type: InputType,
    pub labels: Vec<String>,
    pub container_name: String,
    pub model_data_path: String,
    pub runs: Runs,
}

/// Who runs a model version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// Containers that dial in.
    Containers,
    /// This engine, from a file.
    Engine,
}

/// A model's registered versions, and which of them is asked.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub versions: BTreeMap<Arc<str>, Arc<ModelVersion>>,
    /// The version that answers. None: it was deleted, or none was ever chosen.
    pub current: Option<Arc<str>>,
    /// Answers in place of the current version until that one can.
    pub until_ready: Option<Arc<str>>,
}

#[derive(Clone, Debug, Default)]
pub struct Apps {
    apps: BTreeMap<Arc<str>, Arc<App>>,
    models: BTreeMap<Arc<str>, Arc<Model>>,
    /// Deleted, and answered all the same: the letter of Clipper's query frontend.
    ghosts: BTreeMap<Arc<str>, Arc<App>>,
}

impl Apps {
    /// As the admin API lists it.
    pub fn get(&self, name: &str) -> Option<&Arc<App>> {
        self.apps.get(name)
    }

    /// As the query API finds it.
    pub fn served(&self, name: &str) -> Option<&Arc<App>> {
        self.ghosts.get(name).or_else(|| self.apps.get(name))
    }

    /// By name.
    pub fn all(&self) -> impl Iterator<Item = &Arc<App>> {
        self.apps.values()
    }

    pub fn model(&self, name: &str) -> Option<&Arc<Model>> {
        self.models.get(name)
    }

    /// Registered models, by name.
    pub fn models(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Model>)> {
        self.models.iter()
    }

    fn linked_to(&self, model: &str) -> impl Iterator<Item = &Arc<App>> {
        self.apps.values().filter(move |app| app.linked.as_deref() == Some(model))
    }

    #[must_use]
    fn with_model(&self, name: &Arc<str>, change: impl FnOnce(&mut Model)) -> Apps {
        let mut next = self.clone();
        let mut model = next.models.get(name).map(|it| (**it).clone()).unwrap_or_default();
        change(&mut model);
        next.models.insert(name.clone(), Arc::new(model));
        next
    }

    #[must_use]
    fn with_app(&self, app: App) -> Apps {
        let mut next = self.clone();
        next.apps.insert(app.name.clone(), Arc::new(app));
        next
    }
}

/// Shared by every core; written by the control thread alone.
pub type PublishedApps = Arc<ArcSwap<Apps>>;
