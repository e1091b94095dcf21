//! Where the check runs: the programs carried along, this machine's Python, GPU, CPUs and kind of shared memory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use serde::{Deserialize, Serialize};

use super::Args;
use super::program::{Said, said};
use super::step::{Stop, fail, skip};
use crate::clock::{Clock, nanos};
use crate::overhead::OverheadError;
use crate::overhead::servers::Workplace;
use crate::threads::allowed;

/// Importing PyTorch from a cold disk.
const PYTHON_WAIT: Duration = Duration::from_secs(60);
const NVIDIA_SMI_WAIT: Duration = Duration::from_secs(20);

/// Says what of this Python matters here. PyTorch brings CUDA's libraries with it, in folders that the loader doesn't know.
const LOOK: &str = "import glob, json, sys\n\
    found = {'version': '%d.%d.%d' % sys.version_info[:3], 'file': sys.executable, 'problem': None,\n\
        'torch': None, 'torch_sees': None, 'torch_problem': None, 'libraries': []}\n\
    found['libraries'] = sorted({d for p in sys.path for d in glob.glob(p + '/nvidia/*/lib')})\n\
    try:\n    import hydrofoil\nexcept Exception as error:\n    found['problem'] = repr(error)\n\
    try:\n    import torch\n    found['torch'] = torch.__version__\n\
    \x20   found['torch_sees'] = torch.cuda.get_device_name() if torch.cuda.is_available() else None\n\
    except Exception as error:\n    found['torch_problem'] = repr(error)\n\
    print(json.dumps(found))\n";

/// What a step may still take.
#[derive(Clone, Copy)]
pub(super) struct Left {
    pub(super) clock: Clock,
    pub(super) ends_ns: u64,
}

impl Left {
    pub(super) fn span(self) -> Duration {
        Duration::from_nanos(self.ends_ns.saturating_sub(self.clock.now_ns()))
    }

