//! The files of deployed versions: `<state>/artifacts/<name>/<version>/…`.
//!
//! An archive is unpacked beside them first, as it arrives, and moved into its place when it is whole and on the disk:
//! what lies in a version's place is always all of it. Whatever a dead engine left half-way is removed at the next start.
//! Everything here touches disks: called on threads that may wait.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tar::{Archive, Entry, EntryType};

use super::wanted::Artifact;
use crate::fleet::launch::Place;

/// Files and directories of one version: more than a model has, few enough to be made in a moment.
const ENTRIES_MAX: usize = 10_000;
/// Directories inside each other.
const DEPTH_MAX: usize = 32;
/// The system's own bound on a path is four times this; the directory in front needs some of it.
const PATH_BYTES_MAX: usize = 1024;
/// Read and written at once.
const COPY_BYTES: usize = 64 << 10;

/// Where archives are unpacked; no model's name starts with a dot.
const STAGING: &str = ".staging";

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error(
        "the archive can't be read: {0}; send a tar of the version's directory, as it is or gzipped"
    )]
    Broken(io::Error),
    #[error("the archive holds {0}, which is {1}; it may hold plain files and directories only")]
    Kind(String, &'static str),
    #[error(
        "the archive holds '{0}', which leads out of the version's directory; use relative paths without '..'"
    )]
    Path(String),
    #[error("the archive holds '{0}' twice")]
    Twice(String),
    #[error(
        "the archive holds more than {ENTRIES_MAX} files; leave out what the model doesn't need"
    )]
    TooMany,
    #[error(
        "the archive unpacks to more than {0} bytes; leave out what the model doesn't need, or raise limits.upload_bytes_max"
    )]
    TooLarge(u64),
    #[error("the archive is empty; send a tar of the version's directory")]
    Empty,
    #[error("{path} can't be written: {source}")]
    Write { path: PathBuf, source: io::Error },
}

/// The directory of all of them.
#[derive(Clone, Debug)]
pub struct Artifacts {
    root: PathBuf,
    staged: Arc<AtomicU64>,
}

/// An archive that has been unpacked and lies on the disk. What was not moved into its place goes with it.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    pub artifact: Artifact,
    /// What its containers are, once its settings have been read.
    pub place: Place,
}

impl Artifacts {
    pub fn open(state: &Path) -> io::Result<Artifacts> {
        let root = state.join("artifacts");
        let staging = root.join(STAGING);
        if staging.exists() {
            fs::remove_dir_all(&staging)?;
        }
        // Replicas have users of their own, who must get through.
        DirBuilder::new().recursive(true).mode(0o755).create(&staging)?;
        Ok(Artifacts { root, staged: Arc::default() })
    }

    pub fn of(&self, name: &str, version: u64) -> PathBuf {
        self.root.join(name).join(version.to_string())
    }

    /// Unpacks an archive as it comes. It lies on the disk when this returns.
    pub fn stage(&self, archive: impl Read, bytes_max: u64) -> Result<Staged, ArchiveError> {
        let nth = self.staged.fetch_add(1, Ordering::Relaxed);
        let path = self.root.join(STAGING).join(nth.to_string()).join("1");
        let mut staged = Staged {
            path,
            artifact: Artifact { digest: String::new(), bytes: 0 },
            place: Place::default(),
        };
        let made = DirBuilder::new().recursive(true).mode(0o755).create(&staged.path);
        made.map_err(|source| ArchiveError::Write { path: staged.path.clone(), source })?;
        staged.artifact = unpack(archive, &staged.path, bytes_max)?;
        sync_all(&staged.path)
            .map_err(|source| ArchiveError::Write { path: staged.path.clone(), source })?;
        Ok(staged)
    }

    /// Into its place, durably.
    pub fn keep(&self, staged: Staged, name: &str, version: u64) -> io::Result<PathBuf> {
        let (model, place) = (self.root.join(name), self.of(name, version));
        DirBuilder::new().recursive(true).mode(0o755).create(&model)?;
        fs::rename(&staged.path, &place)?;
        File::open(&model)?.sync_all()?;
        File::open(&self.root)?.sync_all()?;
        Ok(place)
    }

