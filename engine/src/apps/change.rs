//! Changes to applications and models: a snapshot and a wish in, the next snapshot or a refusal out. Pure.
//!
//! The refusals are Clipper's, word for word, where it has one; clients compare them.

use std::sync::Arc;

use super::known::Known;
use super::{App, Apps, InputType, Mode, ModelVersion, Runs};
use crate::fleet::catalog::Catalog;
use crate::ids::Version;

/// Applications at most: two orders of magnitude above what Clipper's own tests register, and a bound on memory.
pub const APPS_MAX: usize = 10_000;
/// Registered model versions at most, for the same reason.
pub const MODEL_VERSIONS_MAX: usize = 10_000;
/// Bytes of one name or version text: they stand in paths, metrics and logs.
pub const NAME_BYTES_MAX: usize = 256;
/// Bytes of one default output, which every late answer repeats.
const DEFAULT_OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Bytes of all that is only kept to be listed: labels, container name and data path of one version.
const DESCRIPTION_BYTES_MAX: usize = 16 * 1024;
/// What no name of a model, no version and no label may hold: Clipper joins them by these.
const PROHIBITED: [char; 2] = [',', ':'];

/// One wish.
#[derive(Clone, Debug)]
pub enum Change {
    AddApp(App),
    DeleteApp {
        name: String,
    },
    Link {
        app: String,
        models: Vec<String>,
    },
    Unlink {
        app: String,
        models: Vec<String>,
    },
    AddModel(NewModel),
    SetVersion {
        model: String,
        version: String,
    },
    DeleteModel {
        model: String,
        version: String,
    },
    /// The current version of a model answers now: nobody stands in for it any more.
    Settle {
        model: Arc<str>,
        version: Arc<str>,
    },
}

/// A version to be registered.
#[derive(Clone, Debug)]
pub struct NewModel {
    pub model: String,
    pub version: String,
    pub input_type: InputType,
    pub labels: Vec<String>,
    pub container_name: String,
    pub model_data_path: String,
    /// Clipper's: -1 for learned sizes.
    pub batch_size: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("application '{app}' already exists")]
    AppExists { app: String },
    #[error("Application '{app}' does not exist")]
    AppUnknown { app: String },
    #[error(
        "'{app}' can't be the name of an application; use 1 to {NAME_BYTES_MAX} bytes without '/' and control characters"
    )]
    AppName { app: String },
    #[error(
        "latency_slo_micros is {slo_us}; an application needs an SLO of at least 1 microsecond"
    )]
    Slo { slo_us: i32 },
    #[error("the {what} takes more than {limit} bytes; make it shorter")]
    TooLong { what: &'static str, limit: usize },
    #[error("there are {limit} {what} already, and no more are kept; delete some")]
    TooMany { what: &'static str, limit: usize },
    #[error("No app with name '{app}' exists.")]
    LinkAppUnknown { app: String },
    #[error("No model with name '{model}' exists.")]
    LinkModelUnknown { model: String },
    #[error(
        "Model with name '{model}' has incompatible input_type '{found}'. Requested app to link to has input_type '{wanted}'."
    )]
    LinkType { model: String, found: &'static str, wanted: &'static str },
    #[error(
        "Please provide the name of the model that you want to link to the application '{app}'"
    )]
    LinkNothing { app: String },
    #[error(
        "Applications must be linked with at most one model. Attempted to add links to {count} models."
    )]
    LinkMany { count: usize },
    #[error("The model with name '{model}' is already linked to '{app}'")]
    LinkedSame { model: String, app: String },
    #[error("A model with name {model} is already linked to '{app}'.")]
    LinkedOther { model: Arc<str>, app: String },
    #[error("No application with name '{app}' exists.")]
    NoApplication { app: String },
    #[error("No app with name {app} exists.")]
    UnlinkAppUnknown { app: String },
    #[error("Cannot remove nonexistent link between app {app} and model {model}")]
    NotLinked { app: String, model: String },
    #[error("The batch size must be positive or DEFAULT_BATCH_SIZE, which is -1")]
    BatchSize,
    #[error("Invalid {what} supplied: {text}. Contains one of: ',', ':'")]
    Prohibited { what: &'static str, text: String },
    #[error("model with name '{model}' and version '{version}' already exists")]
    ModelExists { model: String, version: String },
    #[error(
        "Model with name '{model}' is already linked to app '{app}' using input type '{wanted}'. The input type you provided for a new version of the model, '{found}', is not compatible."
    )]
    LinkedType { model: String, app: Arc<str>, wanted: &'static str, found: &'static str },
    #[error("Cannot set version for nonexistent model '{model}'")]
    SetModelUnknown { model: String },
    #[error("Cannot set non-existent version '{version}' for model with name '{model}'")]
    SetVersionUnknown { model: String, version: String },
    #[error("model with name '{model}' and version '{version}' does not exist")]
    ModelUnknown { model: String, version: String },
    #[error(
        "model with name '{model}' and version '{version}' is served by this engine from a file, not registered; take it out of what the engine serves"
    )]
    ModelServed { model: String, version: String },
    /// The containers' side would not have it.
    #[error("{reason}")]
    Containers { reason: String },
    #[error("the engine is shutting down")]
    Stopping,
}

