//! Latency profiles on disk: what a model's batches took in earlier lives, one small file per digest.
//!
//! A file is written whole and renamed, so a reader sees an old one or a new one. What can't be read, or is of another
//! format, is said once and ignored: everything in here can be learned again. Files of models that are gone are removed
//! by age once there are many.

use std::fs::{self, DirBuilder};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::dispatch::{Bucket, LearnedProfile};
use crate::ids::{DeviceClass, Version};

/// Raised when a field changes its meaning.
const FORMAT: u32 = 1;

/// Profiles kept: more than one machine serves at a time, or they would push each other out; some 20 MiB at most.
const FILES_MAX: usize = 1024;

/// A profile takes some tens of kilobytes; what is larger is none.
const FILE_BYTES_MAX: u64 = 1 << 20;

const DIRECTORY: &str = "profiles";
const SUFFIX: &str = ".json";

/// What a profile is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub model: String,
    pub version: Version,
    /// See [`super::digest`].
    pub digest: u64,
}

impl Key {
    /// The model's name may be anything; a file's may not.
    fn file_name(&self) -> String {
        const NAME_CHARS_MAX: usize = 64;
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let name: String = self.model.chars().take(NAME_CHARS_MAX).map(plain).collect();
        format!("{name}-v{}-{:016x}{SUFFIX}", self.version, self.digest)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    format: u32,
    /// For whoever looks.
    model: String,
    classes: Vec<StoredClass>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredClass {
    device: u8,
    batches: u32,
    buckets: Vec<StoredBucket>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredBucket {
    cost: f64,
    mean_us: f64,
    weight: f64,
}

#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} is no latency profile: {reason}")]
    Content { path: PathBuf, reason: String },
    #[error("{path} is of format {found}, this engine's is {FORMAT}")]
    Format { path: PathBuf, found: u32 },
}

/// The directory that holds them.
#[derive(Clone, Debug)]
pub struct Profiles {
    directory: PathBuf,
}

impl Profiles {
    /// Makes it where it is missing, for its owner alone.
    pub fn open(state: &Path) -> Result<Profiles, ProfileError> {
        let directory = state.join(DIRECTORY);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        made.map_err(io_error(&directory))?;
        Ok(Profiles { directory })
    }

    /// What is stored for this key; nothing where there is none.
    pub fn read(&self, key: &Key) -> Result<Vec<(DeviceClass, Vec<Bucket>)>, ProfileError> {
        let path = self.directory.join(key.file_name());
        let mut text = String::new();
        match fs::File::open(&path) {
            Ok(file) => file.take(FILE_BYTES_MAX).read_to_string(&mut text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => Err(error),
        }
        .map_err(io_error(&path))?;
        let stored = parse(&path, &text)?;
        let class = |it: &StoredClass| {
            let buckets = it.buckets.iter().map(StoredBucket::bucket).collect();
            (DeviceClass(it.device), buckets)
        };
        Ok(stored.classes.iter().map(class).collect())
    }

    /// Replaces what is stored for this key.
    pub fn write(&self, key: &Key, learned: &[LearnedProfile]) -> Result<(), ProfileError> {
        let path = self.directory.join(key.file_name());
        let half = path.with_extension(format!("{}.tmp", std::process::id()));
        fs::write(&half, encode(key, learned)).map_err(io_error(&half))?;
        fs::rename(&half, &path).map_err(io_error(&path))?;
        self.remove_oldest().map_err(io_error(&self.directory))
    }

    /// Down to the bound. What vanishes meanwhile was removed by another engine. Half-written files of engines that
    /// were killed count and age like the others.
    fn remove_oldest(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)?.flatten() {
            if let Ok(modified) = entry.metadata().and_then(|about| about.modified()) {
                files.push((modified, entry.path()));
            }
        }
        files.sort();
        for (_, path) in &files[..files.len().saturating_sub(FILES_MAX)] {
            let _gone = fs::remove_file(path);
        }
        Ok(())
    }
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> ProfileError {
    move |source| ProfileError::Io { path: path.to_owned(), source }
}

fn encode(key: &Key, learned: &[LearnedProfile]) -> Vec<u8> {
    let class = |it: &LearnedProfile| StoredClass {
        device: it.device.0,
        batches: it.batches,
        buckets: it.buckets.iter().map(StoredBucket::new).collect(),
    };
    let model = format!("{} v{}", key.model, key.version);
    let stored = Stored { format: FORMAT, model, classes: learned.iter().map(class).collect() };
    serde_json::to_vec(&stored).expect("numbers and texts have a JSON form")
}

fn parse(path: &Path, text: &str) -> Result<Stored, ProfileError> {
    /// Read first: another format may have other fields.
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let no_profile = |error: serde_json::Error| ProfileError::Content {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let Head { format: found } = serde_json::from_str(text).map_err(no_profile)?;
    if found != FORMAT {
        return Err(ProfileError::Format { path: path.to_owned(), found });
    }
    serde_json::from_str(text).map_err(no_profile)
}

impl StoredBucket {
    fn new(bucket: &Bucket) -> StoredBucket {
        let Bucket { weight, cost, service } = *bucket;
        StoredBucket { cost, mean_us: service / 1e3, weight }
    }

    fn bucket(&self) -> Bucket {
        Bucket { weight: self.weight, cost: self.cost, service: self.mean_us * 1e3 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct State(PathBuf);

    impl State {
        fn new(name: &str) -> State {
            State(std::env::temp_dir().join(format!("foil-state-{}-{name}", std::process::id())))
        }

        fn profiles(&self) -> Profiles {
            Profiles::open(&self.0).unwrap()
        }
    }

    impl Drop for State {
        fn drop(&mut self) {
            let _left = fs::remove_dir_all(&self.0);
        }
    }

    fn key(model: &str, digest: u64) -> Key {
        Key { model: model.into(), version: Version(3), digest }
    }

    fn learned(service: f64) -> Vec<LearnedProfile> {
        let buckets = vec![
            Bucket { weight: 2.0, cost: 1.0, service },
            Bucket { weight: 24.0, cost: 8.5, service: 4.0 * service },
        ];
        vec![LearnedProfile { device: DeviceClass(1), batches: 40, buckets }]
    }

    #[test]
    fn what_is_written_is_read_by_the_same_key_only() {
        let state = State::new("round-trip");
        let profiles = state.profiles();
        profiles.write(&key("digits", 7), &learned(1e6)).unwrap();
        profiles.write(&key("digits", 7), &learned(2e6)).unwrap();
        let expected = vec![(DeviceClass(1), learned(2e6)[0].buckets.clone())];
        assert_eq!(state.profiles().read(&key("digits", 7)).unwrap(), expected);
        assert!(profiles.read(&key("digits", 8)).unwrap().is_empty());
        assert!(profiles.read(&key("other", 7)).unwrap().is_empty());
        assert_eq!(
            fs::read_dir(state.0.join(DIRECTORY)).unwrap().count(),
            1,
            "nothing half-written"
        );
    }

    #[test]
    fn a_name_can_not_lead_out_of_the_directory() {
        assert_eq!(key("../a/ö", 255).file_name(), "___a__-v3-00000000000000ff.json");
    }

    #[test]
    fn broken_and_foreign_files_are_told_apart_from_missing_ones() {
        let state = State::new("broken");
        let profiles = state.profiles();
        let path = state.0.join(DIRECTORY).join(key("m", 1).file_name());
        let said = |text: &str| {
            fs::write(&path, text).unwrap();
            profiles.read(&key("m", 1)).unwrap_err().to_string()
        };
        assert!(said("{\"format\": 1, \"model\"").contains("no latency profile"));
        assert!(said("{\"format\": 2, \"rows\": {}}").contains("format 2"));
        assert!(said("{\"format\": 1}").contains("model"));
    }

    #[test]
    fn the_oldest_make_room() {
        let state = State::new("bound");
        let profiles = state.profiles();
        let file = |digest| state.0.join(DIRECTORY).join(key("m", digest).file_name());
        (0..FILES_MAX as u64 + 3).for_each(|digest| fs::write(file(digest), "{}").unwrap());
        let newest = u64::MAX;
        profiles.write(&key("m", newest), &[]).unwrap();
        assert_eq!(fs::read_dir(state.0.join(DIRECTORY)).unwrap().count(), FILES_MAX);
        assert!(file(newest).exists() && !file(0).exists());
    }
}
