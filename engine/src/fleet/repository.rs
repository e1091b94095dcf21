//! Model repositories: directories laid out as `<name>/<integer version>/…`, read at start and again at run time.
//!
//! Everything here reads disks and may take its time: at run time it is called off the threads that serve.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cores;
use super::digest;
use super::orders::OrderError;
use super::target::{self, Target, TargetError, directories, read_toml, version_of, versioned};
use super::triton;
use crate::classes::Classes;
use crate::ids::{ClassId, Version};
use crate::triton_config::{self, TritonConfig};

/// Models by whose names an index stays readable; a directory with more is no model repository.
const MODELS_MAX: usize = 10_000;

/// A model's configuration as Triton has it.
const CONFIG: &str = "config.pbtxt";

/// Where models are looked for at run time.
#[derive(Clone, Debug, Default)]
pub struct Repositories {
    pub roots: Vec<PathBuf>,
    pub classes: Classes,
    /// CPUs of this process, which a model's settings may name.
    pub cpus: Vec<usize>,
}

/// One model version as its files have it now.
#[derive(Clone, Debug)]
pub struct Found {
    pub target: Target,
    pub class: ClassId,
    /// Of its files: equal where nothing has changed.
    pub digest: u64,
}

/// Every model of the repository.
pub fn models(root: &Path) -> Result<Vec<PathBuf>, TargetError> {
    let mut models = directories(root)?;
    models.truncate(MODELS_MAX);
    Ok(models)
}

/// Every version of one model that is to be served. `config` stands in for its config.pbtxt, as JSON.
pub fn model(directory: &Path, config: Option<&str>) -> Result<Vec<Target>, TargetError> {
    let settings = directory.join("model.toml");
    let mut toml = read_toml(&settings)?;
    let mut versions: Vec<(Version, PathBuf)> = directories(directory)?
        .into_iter()
        .filter_map(|path| Some((Version(version_of(&path)?), path)))
        .collect();
    if versions.is_empty() {
        return Err(TargetError::NoVersion(directory.to_owned()));
    }
    let path = directory.join(CONFIG);
    let config = configuration(&path, config)?;
    if let Some(config) = &config {
        let wrong = |error| TargetError::TritonModel { path: path.clone(), error };
        triton::merge(&mut toml, config, directory, triton::gpus()).map_err(wrong)?;
        let there = versions.iter().map(|(version, _)| *version).collect();
        let served = triton::versions(config, there).map_err(wrong)?;
        versions.retain(|(version, _)| served.contains(version));
        toml.parameters.extend(config.parameters.clone());
    }
    let read = |(version, path): &(Version, PathBuf)| {
        versioned(directory, *version, path, &settings, &toml, config.clone())
    };
    versions.iter().map(read).collect()
}

/// In place of the file where one is given; what has no effect is said.
fn configuration(
    path: &Path,
    given: Option<&str>,
) -> Result<Option<Arc<TritonConfig>>, TargetError> {
    let read = match given {
        Some(json) => triton_config::from_json(json),
        None if !path.exists() => return Ok(None),
        None => {
            let wrong = |source| TargetError::Read { path: path.to_owned(), source };
            triton_config::from_text(&std::fs::read_to_string(path).map_err(wrong)?)
        }
    };
    let config = read.map_err(|fault| TargetError::Triton { path: path.to_owned(), fault })?;
    for warning in &config.warnings {
        tracing::warn!("{}: {warning}", path.display());
    }
    Ok(Some(Arc::new(config)))
}

impl Repositories {
    /// All versions of a model that is to be loaded now.
    pub fn read(&self, name: &str, config: Option<&str>) -> Result<Vec<Found>, OrderError> {
        let directory = self.directory(name)?;
        let wrong = |why: String| OrderError::Settings { name: name.to_owned(), why };
        let targets = model(&directory, config).map_err(|error| wrong(error.to_string()))?;
        cores::check(&targets, &self.cpus).map_err(|error| wrong(error.to_string()))?;
        let found = |target: Target| {
            let class = target::class_of(&target, &self.classes);
            let class = class.map_err(|error| wrong(error.to_string()))?;
            Ok(Found { class, digest: digest::of_files(&target.program), target })
        };
        targets.into_iter().map(found).collect()
    }

    /// The model's directory: of a plain name, so that no name leads out of the repository.
    fn directory(&self, name: &str) -> Result<PathBuf, OrderError> {
        let plain = !name.is_empty()
            && !name.starts_with(['.', '_'])
            && !name.contains(['/', '\\', '\0'])
            && name.len() <= NAME_BYTES_MAX;
        if !plain {
            let shown = name.chars().take(NAME_CHARS_SHOWN).collect();
            return Err(OrderError::Name { name: shown });
        }
        let mut places = self.roots.iter().map(|root| root.join(name));
        places.find(|path| path.is_dir()).ok_or_else(|| OrderError::NotFound { name: name.into() })
    }

    /// Whether what lies there is a version of that model.
    pub fn hold(&self, name: &str, version: &Path) -> bool {
        self.roots.iter().any(|root| version.starts_with(root.join(name)))
    }

    /// The names of all that could be loaded.
    pub fn names(&self) -> Vec<String> {
        let found = self.roots.iter().flat_map(|root| models(root).unwrap_or_default());
        let name = |path: PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let mut names: Vec<String> = found.filter_map(name).collect();
        names.sort();
        names.dedup();
        names
    }

    /// What tells cheaply whether a model may have changed.
    pub fn stamp(&self, name: &str) -> u64 {
        self.directory(name).map_or(0, |directory| digest::stamp(&directory))
    }
}

/// The system's own bound on a file's name.
const NAME_BYTES_MAX: usize = 255;
/// Of a name that is none.
const NAME_CHARS_SHOWN: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_repository() {
        let root = std::env::temp_dir().join(format!("foil-names-{}", std::process::id()));
        std::fs::create_dir_all(root.join("inside/digits/1")).unwrap();
        std::fs::write(root.join("inside/digits/1/model.py"), "").unwrap();
        std::fs::create_dir_all(root.join("outside/1")).unwrap();
        std::fs::write(root.join("outside/1/model.py"), "").unwrap();
        let repositories =
            Repositories { roots: vec![root.join("inside")], ..Repositories::default() };
        assert_eq!(repositories.read("digits", None).unwrap().len(), 1);
        for name in ["../outside", "..", "", ".", "digits/../../outside", "a\0b", "_hidden"] {
            let refused = repositories.read(name, None).unwrap_err();
            assert!(matches!(refused, OrderError::Name { .. }), "{name}: {refused}");
        }
        let absent = repositories.read("outside", None).unwrap_err();
        assert_eq!(absent, OrderError::NotFound { name: "outside".into() });
        assert_eq!(repositories.names(), ["digits"]);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
