//! All models an application can be linked to: those that were registered, and those that this engine serves from files.
//!
//! A model of the catalog that nobody registered has its number for a version text, and the newest is current.

use std::collections::BTreeSet;
use std::sync::Arc;

use schemas::lifecycle::ModelSpec;

use super::{App, Apps, InputType, ModelVersion, Runs};
use crate::fleet::catalog::{Catalog, ModelEntry, ModelState};
use crate::ids::Version;

/// Both snapshots at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Known<'s> {
    pub apps: &'s Apps,
    pub catalog: &'s Catalog,
}

/// A model version as the admin API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownVersion {
    pub model: Arc<str>,
    pub record: Arc<ModelVersion>,
    pub is_current: bool,
}

/// An application's link does not lead to what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownVersion {
    pub model: Arc<str>,
}

/// Who is to answer.
#[derive(Clone, Debug)]
pub struct Chosen<'s> {
    pub entry: &'s ModelEntry,
    pub text: Arc<str>,
    /// The current version can answer while an earlier one was to stand in for it until then.
    pub settles: bool,
}

/// Shown for models that no container runs.
const NO_CONTAINER: &str = "NO_CONTAINER";

impl<'s> Known<'s> {
    /// The model version behind an application; None when no model is linked or nobody serves it.
    pub fn choose(
        self,
        app: &App,
        requested: Option<&str>,
    ) -> Result<Option<Chosen<'s>>, UnknownVersion> {
        let Some(model) = &app.linked else { return Ok(None) };
        if let Some(text) = requested {
            let found = self.version(model, text);
            let found = found.ok_or_else(|| UnknownVersion { model: model.clone() })?;
            return Ok(self.chosen(model, &found));
        }
        let Some(current) = self.current(model) else { return Ok(None) };
        let chosen = self.version(model, &current).and_then(|found| self.chosen(model, &found));
        let stand_in = self.apps.model(model).and_then(|it| it.until_ready.as_deref());
        let Some(stand_in) = stand_in else { return Ok(chosen) };
        if let Some(chosen) = chosen.clone().filter(|it| it.entry.state == ModelState::Ready) {
            return Ok(Some(Chosen { settles: true, ..chosen }));
        }
        let earlier = self.version(model, stand_in).and_then(|found| self.chosen(model, &found));
        Ok(earlier.filter(|it| it.entry.state == ModelState::Ready).or(chosen))
    }

    fn chosen(self, model: &str, version: &ModelVersion) -> Option<Chosen<'s>> {
        let entry = self.catalog.find(model, Some(version.version)).ok()?;
        Some(Chosen { entry, text: version.text.clone(), settles: false })
    }

    /// The version text that answers a model's questions.
    pub fn current(self, model: &str) -> Option<Arc<str>> {
        if let Some(registered) = self.apps.model(model).filter(|it| !it.versions.is_empty()) {
            return registered.current.clone();
        }
        let pointer = self.apps.model(model).and_then(|it| it.current.clone());
        pointer.or_else(|| self.served_alone(model).last().map(|it| it.text.clone()))
    }

    pub fn version(self, model: &str, text: &str) -> Option<Arc<ModelVersion>> {
        let registered = self.apps.model(model).and_then(|it| it.versions.get(text).cloned());
        registered.or_else(|| self.served_alone(model).into_iter().find(|it| *it.text == *text))
    }

    /// Every version of a model, registered or served from a file.
    pub fn versions(self, model: &str) -> Vec<Arc<ModelVersion>> {
        let registered = self.apps.model(model).into_iter().flat_map(|it| it.versions.values());
        registered.cloned().chain(self.served_alone(model)).collect()
    }

    /// Every version of every model, by name.
    pub fn all(self) -> Vec<KnownVersion> {
        let served = self.catalog.entries().into_iter().map(|entry| entry.handle.name.clone());
        let names: BTreeSet<_> =
            self.apps.models().map(|(name, _)| name.clone()).chain(served).collect();
        let of = |model: Arc<str>| {
            let current = self.current(&model);
            self.versions(&model).into_iter().map(move |record| {
                let is_current = current.as_ref() == Some(&record.text);
                KnownVersion { model: model.clone(), record, is_current }
            })
        };
        names.into_iter().flat_map(of).collect()
    }

    /// Versions in the catalog that no registered one stands for, in ascending order.
    fn served_alone(self, model: &str) -> Vec<Arc<ModelVersion>> {
        let registered = |version: Version| {
            let versions = self.apps.model(model).map(|it| it.versions.values());
            versions.into_iter().flatten().any(|it| it.version == version)
        };
        let alone = self.catalog.versions(model).filter(|&version| !registered(version));
        let entries = alone.filter_map(|version| self.catalog.find(model, Some(version)).ok());
        entries.filter_map(|entry| served(entry.handle.version, &entry.handle.spec)).collect()
    }
}

/// How a model that is served from a file shows; None when it has no input that an application could send.
fn served(version: Version, spec: &ModelSpec) -> Option<Arc<ModelVersion>> {
    let [input] = spec.inputs.as_slice() else { return None };
    Some(Arc::new(ModelVersion {
        text: version.to_string().into(),
        version,
        input_type: InputType::of_dtype(input.dtype)?,
        labels: Vec::new(),
        container_name: NO_CONTAINER.into(),
        model_data_path: String::new(),
        runs: Runs::Engine,
    }))
}