/// What changes are made on.
#[derive(Clone, Copy, Debug)]
pub struct Changing<'s> {
    pub apps: &'s Apps,
    pub catalog: &'s Catalog,
    pub mode: Mode,
}

impl Changing<'_> {
    fn known(&self) -> Known<'_> {
        Known { apps: self.apps, catalog: self.catalog }
    }

    pub fn add_app(&self, app: App) -> Result<Apps, Refused> {
        let name = &*app.name;
        let wrong = |c: char| c == '/' || c.is_control();
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(wrong) {
            return Err(Refused::AppName { app: name.chars().take(64).collect() });
        }
        if self.apps.get(name).is_some() {
            return Err(Refused::AppExists { app: name.to_owned() });
        }
        if app.slo_us < 1 && self.mode == Mode::Sane {
            return Err(Refused::Slo { slo_us: app.slo_us });
        }
        at_most("default output", app.default_output.len(), DEFAULT_OUTPUT_BYTES_MAX)?;
        if self.apps.apps.len() + self.apps.ghosts.len() >= APPS_MAX {
            return Err(Refused::TooMany { what: "applications", limit: APPS_MAX });
        }
        Ok(self.apps.with_app(app))
    }

    pub fn delete_app(&self, name: &str) -> Result<Apps, Refused> {
        let mut next = self.apps.clone();
        let Some(app) = next.apps.remove(name) else {
            return Err(Refused::AppUnknown { app: name.to_owned() });
        };
        if self.mode == Mode::Strict {
            next.ghosts.entry(app.name.clone()).or_insert(app);
        }
        Ok(next)
    }

    pub fn link(&self, app: &str, models: &[String]) -> Result<Apps, Refused> {
        let Some(found) = self.apps.get(app) else {
            return Err(Refused::LinkAppUnknown { app: app.to_owned() });
        };
        models.iter().try_for_each(|model| self.check_link(found, model))?;
        let app = app.to_owned();
        let [model] = models else {
            return Err(match models.len() {
                0 => Refused::LinkNothing { app },
                count => Refused::LinkMany { count },
            });
        };
        match &found.linked {
            None => {}
            Some(linked) if **linked == **model => {
                return Err(Refused::LinkedSame { model: model.clone(), app });
            }
            Some(linked) => return Err(Refused::LinkedOther { model: linked.clone(), app }),
        }
        Ok(self.apps.with_app(App { linked: Some(model.as_str().into()), ..(**found).clone() }))
    }

    /// The model exists and takes what the application is sent.
    fn check_link(&self, app: &App, model: &str) -> Result<(), Refused> {
        let known = self.known();
        let current = known.current(model).and_then(|text| known.version(model, &text));
        let Some(current) = current else {
            return Err(Refused::LinkModelUnknown { model: model.to_owned() });
        };
        if self.suits(app, model, &current) {
            return Ok(());
        }
        let (found, wanted) = (current.input_type.name(), app.input_type.name());
        Err(Refused::LinkType { model: model.to_owned(), found, wanted })
    }

    /// Containers take what they were registered for. A model from a file takes whatever converts to what it declares.
    fn suits(&self, app: &App, model: &str, version: &ModelVersion) -> bool {
        if app.input_type == version.input_type {
            return true;
        }
        let entry = self.catalog.find(model, Some(version.version)).ok();
        let input = entry.and_then(|entry| entry.handle.spec.inputs.first());
        let converts = input.is_some_and(|input| app.input_type.feeds(input.dtype));
        self.mode == Mode::Sane && version.runs == Runs::Engine && converts
    }

    pub fn unlink(&self, app: &str, models: &[String]) -> Result<Apps, Refused> {
        let Some(found) = self.apps.get(app) else {
            return Err(Refused::UnlinkAppUnknown { app: app.to_owned() });
        };
        let stranger = models.iter().find(|model| found.linked.as_deref() != Some(model.as_str()));
        if let Some(model) = stranger {
            return Err(Refused::NotLinked { app: app.to_owned(), model: model.clone() });
        }
        let linked = found.linked.clone().filter(|_| models.is_empty());
        Ok(self.apps.with_app(App { linked, ..(**found).clone() }))
    }

    /// Whether the version may be registered.
    pub fn check_model(&self, new: &NewModel) -> Result<(), Refused> {
        if new.batch_size <= 0 && new.batch_size != -1 {
            return Err(Refused::BatchSize);
        }
        group_text("model name", &new.model)?;
        group_text("model version", &new.version)?;
        new.labels.iter().try_for_each(|label| group_text("label", label))?;
        let labels: usize = new.labels.iter().map(String::len).sum();
        let description = labels + new.container_name.len() + new.model_data_path.len();
        at_most("description of the model", description, DESCRIPTION_BYTES_MAX)?;
        let (model, version) = (new.model.clone(), new.version.clone());
        let registered = self.apps.model(&model);
        if registered.is_some_and(|it| it.versions.contains_key(version.as_str())) {
            return Err(Refused::ModelExists { model, version });
        }
        if self.apps.models().map(|(_, it)| it.versions.len()).sum::<usize>() >= MODEL_VERSIONS_MAX
        {
            return Err(Refused::TooMany { what: "model versions", limit: MODEL_VERSIONS_MAX });
        }
        let mismatch = self.apps.linked_to(&model).find(|app| app.input_type != new.input_type);
        mismatch.map_or(Ok(()), |app| Err(linked_type(&new.model, app, new.input_type)))
    }

    /// A version that [`Changing::check_model`] let pass; it becomes current at once.
    pub fn add_model(&self, new: NewModel, version: Version, runs: Runs) -> Apps {
        let name: Arc<str> = new.model.as_str().into();
        let earlier = self.known().current(&name).filter(|_| self.mode == Mode::Sane);
        let record = ModelVersion {
            text: new.version.into(),
            version,
            input_type: new.input_type,
            labels: new.labels,
            container_name: new.container_name,
            model_data_path: new.model_data_path,
            runs,
        };
        self.apps.with_model(&name, |model| {
            // Of several new ones in a row that can't answer yet, the last that could goes on.
            model.until_ready = model.until_ready.take().or(earlier);
            model.current = Some(record.text.clone());
            model.versions.insert(record.text.clone(), Arc::new(record));
        })
    }

    /// Moves the pointer, at once: whoever rolls back wants no more of the version that is current.
    pub fn set_version(&self, model: &str, version: &str) -> Result<Apps, Refused> {
        let known = self.known();
        if known.versions(model).is_empty() {
            return Err(Refused::SetModelUnknown { model: model.to_owned() });
        }
        let Some(found) = known.version(model, version) else {
            let (model, version) = (model.to_owned(), version.to_owned());
            return Err(Refused::SetVersionUnknown { model, version });
        };
        let mismatch = self.apps.linked_to(model).find(|app| !self.suits(app, model, &found));
        if let Some(app) = mismatch {
            return Err(linked_type(model, app, found.input_type));
        }
        Ok(self.apps.with_model(&model.into(), |model| {
            model.current = Some(found.text.clone());
            model.until_ready = None;
        }))
    }

    /// The record that goes, and what is left.
    pub fn delete_model(
        &self,
        model: &str,
        version: &str,
    ) -> Result<(Arc<ModelVersion>, Apps), Refused> {
        let registered = self.apps.model(model).and_then(|it| it.versions.get(version));
        let Some(record) = registered.cloned() else {
            let served = self.known().version(model, version).is_some();
            let (model, version) = (model.to_owned(), version.to_owned());
            return Err(match served {
                true => Refused::ModelServed { model, version },
                false => Refused::ModelUnknown { model, version },
            });
        };
        let mut next = self.apps.with_model(&model.into(), |model| {
            model.versions.remove(version);
            let gone = |text: &Arc<str>| **text == *version;
            model.current = model.current.take().filter(|text| !gone(text));
            model.until_ready = model.until_ready.take().filter(|text| !gone(text));
        });
        if next.model(model).is_some_and(|it| it.versions.is_empty()) {
            next.models.remove(model);
        }
        Ok((record, next))
    }

    pub fn settle(&self, model: &Arc<str>, version: &str) -> Option<Apps> {
        let found = self.apps.model(model)?;
        let due = found.until_ready.is_some() && found.current.as_deref() == Some(version);
        due.then(|| self.apps.with_model(model, |model| model.until_ready = None))
    }
}

fn linked_type(model: &str, app: &App, found: InputType) -> Refused {
    let (app, wanted) = (app.name.clone(), app.input_type.name());
    Refused::LinkedType { model: model.to_owned(), app, wanted, found: found.name() }
}

fn group_text(what: &'static str, text: &str) -> Result<(), Refused> {
    at_most(what, text.len(), NAME_BYTES_MAX)?;
    if text.contains(PROHIBITED) {
        return Err(Refused::Prohibited { what, text: text.to_owned() });
    }
    Ok(())
}

fn at_most(what: &'static str, bytes: usize, limit: usize) -> Result<(), Refused> {
    if bytes > limit { Err(Refused::TooLong { what, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