    /// The sooner of this and so much from now.
    pub(super) fn within(self, limit: Duration) -> Left {
        let ends_ns = self.ends_ns.min(self.clock.now_ns() + nanos(limit));
        Left { ends_ns, ..self }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Python {
    pub(super) version: String,
    pub(super) file: PathBuf,
    /// Why it can't serve models.
    pub(super) problem: Option<String>,
    pub(super) torch: Option<String>,
    /// The GPU's name, as PyTorch has it.
    pub(super) torch_sees: Option<String>,
    /// Why there is none.
    pub(super) torch_problem: Option<String>,
    /// Folders with CUDA's libraries.
    pub(super) libraries: Vec<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Gpu {
    pub(super) uuid: String,
    pub(super) name: String,
    pub(super) driver: String,
}

pub(super) struct Site {
    pub(super) bundle: PathBuf,
    pub(super) workplace: Workplace,
    pub(super) python: Result<Python, String>,
    /// The first one, or why there is none.
    pub(super) gpu: Result<Gpu, String>,
    /// As `foil serve --lane` has it, and why.
    pub(super) lane: (&'static str, String),
    pub(super) cpus: Vec<usize>,
    /// The same by the physical core that they share.
    pub(super) cores: Vec<Vec<usize>>,
    /// Of the models whose speed is measured.
    pub(super) sizes: Sizes,
}

/// How large the models are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Sizes {
    pub(super) name: &'static str,
    /// Of the native model.
    pub(super) hidden: &'static str,
    pub(super) dim: u32,
    pub(super) transformer_layers: u32,
    pub(super) transformer_width: u32,
}

impl Sizes {
    /// A CPU answers it within milliseconds.
    pub(super) const SMALL: Sizes = Sizes {
        name: "small",
        hidden: "256,256",
        dim: 64,
        transformer_layers: 1,
        transformer_width: 32,
    };
    /// On a GPU batches of 64 take milliseconds, as those of models that are worth one do; on a CPU seconds.
    const LARGE: Sizes = Sizes {
        name: "large",
        hidden: "8192,8192,8192",
        dim: 1024,
        transformer_layers: 12,
        transformer_width: 768,
    };
}

impl Site {
    pub(super) fn look(args: &Args) -> Result<Site, OverheadError> {
        let workplace = Workplace::create()?;
        let mut site = Site {
            bundle: args.bundle.clone(),
            python: Err("not looked at".to_owned()),
            gpu: gpu(&workplace),
            lane: lane(),
            cores: cores(&allowed()),
            cpus: allowed(),
            sizes: Sizes::SMALL,
            workplace,
        };
        if site.gpu.is_ok() && !args.small {
            site.sizes = Sizes::LARGE;
        }
        site.python = site.look_at_python(&args.python);
        Ok(site)
    }

    fn look_at_python(&self, python: &Path) -> Result<Python, String> {
        let mut look = Command::new(python);
        look.args(["-c", LOOK]).envs(self.environment(&[]));
        let said = said(&mut look, &self.workplace.file(""), PYTHON_WAIT);
        let said = said.map_err(|error| error.to_string())?;
        let found = said.json().ok_or_else(|| said.complaint())?;
        serde_json::from_value(found).map_err(|error| error.to_string())
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.bundle.join("bin").join(name)
    }

    /// What our programs need of the environment to find the Python package, and CUDA's libraries.
    fn environment(&self, libraries: &[PathBuf]) -> [(&'static str, OsString); 2] {
        let package = vec![self.bundle.join("python")];
        let packages = package.into_iter().chain(folders_in("PYTHONPATH"));
        // What is named already is meant to be found first.
        let libraries = folders_in("LD_LIBRARY_PATH").into_iter().chain(libraries.to_vec());
        let joined = |folders: Vec<PathBuf>| std::env::join_paths(folders).unwrap_or_default();
        [
            ("PYTHONPATH", joined(packages.collect())),
            ("LD_LIBRARY_PATH", joined(libraries.collect())),
        ]
    }

    /// A command with what our programs need of the environment.
    pub(super) fn command(&self, program: &Path) -> Command {
        let libraries = self.python.as_ref().map_or(&[][..], |python| &python.libraries);
        let mut command = Command::new(program);
        command.envs(self.environment(libraries));
        command
    }

    /// What one of our programs says.
    pub(super) fn ask(&self, name: &str, arguments: &[&str], left: Left) -> Result<Said, Stop> {
        let mut command = self.command(&self.program(name));
        Ok(said(command.args(arguments), &self.workplace.file(""), left.span())?)
    }

    /// A Python that serves models.
    pub(super) fn python(&self) -> Result<&Python, Stop> {
        let python = self.python.as_ref().map_err(|why| skip(format!("no Python: {why}")))?;
        match &python.problem {
            Some(problem) => Err(fail(format!("this Python does not import hydrofoil: {problem}"))),
            None => Ok(python),
        }
    }

    /// A Python that serves models of PyTorch.
    pub(super) fn torch(&self) -> Result<&Python, Stop> {
        let python = self.python()?;
        if python.torch.is_some() {
            return Ok(python);
        }
        let (file, why) = (python.file.display(), python.torch_problem.as_deref());
        Err(skip(format!("{file} has no PyTorch: {}", why.unwrap_or_default())))
    }

    pub(super) fn gpu(&self) -> Result<&Gpu, Stop> {
        self.gpu.as_ref().map_err(|why| skip(format!("no GPU: {why}")))
    }
}

fn folders_in(variable: &str) -> Vec<PathBuf> {
    std::env::var_os(variable).iter().flat_map(std::env::split_paths).collect()
}

fn gpu(workplace: &Workplace) -> Result<Gpu, String> {
    let fields = ["--query-gpu=uuid,name,driver_version", "--format=csv,noheader"];
    let mut command = Command::new("nvidia-smi");
    let said = said(command.args(fields), &workplace.file(""), NVIDIA_SMI_WAIT);
    let said = said.map_err(|error| error.to_string())?;
    first_gpu(&said.out).ok_or_else(|| said.complaint())
}

fn first_gpu(list: &str) -> Option<Gpu> {
    let mut fields = list.lines().next()?.split(", ").map(|field| field.trim().to_owned());
    let uuid = fields.next().filter(|uuid| uuid.starts_with("GPU-"))?;
    Some(Gpu { uuid, name: fields.next()?, driver: fields.next()? })
}

/// A CPU that says nothing of siblings has a core of its own.
fn cores(cpus: &[usize]) -> Vec<Vec<usize>> {
    let mut by_core: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for cpu in cpus {
        let file = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        let core = std::fs::read_to_string(file).unwrap_or_else(|_| cpu.to_string());
        by_core.entry(core).or_default().push(*cpu);
    }
    let mut cores: Vec<Vec<usize>> = by_core.into_values().collect();
    cores.sort();
    cores
}

/// Old kernels, and sandboxes that play one, seal no files.
fn lane() -> (&'static str, String) {
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let sealed = memfd_create("gpu-check", flags)
        .and_then(|fd| ftruncate(&fd, 4096).and_then(|()| fcntl_add_seals(&fd, seals)));
    match sealed {
        Ok(()) => ("auto", "this kernel seals memory".to_owned()),
        Err(error) => ("posix", format!("this kernel does not seal memory: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cpu_belongs_to_one_core() {
        let cpus = allowed();
        let mut found = cores(&cpus).concat();
        found.sort_unstable();
        assert_eq!(found, cpus);
        assert_eq!(cores(&[90_001, 90_002]), [[90_001], [90_002]], "nothing is known of them");
    }

    #[test]
    fn a_gpu_is_read_from_the_first_line() {
        let list = "GPU-1f, NVIDIA H100 80GB HBM3, 580.159.04\nGPU-2, other, 1\n";
        let gpu = first_gpu(list).expect("one");
        assert_eq!((gpu.uuid.as_str(), gpu.name.as_str()), ("GPU-1f", "NVIDIA H100 80GB HBM3"));
        assert_eq!(gpu.driver, "580.159.04");
        assert_eq!(first_gpu("No devices were found\n"), None);
        assert_eq!(first_gpu(""), None);
    }
}