    pub fn remove(&self, name: &str, version: u64) -> io::Result<()> {
        match fs::remove_dir_all(self.of(name, version)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // The model's own directory goes with its last version.
        let _not_empty = fs::remove_dir(self.root.join(name));
        Ok(())
    }

    /// Removes every version that is not wanted: a dead engine was about to.
    pub fn sweep(&self, is_wanted: impl Fn(&str, u64) -> bool) -> io::Result<()> {
        for model in fs::read_dir(&self.root)?.flatten() {
            let name = model.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            for version in fs::read_dir(model.path())?.flatten() {
                let number = version.file_name().to_str().and_then(|text| text.parse().ok());
                if let Some(number) = number.filter(|it| !is_wanted(&name, *it)) {
                    self.remove(&name, number)?;
                }
            }
            let _not_empty = fs::remove_dir(model.path());
        }
        Ok(())
    }
}

impl Staged {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let directory = self.path.parent().unwrap_or(&self.path);
        // What can't be removed now is at the next start.
        let _left = fs::remove_dir_all(directory);
    }
}

/// Every entry is looked at before anything of it is made.
fn unpack(archive: impl Read, into: &Path, bytes_max: u64) -> Result<Artifact, ArchiveError> {
    let mut archive = Archive::new(archive);
    let mut unpacking = Unpacking {
        into,
        bytes_max,
        bytes: 0,
        seen: BTreeSet::new(),
        hasher: DefaultHasher::new(),
    };
    for entry in archive.entries().map_err(ArchiveError::Broken)? {
        unpacking.entry(entry.map_err(ArchiveError::Broken)?)?;
    }
    if unpacking.bytes == 0 {
        return Err(ArchiveError::Empty);
    }
    let digest = format!("{:016x}", unpacking.hasher.finish());
    Ok(Artifact { digest, bytes: unpacking.bytes })
}

struct Unpacking<'p> {
    into: &'p Path,
    bytes_max: u64,
    bytes: u64,
    seen: BTreeSet<PathBuf>,
    hasher: DefaultHasher,
}

impl Unpacking<'_> {
    fn entry<R: Read>(&mut self, mut entry: Entry<'_, R>) -> Result<(), ArchiveError> {
        let kind = entry.header().entry_type();
        // What only says something about the archive.
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let shown = String::from_utf8_lossy(&entry.path_bytes()).chars().take(200).collect();
        let path = entry.path().map_err(ArchiveError::Broken)?.into_owned();
        let path = plain(&path).ok_or(ArchiveError::Path(shown))?;
        if self.seen.len() >= ENTRIES_MAX {
            return Err(ArchiveError::TooMany);
        }
        match kind {
            EntryType::Directory => self.directory(&path),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(&path, &mut entry)
            }
            other => Err(ArchiveError::Kind(path.display().to_string(), kind_name(other))),
        }
    }

    fn directory(&mut self, path: &Path) -> Result<(), ArchiveError> {
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        self.seen.insert(path.to_owned());
        self.make(path)
    }

    fn make(&self, path: &Path) -> Result<(), ArchiveError> {
        let full = self.into.join(path);
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&full)
            .map_err(|source| ArchiveError::Write { path: full, source })
    }

    fn file<R: Read>(&mut self, path: &Path, entry: &mut Entry<'_, R>) -> Result<(), ArchiveError> {
        if path.as_os_str().is_empty() || !self.seen.insert(path.to_owned()) {
            return Err(ArchiveError::Twice(path.display().to_string()));
        }
        if let Some(parent) = path.parent().filter(|it| !it.as_os_str().is_empty()) {
            self.make(parent)?;
        }
        let full = self.into.join(path);
        let failed = |source| ArchiveError::Write { path: full.clone(), source };
        let executable = entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
        let mode = if executable { 0o755 } else { 0o644 };
        let made = OpenOptions::new().write(true).create_new(true).mode(mode).open(&full);
        let mut file = made.map_err(failed)?;
        (path, executable).hash(&mut self.hasher);
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            let count = entry.read(&mut buffer).map_err(ArchiveError::Broken)?;
            if count == 0 {
                break;
            }
            self.bytes += count as u64;
            if self.bytes > self.bytes_max {
                return Err(ArchiveError::TooLarge(self.bytes_max));
            }
            buffer[..count].hash(&mut self.hasher);
            file.write_all(&buffer[..count]).map_err(failed)?;
        }
        // Whatever the umask took away.
        file.set_permissions(fs::Permissions::from_mode(mode)).map_err(failed)?;
        file.sync_all().map_err(failed)
    }
}

/// Relative and without detours; `./a` is `a`.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut found = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => found.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    let fits = found.components().count() <= DEPTH_MAX && found.as_os_str().len() <= PATH_BYTES_MAX;
    fits.then_some(found)
}

fn kind_name(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Symlink | EntryType::Link => "a link",
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a pipe",
        _ => "no file",
    }
}

/// Files were synced as they were written; directories hold their names.
fn sync_all(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_all(&path)?;
        }
    }
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests;
