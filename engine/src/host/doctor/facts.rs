//! What the doctor looks at. Every look ends within its own bound; together they take a second where nothing hangs.

use std::path::Path;
use std::time::Duration;

use shm_rpc::Memory;

use self::programs::{Python, Toolkit};
use crate::fleet::devices::inventory::Gpu;
use crate::fleet::devices::linux;
use crate::fleet::devices::nvml::{self, Driver, Gpus, NoGpus};
use crate::fleet::launch::Advice;
use crate::fleet::launch::docker::{Docker, Gear, Settings};

pub(super) mod machine;
pub(super) mod ports;
pub(super) mod programs;

/// For NVIDIA's driver to answer: one without persistence wakes each GPU first, which takes seconds.
const DRIVER_WAIT: Duration = Duration::from_secs(20);
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
    pub(super) cgroups: machine::Cgroups,
    pub(super) docker: Result<Gear, NoDocker>,
    /// NVIDIA's cards on the PCI bus, whether a driver knows them or not.
    pub(super) cards: usize,
    pub(super) gpus: Result<GpuFacts, NoGpus>,
    pub(super) toolkit: Toolkit,
    pub(super) ports: Vec<(u16, ports::Port)>,
    pub(super) python: Python,
}

#[derive(Debug)]
pub(super) struct GpuFacts {
    pub(super) driver: Driver,
    pub(super) gpus: Vec<Gpu>,
    pub(super) unreadable: Vec<String>,
}

#[derive(Debug)]
pub(super) struct NoDocker {
    pub(super) what: String,
    pub(super) mend: String,
}

pub(super) async fn read() -> Facts {
    let root = Path::new(linux::ROOT);
    let (docker, gpus, toolkit, ports, python) =
        tokio::join!(docker(), gpus(), programs::toolkit(), ports::read(), programs::python());
    let (memory, unsealed) = shm_rpc::engine_side::choose_memory();
    Facts {
        foil: env!("CARGO_PKG_VERSION").to_owned(),
        host: linux::host_name(root),
        kernel: machine::kernel(root),
        io_uring: machine::io_uring(root),
        lane: (memory, unsealed.map(|why| why.to_string())),
        shared_bytes: machine::shared_bytes(),
        memlock_bytes: machine::memlock_bytes(),
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

/// On a thread of its own, which is left behind where the driver hangs.
async fn gpus() -> Result<GpuFacts, NoGpus> {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let found = Gpus::open(nvml::library()).map(|gpus| {
            let listing = gpus.list();
            GpuFacts { driver: gpus.driver(), gpus: listing.gpus, unreadable: listing.unreadable }
        });
        // Nobody waits for it any more.
        let _late = tell.send(found);
    });
    let hangs = || NoGpus::Failed { why: format!("no answer within {} s", DRIVER_WAIT.as_secs()) };
    match tokio::time::timeout(DRIVER_WAIT, told).await {
        Ok(Ok(found)) => found,
        Ok(Err(_)) | Err(_) => Err(hangs()),
    }
}

/// A machine without fault, for tests to spoil.
#[cfg(test)]
pub(super) fn sound() -> Facts {
    Facts {
        foil: "0.1.0".to_owned(),
        host: "big".to_owned(),
        kernel: "6.8.0-31-generic".to_owned(),
        io_uring: machine::IoUring::On,
        lane: (Memory::Memfd, None),
        shared_bytes: Some(32 << 30),
        memlock_bytes: None,
        cgroups: machine::Cgroups { version: Some(2), lacking: Vec::new() },
        docker: Ok(Gear {
            version: "28.3.0".to_owned(),
            api: (1, 51),
            runtimes: vec!["nvidia".to_owned(), "runc".to_owned()],
            cdi_devices: vec!["nvidia.com/gpu=GPU-1".to_owned()],
        }),
        cards: 1,
        gpus: Ok(GpuFacts {
            driver: Driver { version: "570.86.15".to_owned(), cuda: "12.8".to_owned() },
            gpus: vec![Gpu { uuid: "GPU-1".to_owned(), ..Gpu::default() }],
            unreadable: Vec::new(),
        }),
        toolkit: Toolkit::Version("1.17.8".to_owned()),
        ports: vec![(8000, ports::Port::Free)],
        python: Python {
            program: "python3".to_owned(),
            version: Ok("3.12.3".to_owned()),
            hydrofoil: Ok("0.1.0".to_owned()),
        },
    }
}
