//! What the command line names: Python files and model repositories, turned into models to start.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::autoscale::Bounds;
use super::device_groups::{DeviceGroupError, DeviceGroups};
use super::launch::Place;
use super::repository;
use super::triton::TritonError;
use crate::batch::fixed::FixedBatches;
use crate::classes::{ClassError, Classes};
use crate::config::{ConfigError, ModelToml, duration, parse};
use crate::ids::{ClassId, Version};
use crate::labels::{Labels, LabelsError};
use crate::triton_config::{ConfigFault, TritonConfig};

mod containers;

/// Native models that `foil-container` carries.
const NATIVE_KINDS: [&str; 6] = ["linear", "embedding_mlp", "echo", "noop", "sleep", "timed"];

/// One model version to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Given, or the directory's; else what the container declares.
    pub name: Option<Arc<str>>,
    pub version: Version,
    pub program: Program,
    /// Overrides for what the model declares, as JSON for the container.
    pub settings: String,
    pub env: Vec<(String, String)>,
    /// Where its replicas run.
    pub devices: DeviceGroups,
    /// The SLO class of requests that name none, by name.
    pub class: Option<String>,
    /// What the classes of its outputs are called.
    pub labels: Labels,
    /// Batches of a fixed size; None: learned ones.
    pub fixed_batches: Option<FixedBatches>,
    /// Its replicas run synthetic batches before they are live.
    pub warm_up: bool,
    /// Requests that may wait; None: as many as the engine's limits say.
    pub queue_tasks_max: Option<usize>,
    /// Between how many replicas the engine chooses by the load; None: as many as are declared.
    pub scale: Option<Bounds>,
    /// Its config.pbtxt.
    pub config: Option<Arc<TritonConfig>>,
    /// What its containers are.
    pub place: Place,
}

/// What runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// `file.py` or `file.py:Class`, the file absolute.
    Python {
        target: String,
    },
    Native {
        kind: String,
        directory: PathBuf,
    },
    /// Whatever its image runs, with the version's directory at hand.
    Entrypoint {
        directory: PathBuf,
    },
    /// An executable of any language that speaks the C ABI, started in its version's directory.
    Executable {
        file: PathBuf,
        directory: PathBuf,
    },
}

impl Target {
    /// With what is set for the deployed model in place of what its version says.
    #[must_use]
    pub fn with_settings(mut self, slo: Option<&str>) -> Target {
        // Written by `overrides`.
        let mut settings: serde_json::Value =
            serde_json::from_str(&self.settings).unwrap_or_default();
        if let Some(slo) = slo {
            settings["slo"] = slo.into();
        }
        self.settings = settings.to_string();
        self
    }

    /// For messages before the model's own name is known.
    pub fn label(&self) -> String {
        match (&self.name, &self.program) {
            (Some(name), _) => format!("{name} v{}", self.version),
            (None, Program::Python { target }) => target.clone(),
            (None, program) => program.home().0.display().to_string(),
        }
    }
}

/// Rows for the warm-up, as the body of an inference request.
const SAMPLE: &str = "sample.json";
/// The variable with a model's parameters.
const PARAMETERS: &str = "FOIL_PARAMETERS";
/// A Python model in its version's directory.
const MODEL_FILE: &str = "model.py";

/// Of `file.py:Class`.
pub(super) fn python_file(target: &str) -> &Path {
    Path::new(split_class(target).0)
}

fn split_class(target: &str) -> (&str, Option<&str>) {
    match target.rsplit_once(':') {
        Some((file, class)) if !class.contains('/') => (file, Some(class)),
        _ => (target, None),
    }
}

impl Program {
    /// The directory it lies in, and its file where only that one belongs to it: what else lies beside a single file may
    /// be anything.
    pub fn home(&self) -> (PathBuf, Option<PathBuf>) {
        match self {
            Program::Native { directory, .. }
            | Program::Executable { directory, .. }
            | Program::Entrypoint { directory } => (directory.clone(), None),
            Program::Python { target } => {
                let file = python_file(target).to_owned();
                let directory = file.parent().unwrap_or(Path::new(".")).to_owned();
                let versioned = version_of(&directory).is_some();
                (directory, (!versioned).then_some(file))
            }
        }
    }

