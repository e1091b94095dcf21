//! What a deployment consists of: a TARGET and its flags become the files of one version and its `model.toml`.
//!
//! Only names, sizes and small texts are read here; what the files hold is read when they are packed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::cli::fleet::Deploy;

mod directory;
mod name;
mod settings;

use self::directory::Found;

/// As many as the engine takes.
const FILES_MAX: usize = 10_000;

#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("'{0}' does not exist; give a Python file, or a directory with a model")]
    Missing(String),
    #[error(
        "'{0}' is neither a Python file nor a directory; give model.py, model.py:Class or a directory with a model"
    )]
    NotPython(String),
    #[error(
        "{0} holds no model: put a model.py there, or a model.toml that names one with entry = \"file.py:Class\" or runtime = \"native\""
    )]
    NoModel(PathBuf),
    #[error(
        "{0} is a repository of several models; deploy them one by one, as in `foil deploy {0}/{1}`"
    )]
    Repository(PathBuf, String),
    #[error(
        "the model in {0} has a name that can't be told from its text; give --name, or FILE:Class"
    )]
    NoName(String),
    #[error("give --name: the model can't be named after '{0}'")]
    Unnamed(String),
    #[error(
        "{0} holds more than {FILES_MAX} files, or directories too deep; deploy the model's own files only"
    )]
    TooMany(PathBuf),
    #[error("two files would be {0} beside the model; rename one of them")]
    Twice(PathBuf),
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}: {why}")]
    Settings { path: PathBuf, why: String },
    #[error("an image runs in Docker; leave --launcher process out")]
    ImageWithoutDocker,
}

/// The files of one version.
#[derive(Debug)]
pub(super) struct Bundle {
    pub(super) name: String,
    pub(super) files: Vec<Packed>,
}

#[derive(Debug, PartialEq)]
pub(super) struct Packed {
    /// In the archive.
    pub(super) path: PathBuf,
    pub(super) content: Content,
}

#[derive(Debug, PartialEq)]
pub(super) enum Content {
    File { path: PathBuf, bytes: u64 },
    Text(String),
}

impl Bundle {
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|it| it.content.bytes()).sum()
    }
}

impl Content {
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Content::File { bytes, .. } => *bytes,
            Content::Text(text) => text.len() as u64,
        }
    }
}

/// What a TARGET, or an image alone, is before the flags change it.
struct Source {
    name: String,
    /// Its model.toml, and where that lies.
    settings: Option<PathBuf>,
    entry: Option<String>,
    files: Vec<Packed>,
}

/// The files that `foil deploy` sends.
pub(super) fn gather(flags: &Deploy) -> Result<Bundle, BundleError> {
    if flags.image.is_some() && flags.launcher.as_deref() == Some("process") {
        return Err(BundleError::ImageWithoutDocker);
    }
    let source = match flags.target.as_deref() {
        Some(target) if Path::new(target).is_dir() => {
            directory::source(Path::new(target), flags.name.is_some())?
        }
        Some(target) => file(target, flags.name.as_deref())?,
        None => image(flags.image.as_deref().unwrap_or_default(), flags.name.as_deref())?,
    };
    let toml = settings::amended(&source, flags)?;
    let mut files = source.files;
    for path in &flags.with {
        files.extend(beside(path)?);
    }
    for (path, as_name) in [(&flags.sample, "sample.json"), (&flags.expected, "expected.json")] {
        if let Some(path) = path {
            files.retain(|it| it.path != Path::new(as_name));
            files.push(packed(path, as_name.into())?);
        }
    }
    files.push(Packed { path: "model.toml".into(), content: Content::Text(toml) });
    files.sort_by(|a, b| a.path.cmp(&b.path));
    check(&files, flags)?;
    Ok(Bundle { name: flags.name.clone().unwrap_or(source.name), files })
}

fn check(files: &[Packed], flags: &Deploy) -> Result<(), BundleError> {
    if let Some(twice) = files.windows(2).find(|two| two[0].path == two[1].path) {
        return Err(BundleError::Twice(twice[0].path.clone()));
    }
    if files.len() > FILES_MAX {
        return Err(BundleError::TooMany(flags.target.clone().unwrap_or_default().into()));
    }
    Ok(())
}

fn file(target: &str, given: Option<&str>) -> Result<Source, BundleError> {
    let (file, class) = match target.rsplit_once(':') {
        Some((file, class)) if !class.contains('/') => (file, Some(class)),
        _ => (target, None),
    };
    let path = Path::new(file);
    if !path.is_file() {
        return Err(BundleError::Missing(target.to_owned()));
    }
    let file_name = path.file_name().and_then(|it| it.to_str()).filter(|it| it.ends_with(".py"));
    let file_name = file_name.ok_or_else(|| BundleError::NotPython(target.to_owned()))?;
    let name = match (given, class) {
        (Some(name), _) => name.to_owned(),
        (None, Some(class)) => name::snake_case(class),
        (None, None) => name::of_the_only_model(&text(path)?)
            .ok_or_else(|| BundleError::NoName(target.to_owned()))?,
    };
    let entry = class.map_or(file_name.to_owned(), |class| format!("{file_name}:{class}"));
    let files = vec![packed(path, file_name.into())?];
    Ok(Source { name, settings: None, entry: Some(entry), files })
}

/// An image that brings its own program: nothing but its name is sent.
fn image(image: &str, given: Option<&str>) -> Result<Source, BundleError> {
    let name = given.map(ToOwned::to_owned).or_else(|| name::of_image(image));
    let name = name.ok_or_else(|| BundleError::Unnamed(image.to_owned()))?;
    Ok(Source { name, settings: None, entry: None, files: Vec::new() })
}

/// What `--with` adds: a file by its name, a directory with all that is in it.
fn beside(path: &Path) -> Result<Vec<Packed>, BundleError> {
    let missing = || BundleError::Missing(path.display().to_string());
    let name = path.canonicalize().map_err(|_| missing())?;
    let name = name.file_name().map(PathBuf::from).ok_or_else(missing)?;
    if !path.is_dir() {
        return Ok(vec![packed(path, name)?]);
    }
    let inside = directory::walk(path)?;
    inside.into_iter().map(|Found { path, inside }| packed(&path, name.join(inside))).collect()
}

fn packed(path: &Path, name: PathBuf) -> Result<Packed, BundleError> {
    let bytes = fs::metadata(path).map_err(unreadable(path))?.len();
    Ok(Packed { path: name, content: Content::File { path: path.to_owned(), bytes } })
}

fn text(path: &Path) -> Result<String, BundleError> {
    fs::read_to_string(path).map_err(unreadable(path))
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> BundleError {
    move |source| BundleError::Read { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
