//! Directories with a model: a version's own, or one of a repository, `<name>/<integer version>/…`.

use std::fs;
use std::path::{Path, PathBuf};

use super::{BundleError, FILES_MAX, Source, packed, unreadable};

/// Deeper than models lie; a link to a directory above ends here.
const DEPTH_MAX: usize = 32;

const MODEL_FILE: &str = "model.py";
const SETTINGS: &str = "model.toml";
/// Any of them says that a directory is a version's own.
const MARKS: [&str; 3] = [MODEL_FILE, SETTINGS, "config.pbtxt"];

/// A file below a directory.
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// From the directory on.
    pub(super) inside: PathBuf,
}

pub(super) fn source(given: &Path, is_named: bool) -> Result<Source, BundleError> {
    let directory = given.canonicalize().map_err(unreadable(given))?;
    match versions(&directory)?.last() {
        Some((_, newest)) => of_repository(&directory, newest),
        None if number(&directory).is_some() && !is_named => {
            let model = directory.parent().unwrap_or(&directory).to_owned();
            of_repository(&model, &directory)
        }
        None => of_one_version(&directory),
    }
}

/// The sub-directories that are integers, in their order.
fn versions(of: &Path) -> Result<Vec<(u64, PathBuf)>, BundleError> {
    let inside = entries(of)?.into_iter().filter(|path| path.is_dir());
    let mut found: Vec<_> = inside.filter_map(|path| Some((number(&path)?, path))).collect();
    found.sort();
    Ok(found)
}

fn entries(of: &Path) -> Result<Vec<PathBuf>, BundleError> {
    let read = fs::read_dir(of).and_then(|found| found.map(|it| Ok(it?.path())).collect());
    read.map_err(unreadable(of))
}

fn number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.parse().ok()
}

/// The version's files, and what its model keeps beside its versions: settings, labels.
fn of_repository(model: &Path, version: &Path) -> Result<Source, BundleError> {
    let mut source = of_one_version(version).or_else(|error| match error {
        // The settings beside the versions may say what runs it.
        BundleError::NoModel(_) if MARKS.iter().any(|mark| model.join(mark).is_file()) => {
            files_of(version, None)
        }
        error => Err(error),
    })?;
    source.name = name_of(model)?;
    for path in entries(model)? {
        let Some(name) = path.file_name().map(PathBuf::from) else { continue };
        let is_there = source.files.iter().any(|it| it.path == name);
        if name == Path::new(SETTINGS) {
            source.settings.get_or_insert(path);
        } else if path.is_file() && !is_hidden(&name) && !is_there {
            source.files.push(packed(&path, name)?);
        }
    }
    Ok(source)
}

fn of_one_version(directory: &Path) -> Result<Source, BundleError> {
    if MARKS.iter().any(|mark| directory.join(mark).is_file()) {
        return files_of(directory, None);
    }
    let mut programs = Vec::new();
    for path in entries(directory)? {
        let is_program = path.is_file() && path.extension().is_some_and(|it| it == "py");
        programs.extend(path.file_name().filter(|_| is_program).map(PathBuf::from));
    }
    match &programs[..] {
        [only] => files_of(directory, Some(only.display().to_string())),
        _ => Err(no_model(directory)),
    }
}

/// Says more where the directory is a whole repository.
fn no_model(directory: &Path) -> BundleError {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut models = entries.filter(|it| versions(&it.path()).is_ok_and(|found| !found.is_empty()));
    match models.next() {
        Some(model) => {
            let name = model.file_name().display().to_string();
            BundleError::Repository(directory.to_owned(), name)
        }
        None => BundleError::NoModel(directory.to_owned()),
    }
}

fn files_of(directory: &Path, entry: Option<String>) -> Result<Source, BundleError> {
    let mut source = Source { name: name_of(directory)?, settings: None, entry, files: Vec::new() };
    for Found { path, inside } in walk(directory)? {
        if inside == Path::new(SETTINGS) {
            source.settings = Some(path);
        } else {
            source.files.push(packed(&path, inside)?);
        }
    }
    Ok(source)
}

fn name_of(directory: &Path) -> Result<String, BundleError> {
    let name = directory.file_name().and_then(|it| it.to_str());
    name.map(ToOwned::to_owned).ok_or_else(|| BundleError::Unnamed(directory.display().to_string()))
}

/// Every file below, in order. Links are followed: the archive holds what they lead to.
pub(super) fn walk(root: &Path) -> Result<Vec<Found>, BundleError> {
    let mut files = Vec::new();
    let mut open = vec![(root.to_owned(), PathBuf::new(), 0)];
    while let Some((directory, inside, depth)) = open.pop() {
        for path in entries(&directory)? {
            let Some(name) = path.file_name().map(PathBuf::from) else { continue };
            if is_hidden(&name) {
                continue;
            }
            if path.is_dir() {
                open.push((path, inside.join(name), depth + 1));
            } else if path.is_file() {
                files.push(Found { path, inside: inside.join(name) });
            }
        }
        if files.len() + open.len() > FILES_MAX || depth > DEPTH_MAX {
            return Err(BundleError::TooMany(root.to_owned()));
        }
    }
    files.sort_by(|a, b| a.inside.cmp(&b.inside));
    Ok(files)
}

/// No part of a model: what version control, editors and Python leave behind.
fn is_hidden(name: &Path) -> bool {
    let text = name.to_string_lossy();
    text.starts_with('.') || text == "__pycache__" || text.ends_with(".pyc")
}