    /// Where a sample of its inputs may lie: beside a file of several, under that file's name too.
    pub fn samples(&self) -> Vec<PathBuf> {
        let (directory, alone) = self.home();
        let named = alone.map(|file| file.with_extension(SAMPLE));
        named.into_iter().chain([directory.join(SAMPLE)]).collect()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("'{0}' does not exist; give a Python file or a model repository directory")]
    Missing(String),
    #[error("'{0}' is neither a Python file (.py) nor a directory")]
    NotPython(String),
    #[error("the repository {0} holds no model; lay it out as <name>/<integer version>/model.py")]
    EmptyRepository(PathBuf),
    #[error("--load-model {0}: no repository has it, nor does a file target go by that name")]
    NoSuchModel(String),
    #[error("{0} holds no version; put the model in a directory named by an integer, as in 1/")]
    NoVersion(PathBuf),
    #[error("{0} holds neither model.py nor, in model.toml, runtime = \"native\" or \"program\"")]
    NoModel(PathBuf),
    #[error("{path}: {message}")]
    Setting { path: PathBuf, message: String },
    #[error("{path}: {fault}")]
    Triton { path: PathBuf, fault: ConfigFault },
    #[error("{path}: {error}")]
    TritonModel { path: PathBuf, error: TritonError },
    #[error(
        "{0} is written for Triton's python backend (class TritonPythonModel); write a class with @hydrofoil.model whose \
         predict(self, x: foil.f32[\"n\", 4]) -> foil.f32[\"n\"] takes and returns whole batches, and load(self, ctx) in place \
         of initialize()"
    )]
    TritonPython(PathBuf),
    #[error("{path}: {error}")]
    Labels { path: PathBuf, error: LabelsError },
    #[error("{path}: {error}")]
    Devices { path: PathBuf, error: DeviceGroupError },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
}

/// Which models of the repositories are loaded when the engine starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    All,
    /// Those that are there now: others may come later.
    Present,
    Named(Vec<String>),
}

/// A deployed version: its directory with a model.toml of its own, whose keys are those of a repository.
pub fn deployed(name: &str, version: Version, directory: &Path) -> Result<Target, TargetError> {
    let settings = directory.join("model.toml");
    let toml = read_toml(&settings)?;
    let target = versioned(directory, version, directory, &settings, &toml, None)?;
    Ok(Target { name: Some(name.into()), ..target })
}

/// Every model version named by `targets`. `name` goes with a single one.
pub fn resolve(
    targets: &[String],
    name: Option<&str>,
    wanted: &Wanted,
) -> Result<Vec<Target>, TargetError> {
    let mut found = Vec::new();
    for target in targets {
        if Path::new(target).is_dir() {
            found.extend(repository(Path::new(target), wanted)?);
        } else {
            found.push(file(target)?);
        }
    }
    if let Wanted::Named(names) = wanted {
        let is_there = |name: &String| found.iter().any(|it| it.name.as_deref() == Some(name));
        if let Some(missing) = names.iter().find(|name| !is_there(name)) {
            return Err(TargetError::NoSuchModel(missing.clone()));
        }
    }
    if let Some(name) = name {
        found.iter_mut().for_each(|target| target.name = Some(name.into()));
    }
    Ok(found)
}

/// Those of `targets` that are model repositories.
pub fn repositories(targets: &[String]) -> Vec<PathBuf> {
    let roots = targets.iter().map(PathBuf::from).filter(|path| path.is_dir());
    roots.filter_map(|root| root.canonicalize().ok()).collect()
}

/// The class of requests that name none.
pub fn class_of(target: &Target, classes: &Classes) -> Result<ClassId, ClassError> {
    classes.of_model(&target.label(), target.class.as_deref())
}

fn file(target: &str) -> Result<Target, TargetError> {
    let (file, class) = split_class(target);
    if !Path::new(file).exists() {
        return Err(TargetError::Missing(file.to_owned()));
    }
    if !file.ends_with(".py") {
        return Err(TargetError::NotPython(file.to_owned()));
    }
    let file = absolute(Path::new(file))?;
    let class = class.map_or(String::new(), |class| format!(":{class}"));
    Ok(Target {
        name: None,
        version: Version(1),
        program: Program::Python { target: format!("{}{class}", file.display()) },
        settings: "{}".into(),
        env: Vec::new(),
        devices: DeviceGroups::one(None),
        class: None,
        labels: Labels::default(),
        fixed_batches: None,
        warm_up: true,
        queue_tasks_max: None,
        scale: None,
        config: None,
        place: Place::default(),
    })
}

