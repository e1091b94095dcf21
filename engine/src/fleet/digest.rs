//! A number for what makes a model as fast as it is: its files, how it runs, the machine it runs on.
//!
//! Equal numbers mean that an earlier life's latency profile is worth starting from. A wrong guess costs little: a
//! profile is checked against the warm-up and gives way to what is observed. So the hash need not resist anybody, and
//! a standard library with another hash only means that profiles are learned anew.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use schemas::lifecycle::ModelSpec;

use super::launch::process::kept_environment;
use super::target::{Program, Target};

/// Bytes read of one file: all of a program, the start of weights, whose length and age stand for the rest.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Bytes read of one model. A start waits for it: some 50 ms from memory.
const MODEL_BYTES_MAX: u64 = 64 << 20;
/// Files looked at, and directories below the version's: more than a model has.
const FILES_MAX: usize = 4096;
const DEPTH_MAX: usize = 8;

/// Where Linux says which processor this is.
const CPUINFO: &str = "/proc/cpuinfo";

/// Of everything that decides how long the model's batches take.
pub fn of(target: &Target, spec: &ModelSpec, lane: &str, cpus_available: usize) -> u64 {
    let mut hasher = DefaultHasher::new();
    files(&target.program, &mut hasher);
    (&spec.platform, format!("{:?} {:?}", spec.inputs, spec.outputs)).hash(&mut hasher);
    (spec.batched, spec.max_batch, spec.replicas, spec.pad, spec.decoupled).hash(&mut hasher);
    (&target.env, format!("{:?}", target.devices), kept_environment()).hash(&mut hasher);
    (lane, cpus_available, processor()).hash(&mut hasher);
    hasher.finish()
}

/// Of the files alone: whether a model is still the one that was loaded.
pub fn of_files(program: &Program) -> u64 {
    let mut hasher = DefaultHasher::new();
    files(program, &mut hasher);
    hasher.finish()
}

/// Of names, lengths and times in a model's directory: equal, and nothing has been written there. No file is read.
pub fn stamp(directory: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut found = Vec::new();
    walk(directory, directory, 0, &mut found);
    for (name, path) in found {
        let about = fs::metadata(&path);
        let about = about.and_then(|about| Ok((about.len(), about.modified()?)));
        (name, about.map_err(|error| error.kind())).hash(&mut hasher);
    }
    hasher.finish()
}

/// The processor's name; empty where the system does not tell.
fn processor() -> String {
    let about = fs::read_to_string(CPUINFO).unwrap_or_default();
    about.lines().find(|line| line.starts_with("model name")).unwrap_or_default().to_owned()
}

fn files(program: &Program, hasher: &mut DefaultHasher) {
    let mut left = MODEL_BYTES_MAX;
    for (name, path) in listed(program) {
        name.hash(hasher);
        // A file that can't be read is one more difference, and none of this one's business.
        if let Err(error) = file(&path, &mut left, hasher) {
            error.kind().hash(hasher);
        }
    }
}

/// What belongs to the model, by its name inside the model: the one file, or the version's directory.
fn listed(program: &Program) -> Vec<(PathBuf, PathBuf)> {
    let (root, alone) = program.home();
    if let Some(file) = alone {
        return vec![(PathBuf::new(), file)];
    }
    let mut found = Vec::new();
    walk(&root, &root, 0, &mut found);
    found.sort();
    found
}

/// Hidden files and what Python's compiler leaves change without the model. A link to a directory may lead in circles.
fn walk(root: &Path, directory: &Path, depth: usize, found: &mut Vec<(PathBuf, PathBuf)>) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().take(FILES_MAX);
    let mut entries: Vec<_> = entries.map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || name == "__pycache__" || found.len() >= FILES_MAX {
            continue;
        }
        if !path.is_dir() {
            found.push((path.strip_prefix(root).unwrap_or(&path).to_owned(), path));
        } else if depth < DEPTH_MAX && !path.is_symlink() {
            walk(root, &path, depth + 1, found);
        }
    }
}

