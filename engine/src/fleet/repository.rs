//! Model repositories: directories laid out as `<name>/<integer version>/…`, read at start and again at run time.
//!
//! Everything here reads disks and may take its time: at run time it is called off the threads that serve.

use std::path::{Path, PathBuf};

use super::cores;
use super::digest;
use super::orders::OrderError;
use super::target::{self, Target, TargetError, directories, read_toml, version_of, versioned};
use crate::classes::Classes;
use crate::ids::{ClassId, Version};

/// Models by whose names an index stays readable; a directory with more is no model repository.
const MODELS_MAX: usize = 10_000;

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

/// Every version of one model that is to be served.
pub fn model(directory: &Path) -> Result<Vec<Target>, TargetError> {
    let settings = directory.join("model.toml");
    let toml = read_toml(&settings)?;
    let versions: Vec<(u64, PathBuf)> = directories(directory)?
        .into_iter()
        .filter_map(|path| Some((version_of(&path)?, path)))
        .collect();
    if versions.is_empty() {
        return Err(TargetError::NoVersion(directory.to_owned()));
    }
    let read = |(version, path): &(u64, PathBuf)| {
        versioned(directory, Version(*version), path, &settings, &toml)
    };
    versions.iter().map(read).collect()
}

impl Repositories {
    /// All versions of a model that is to be loaded now.
    pub fn read(&self, name: &str) -> Result<Vec<Found>, OrderError> {
        let directory = self.directory(name)?;
        let wrong = |why: String| OrderError::Settings { name: name.to_owned(), why };
        let targets = model(&directory).map_err(|error| wrong(error.to_string()))?;
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
        assert_eq!(repositories.read("digits").unwrap().len(), 1);
        for name in ["../outside", "..", "", ".", "digits/../../outside", "a\0b", "_hidden"] {
            let refused = repositories.read(name).unwrap_err();
            assert!(matches!(refused, OrderError::Name { .. }), "{name}: {refused}");
        }
        let absent = repositories.read("outside").unwrap_err();
        assert_eq!(absent, OrderError::NotFound { name: "outside".into() });
        assert_eq!(repositories.names(), ["digits"]);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