fn repository(root: &Path, wanted: &Wanted) -> Result<Vec<Target>, TargetError> {
    let mut targets = Vec::new();
    for model in repository::models(root)? {
        let name = model.file_name().unwrap_or_default().to_string_lossy();
        let is_wanted = match wanted {
            Wanted::All | Wanted::Present => true,
            Wanted::Named(names) => names.iter().any(|wanted| *wanted == name),
        };
        if is_wanted {
            targets.extend(repository::model(&model, None)?);
        }
    }
    if targets.is_empty() && *wanted == Wanted::All {
        return Err(TargetError::EmptyRepository(root.to_owned()));
    }
    Ok(targets)
}

pub(super) fn version_of(directory: &Path) -> Option<u64> {
    directory.file_name()?.to_str()?.parse().ok()
}

pub(super) fn versioned(
    model: &Path,
    version: Version,
    directory: &Path,
    settings: &Path,
    toml: &ModelToml,
    config: Option<Arc<TritonConfig>>,
) -> Result<Target, TargetError> {
    check(settings, toml)?;
    let directory = absolute(directory)?;
    let place = containers::place(settings, toml)?;
    let (file, class) = split_class(containers::entry(settings, toml)?);
    let file = directory.join(file);
    let program = match (toml.runtime.as_deref(), &toml.kind) {
        (Some("program"), _) if toml.program.is_none() && place.image.is_some() => {
            Program::Entrypoint { directory }
        }
        (Some("program"), _) => executable(settings, &directory, toml)?,
        (Some("native"), Some(kind)) => Program::Native { kind: kind.clone(), directory },
        _ if file.exists() => python(&file, class)?,
        _ if toml.entry.is_some() => return Err(TargetError::Missing(file.display().to_string())),
        _ => return Err(TargetError::NoModel(directory)),
    };
    let name = model.file_name().map(|name| name.to_string_lossy().as_ref().into());
    let env = toml.env.clone().into_iter().chain(parameters(toml)).collect();
    let devices = DeviceGroups::read(toml)
        .map_err(|error| TargetError::Devices { path: settings.to_owned(), error })?;
    let labels = Labels::read(model, &toml.labels)
        .map_err(|error| TargetError::Labels { path: settings.to_owned(), error })?;
    let (class, fixed_batches) = (toml.class.clone(), fixed_batches(settings, toml)?);
    let scale = bounds(settings, toml)?;
    let (settings, warm_up) = (overrides(toml, &devices), toml.warm_up.unwrap_or(true));
    let queue_tasks_max = toml.queue_tasks_max.map(|tasks| tasks as usize);
    Ok(Target {
        name,
        version,
        program,
        settings,
        env,
        devices,
        class,
        labels,
        fixed_batches,
        warm_up,
        queue_tasks_max,
        scale,
        config,
        place,
    })
}

/// A model of ours: Triton's have the same file's name.
fn python(file: &Path, class: Option<&str>) -> Result<Program, TargetError> {
    const THEIRS: &[u8] = b"class TritonPythonModel";
    // What can't be read is for the container to say.
    let text = std::fs::read(file).unwrap_or_default();
    if text.windows(THEIRS.len()).any(|words| words == THEIRS) {
        return Err(TargetError::TritonPython(file.to_owned()));
    }
    let class = class.map_or(String::new(), |class| format!(":{class}"));
    Ok(Program::Python { target: format!("{}{class}", file.display()) })
}

/// For the container's environment, as one JSON object.
fn parameters(toml: &ModelToml) -> Option<(String, String)> {
    let text = serde_json::json!(toml.parameters).to_string();
    (!toml.parameters.is_empty()).then(|| (PARAMETERS.to_owned(), text))
}

fn fixed_batches(path: &Path, toml: &ModelToml) -> Result<Option<FixedBatches>, TargetError> {
    let Some(fixed) = &toml.fixed_batches else { return Ok(None) };
    if fixed.size == 0 {
        let message = "fixed_batches.size is 0; a batch holds at least one row".into();
        return Err(TargetError::Setting { path: path.to_owned(), message });
    }
    let delay = fixed.delay.as_deref().map(duration).transpose()?.unwrap_or_default();
    Ok(Some(FixedBatches { size: fixed.size.into(), delay }))
}

