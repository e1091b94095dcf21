//! What the doctor looks at. Every look ends within its own bound; together they take a second where nothing hangs.

use std::path::Path;
use std::time::Duration;

use shm_rpc::Memory;

use self::programs::{Python, Toolkit};
use crate::cli::host::Doctor;
use crate::fleet::devices::linux;
use crate::fleet::devices::nvml::{self, NoGpus, Survey};
use crate::fleet::launch::Advice;
use crate::fleet::launch::docker::{Docker, Gear, Settings};

pub(super) mod machine;
pub(super) mod ports;
pub(super) mod programs;

/// For Docker to describe itself; it takes some milliseconds.
const DOCKER_WAIT: Duration = Duration::from_secs(5);

pub(super) struct Facts {
    /// Our own version.
    pub(super) foil: String,
    pub(super) host: String,
    /// As in `6.8.0-31-generic`.
    pub(super) kernel: String,
    pub(super) io_uring: machine::IoUring,
    /// What lanes are made of here, and why not of sealed memory.
    pub(super) lane: (Memory, Option<String>),
    /// Bytes of /dev/shm; None where there is none.
    pub(super) shared_bytes: Option<u64>,
    /// Bytes that a process may pin; None: no limit.
    pub(super) memlock_bytes: Option<u64>,
    /// Descriptors that a process may have open; None: no limit.
    pub(super) open_files: Option<u64>,
    pub(super) cgroups: machine::Cgroups,
    pub(super) docker: Result<Gear, NoDocker>,
    /// NVIDIA's cards on the PCI bus, whether a driver knows them or not.
    pub(super) cards: usize,
    pub(super) gpus: Result<Survey, NoGpus>,
    pub(super) toolkit: Toolkit,
    pub(super) ports: Vec<ports::Looked>,
    pub(super) python: Python,
}

#[derive(Debug)]
pub(super) struct NoDocker {
    pub(super) what: String,
    pub(super) mend: String,
}

pub(super) async fn read(flags: &Doctor) -> Facts {
    let root = Path::new(linux::ROOT);
    // Before the others, whose time would run while this thread waits.
    let gpus = nvml::survey(nvml::library());
    let (ports, python) = (ports::read(&flags.addresses), programs::python(flags.python.clone()));
    let (docker, toolkit, ports, python) =
        tokio::join!(docker(), programs::toolkit(), ports, python);
    let (memory, unsealed) = shm_rpc::engine_side::choose_memory();
    Facts {
        foil: env!("CARGO_PKG_VERSION").to_owned(),
        host: linux::host_name(root),
        kernel: machine::kernel(root),
        io_uring: machine::io_uring(root),
        lane: (memory, unsealed.map(|why| why.to_string())),
        shared_bytes: machine::shared_bytes(),
        memlock_bytes: machine::memlock_bytes(),
        open_files: machine::open_files(),
        cgroups: machine::cgroups(root),
        docker,
        cards: machine::cards(root),
        gpus,
        toolkit,
        ports,
        python,
    }
}

async fn docker() -> Result<Gear, NoDocker> {
    let docker = Docker::new(Settings::default());
    match tokio::time::timeout(DOCKER_WAIT, docker.gear()).await {
        Ok(answered) => answered.map_err(|error| {
            let Advice { cause, fix } = error.advice();
            NoDocker { what: cause, mend: fix }
        }),
        Err(_) => {
            let what = format!("it does not answer within {} s", DOCKER_WAIT.as_secs());
            Err(NoDocker { what, mend: "sudo systemctl restart docker".to_owned() })
        }
    }
}

/// A machine without fault, for tests to spoil.
#[cfg(test)]
pub(super) fn sound() -> Facts {
    use crate::fleet::devices::inventory::Gpu;
    use crate::fleet::devices::nvml::{Driver, Listing};

    Facts {
        foil: "0.1.0".to_owned(),
        host: "big".to_owned(),
        kernel: "6.8.0-31-generic".to_owned(),
        io_uring: machine::IoUring::On,
        lane: (Memory::Memfd, None),
        shared_bytes: Some(32 << 30),
        memlock_bytes: None,
        open_files: Some(1 << 20),
        cgroups: machine::Cgroups { version: Some(2), lacking: Vec::new() },
        docker: Ok(Gear {
            version: "28.3.0".to_owned(),
            api: (1, 51),
            runtimes: vec!["nvidia".to_owned(), "runc".to_owned()],
            cdi_devices: vec!["nvidia.com/gpu=GPU-1".to_owned()],
        }),
        cards: 1,
        gpus: Ok(Survey {
            driver: Driver { version: "570.86.15".to_owned(), cuda: "12.8".to_owned() },
            listing: Listing {
                gpus: vec![Gpu { uuid: "GPU-1".to_owned(), ..Gpu::default() }],
                unreadable: Vec::new(),
            },
        }),
        toolkit: Toolkit::Version("1.17.8".to_owned()),
        ports: vec![ports::Looked { what: "HTTP", number: 8000, found: ports::Port::Free }],
        python: Python {
            program: "python3".to_owned(),
            version: Ok("3.12.3".to_owned()),
            hydrofoil: Ok("0.1.0".to_owned()),
        },
    }
}
