//! The models of the check: a native one and one of PyTorch, each on a device, as repositories in the workplace.

use std::path::PathBuf;

use serde_json::Value;

use super::partition::Apart;
use super::program::said;
use super::serving::{Question, pinned};
use super::site::{Left, Site, Sizes};
use super::step::{Stop, fail};

const TRANSFORMER: &str = include_str!("../../models/transformer.py");
/// Ids of a row, as the transformer declares them.
const TOKENS: u64 = 64;
/// The same of the native model.
const IDS: u64 = 32;

/// Where a model runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Device {
    Cpu,
    Gpu,
}

impl Device {
    pub(super) fn name(self) -> &'static str {
        match self {
            Device::Cpu => "cpu",
            Device::Gpu => "gpu",
        }
    }

    fn in_torch(self) -> &'static str {
        match self {
            Device::Cpu => "cpu",
            Device::Gpu => "cuda",
        }
    }
}

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Model {
    Native,
    PyTorch,
}

impl Model {
    pub(super) fn name(self) -> &'static str {
        match self {
            Model::Native => "embedding",
            Model::PyTorch => "transformer",
        }
    }

    pub(super) fn question(self, rows: u64) -> Question {
        let columns = if self == Model::Native { IDS } else { TOKENS };
        Question::ids(self.name(), rows, columns)
    }

    /// Whether it can be served here at all.
    pub(super) fn is_here(self, site: &Site, sizes: &Sizes, left: Left) -> Result<(), Stop> {
        match self {
            Model::Native => weights(site, sizes, left),
            Model::PyTorch => site.torch().map(|_| ()),
        }
    }

    /// A repository with it alone, on a device; returns its folder in the workplace.
    pub(super) fn repository(
        self,
        site: &Site,
        (device, sizes): (Device, &Sizes),
        apart: &Apart,
    ) -> Result<String, Stop> {
        let repository = format!("{}-{}-{}", self.name(), device.name(), sizes.name);
        let home = format!("{repository}/{}", self.name());
        let (toml, file) = match self {
            Model::Native => (native_toml(device), None),
            Model::PyTorch => (transformer_toml(sizes, device), Some(TRANSFORMER)),
        };
        let toml = format!("{}{toml}", pinned(apart));
        site.workplace.write(&format!("{home}/model.toml"), &toml)?;
        match file {
            Some(text) => site.workplace.write(&format!("{home}/1/model.py"), text)?,
            None => link_weights(site, sizes, &home)?,
        }
        Ok(repository)
    }

    /// What it does in a loop of its own, without an engine.
    pub(super) fn bare(self, site: &Site, run: Bare, left: Left) -> Result<BareFound, Stop> {
        let said = match self {
            Model::Native => native_bare(site, run, left)?,
            Model::PyTorch => transformer_bare(site, run, left)?,
        };
        let number = |name: &str| said[name].as_f64();
        match (number("rows_per_s"), number("p50_us")) {
            (Some(rows_per_s), Some(p50_us)) => Ok(BareFound { rows_per_s, p50_us }),
            _ => Err(fail(format!("the bare loop of {} told no figures: {said}", self.name()))),
        }
    }
}

/// How a bare loop is run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bare {
    pub(super) device: Device,
    pub(super) batch: u64,
    pub(super) seconds: f64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct BareFound {
    pub(super) rows_per_s: f64,
    pub(super) p50_us: f64,
}

const WEIGHTS_FILE: &str = "model.safetensors";
const KIND: &str = "embedding_mlp";
const THREADS: &str = "OMP_NUM_THREADS";
const GPU_MEMORY: &str = "6g";

fn weights_folder(site: &Site, sizes: &Sizes) -> PathBuf {
    site.workplace.file(&format!("weights-{}", sizes.name))
}