/// Replicas that the engine may choose between.
fn bounds(path: &Path, toml: &ModelToml) -> Result<Option<Bounds>, TargetError> {
    let wrong = |message: String| TargetError::Setting { path: path.to_owned(), message };
    let Some(max) = toml.replicas_max else {
        return match toml.replicas_min {
            None => Ok(None),
            Some(_) => Err(wrong("replicas_min needs replicas_max beside it".into())),
        };
    };
    if toml.replicas.is_some() || toml.devices.is_some() {
        let message =
            "replicas_max goes without replicas and [[devices]]: the engine chooses".into();
        return Err(wrong(message));
    }
    let bounds = Bounds::new(toml.replicas_min.unwrap_or(1), max);
    bounds.map(Some).map_err(|error| wrong(error.to_string()))
}

/// The executable named in model.toml, relative to the version's directory.
fn executable(settings: &Path, directory: &Path, toml: &ModelToml) -> Result<Program, TargetError> {
    let wrong = |message: String| TargetError::Setting { path: settings.to_owned(), message };
    let name = toml.program.as_ref();
    let name = name.ok_or_else(|| {
        wrong("runtime = \"program\" needs program = \"<file in the version's directory>\"".into())
    })?;
    let file = directory.join(name);
    let mode = std::fs::metadata(&file).map(|it| if it.is_file() { it.mode() } else { 0 });
    match mode {
        Ok(mode) if mode & 0o111 != 0 => {
            Ok(Program::Executable { file, directory: directory.to_owned() })
        }
        Ok(_) => Err(wrong(format!("{} is no executable file; chmod +x it", file.display()))),
        Err(error) => Err(wrong(format!("program {} can't be found: {error}", file.display()))),
    }
}

/// What can't work is refused by name, never ignored.
fn check(path: &Path, toml: &ModelToml) -> Result<(), TargetError> {
    let wrong = |message: String| Err(TargetError::Setting { path: path.to_owned(), message });
    for text in [&toml.slo, &toml.batch_timeout].into_iter().flatten() {
        duration(text)?;
    }
    match (toml.runtime.as_deref(), toml.kind.as_deref()) {
        (None | Some("python"), None) if toml.program.is_some() => {
            wrong("program goes with runtime = \"program\"".into())
        }
        (Some("program"), None) => Ok(()),
        (None | Some("python"), None) => Ok(()),
        (Some("native"), Some(kind)) if NATIVE_KINDS.contains(&kind) => Ok(()),
        (Some("native"), kind) => {
            wrong(format!("kind is {kind:?}; a native model is one of {NATIVE_KINDS:?}"))
        }
        (None | Some("python"), Some(_)) => wrong("kind goes with runtime = \"native\"".into()),
        (Some(other), _) => {
            wrong(format!("runtime '{other}' does not exist; use python, native or program"))
        }
    }
}

/// The settings that the container merges into its declaration.
fn overrides(toml: &ModelToml, devices: &DeviceGroups) -> String {
    let least = toml.replicas_max.map(|_| toml.replicas_min.unwrap_or(1));
    let settings = serde_json::json!({
        "max_batch": toml.max_batch,
        "slo": toml.slo,
        "late": toml.late,
        "batch_timeout": toml.batch_timeout,
        "replicas": toml.replicas.or(devices.replicas()).or(least),
        "pad": toml.pad,
    });
    settings.to_string()
}

pub(super) fn read_toml(path: &Path) -> Result<ModelToml, TargetError> {
    if !path.exists() {
        return Ok(ModelToml::default());
    }
    let text = std::fs::read_to_string(path)
        .map_err(|source| TargetError::Read { path: path.to_owned(), source })?;
    Ok(parse(path, &text)?)
}

/// Sub-directories in order; hidden ones and Python's caches are none of ours.
pub(super) fn directories(of: &Path) -> Result<Vec<PathBuf>, TargetError> {
    let read = |source| TargetError::Read { path: of.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(of).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !name.starts_with(['.', '_']) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn absolute(path: &Path) -> Result<PathBuf, TargetError> {
    path.canonicalize().map_err(|source| TargetError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