fn file(path: &Path, left: &mut u64, hasher: &mut DefaultHasher) -> io::Result<()> {
    let about = fs::metadata(path)?;
    about.len().hash(hasher);
    let wanted = about.len().min(FILE_BYTES_MAX).min(*left);
    if !about.is_file() || wanted < about.len() {
        about.modified()?.hash(hasher);
    }
    if about.is_file() {
        let mut start = Vec::new();
        *left -= File::open(path)?.take(wanted).read_to_end(&mut start)? as u64;
        start.hash(hasher);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::device_groups::DeviceGroups;
    use crate::ids::Version;
    use schemas::lifecycle::Late;

    struct Model(PathBuf);

    impl Model {
        fn new(name: &str) -> Model {
            let path =
                std::env::temp_dir().join(format!("foil-digest-{}-{name}", std::process::id()));
            fs::create_dir_all(path.join("sub")).unwrap();
            fs::write(path.join("model.py"), "first").unwrap();
            fs::write(path.join("sub/weights"), vec![1; 1000]).unwrap();
            Model(path)
        }

        fn digest(&self) -> u64 {
            digest(&self.target(), &spec())
        }

        fn target(&self) -> Target {
            Target {
                name: None,
                version: Version(1),
                program: Program::Native { kind: "noop".into(), directory: self.0.clone() },
                settings: "{}".into(),
                env: Vec::new(),
                devices: DeviceGroups::one(None),
                class: None,
                labels: Default::default(),
                fixed_batches: None,
                warm_up: true,
                queue_tasks_max: None,
                scale: None,
                config: None,
                place: Default::default(),
            }
        }
    }

    impl Drop for Model {
        fn drop(&mut self) {
            let _left = fs::remove_dir_all(&self.0);
        }
    }

    fn spec() -> ModelSpec {
        ModelSpec {
            name: "m".into(),
            platform: "native".into(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            batched: true,
            max_batch: 8,
            slo_us: None,
            late: Late::Serve,
            batch_timeout_us: 1,
            replicas: 1,
            pad: false,
            decoupled: false,
        }
    }

    fn digest(target: &Target, spec: &ModelSpec) -> u64 {
        of(target, spec, "memfd", 2)
    }

    #[test]
    fn is_the_same_until_a_file_of_the_model_changes() {
        let model = Model::new("files");
        let before = model.digest();
        fs::create_dir_all(model.0.join("__pycache__")).unwrap();
        fs::write(model.0.join("__pycache__/model.pyc"), "compiled").unwrap();
        fs::write(model.0.join(".lock"), "").unwrap();
        assert_eq!(model.digest(), before, "what is left behind by a run does not count");
        fs::write(model.0.join("sub/weights"), vec![2; 1000]).unwrap();
        let other = model.digest();
        assert_ne!(other, before);
        fs::rename(model.0.join("model.py"), model.0.join("main.py")).unwrap();
        assert_ne!(model.digest(), other);
    }

    #[test]
    fn differs_where_the_model_runs_otherwise() {
        let model = Model::new("settings");
        let (target, before) = (model.target(), model.digest());
        let devices = DeviceGroups::one(Some(vec![1]));
        let pinned = Target { devices, ..target.clone() };
        let threads =
            Target { env: vec![("OMP_NUM_THREADS".into(), "4".into())], ..target.clone() };
        assert_ne!(digest(&pinned, &spec()), before);
        assert_ne!(digest(&threads, &spec()), before);
        assert_ne!(digest(&target, &ModelSpec { max_batch: 16, ..spec() }), before);
        assert_ne!(of(&target, &spec(), "memfd", 4), before, "more CPUs");
        let slower = ModelSpec { slo_us: Some(9), ..spec() };
        assert_eq!(digest(&target, &slower), before, "an SLO makes no batch faster");
    }

    #[test]
    fn a_file_target_is_that_file_alone() {
        let model = Model::new("alone");
        let target = format!("{}:Digits", model.0.join("model.py").display());
        let target = Target { program: Program::Python { target }, ..model.target() };
        let before = digest(&target, &spec());
        fs::write(model.0.join("neighbour.py"), "another model").unwrap();
        assert_eq!(digest(&target, &spec()), before);
        fs::write(model.0.join("model.py"), "second").unwrap();
        assert_ne!(digest(&target, &spec()), before);
    }
}