/// Makes the native model's weights, once.
fn weights(site: &Site, sizes: &Sizes, left: Left) -> Result<(), Stop> {
    let folder = weights_folder(site, sizes);
    if folder.join(WEIGHTS_FILE).exists() {
        return Ok(());
    }
    std::fs::create_dir_all(&folder).map_err(fail)?;
    let (folder, dim, ids) = (folder.display().to_string(), sizes.dim.to_string(), IDS.to_string());
    let sizes = ["--dim", &dim, "--hidden", sizes.hidden, "--ids", &ids, "--dtype", "i64"];
    let arguments = [&["weights", "--path", &folder], &sizes[..]].concat();
    let said = site.ask("foil-container", &arguments, left)?;
    if said.is_success() { Ok(()) } else { Err(fail(said.complaint())) }
}

/// One file for every repository.
fn link_weights(site: &Site, sizes: &Sizes, home: &str) -> Result<(), Stop> {
    let folder = site.workplace.file(home).join("1");
    std::fs::create_dir_all(&folder).map_err(fail)?;
    let file = folder.join(WEIGHTS_FILE);
    if file.exists() {
        return Ok(());
    }
    std::fs::hard_link(weights_folder(site, sizes).join(WEIGHTS_FILE), file).map_err(fail)
}

fn native_toml(device: Device) -> String {
    format!("runtime = \"native\"\nkind = \"{KIND}\"\n{}", of_device(device))
}

fn transformer_toml(sizes: &Sizes, device: Device) -> String {
    let (layers, width) = (sizes.transformer_layers, sizes.transformer_width);
    let in_torch = device.in_torch();
    format!(
        "{}[parameters]\ndevice = \"{in_torch}\"\nlayers = \"{layers}\"\nwidth = \"{width}\"\n",
        of_device(device)
    )
}

/// Of a GPU it takes what the engine need not know exactly: nobody else is there. On CPUs it has one thread: those of a
/// pool wait for one another, and on cores that others use as well, for these.
fn of_device(device: Device) -> String {
    match device {
        Device::Gpu => format!("device = \"gpu\"\ngpu_memory = \"{GPU_MEMORY}\"\n"),
        Device::Cpu => format!("device = \"cpu\"\n[env]\n{THREADS} = \"1\"\n"),
    }
}

/// What a bare loop is told, as the engine tells a container.
fn variables(site: &Site, device: Device) -> Vec<(&'static str, &str)> {
    match (&site.gpu, device) {
        (Ok(gpu), Device::Gpu) => {
            vec![("FOIL_GPU", &gpu.uuid), ("CUDA_VISIBLE_DEVICES", &gpu.uuid)]
        }
        _ => vec![("CUDA_VISIBLE_DEVICES", ""), (THREADS, "1")],
    }
}

fn native_bare(site: &Site, run: Bare, left: Left) -> Result<Value, Stop> {
    let folder = weights_folder(site, &site.sizes).display().to_string();
    let (batch, seconds) = (run.batch.to_string(), run.seconds.to_string());
    let mut command = site.command(&site.program("foil-container"));
    command.args(["bench", "--kind", KIND, "--path", &folder]);
    command.args(["--batch", &batch, "--seconds", &seconds, "--device", run.device.name()]);
    command.envs(variables(site, run.device));
    let said = said(&mut command, &site.workplace.file(""), left.span())?;
    said.json().ok_or_else(|| fail(said.complaint()))
}

fn transformer_bare(site: &Site, run: Bare, left: Left) -> Result<Value, Stop> {
    site.workplace.write("transformer.py", TRANSFORMER)?;
    let numbers = [
        ("--batch", run.batch.to_string()),
        ("--seconds", run.seconds.to_string()),
        ("--layers", site.sizes.transformer_layers.to_string()),
        ("--width", site.sizes.transformer_width.to_string()),
    ];
    let mut command = site.command(&site.torch()?.file);
    command.arg(site.workplace.file("transformer.py")).args(["--device", run.device.in_torch()]);
    command.envs(variables(site, run.device));
    for (flag, number) in numbers {
        command.args([flag, &number]);
    }
    let said = said(&mut command, &site.workplace.file(""), left.span())?;
    said.json().ok_or_else(|| fail(said.complaint()))
}
