//! What to think of what was found: pure, a function a line.

use shm_rpc::Memory;

use super::Check;
use super::facts::Facts;
use super::facts::machine::{Cgroups, IoUring};
use super::facts::ports::{Looked, Port};
use super::facts::programs::Python;
use crate::fleet::launch::docker::API_LEAST;

mod gpus;
#[cfg(test)]
mod tests;

/// What shared memory and descriptors behave as they must from; older ones are never tried.
const KERNEL_LEAST: [u32; 2] = [5, 15];
const PYTHON_LEAST: [u32; 2] = [3, 11];

/// Four lanes with slots of some MiB; Docker gives a container 64 MiB unless it is told otherwise.
const SHARED_BYTES_LEAST: u64 = 256 << 20;

/// The connections of two cores at `limits.connections_max`, or of one and a dozen for each of some hundred replicas.
const OPEN_FILES_LEAST: u64 = 8192;

/// In the order of who stands on whom.
pub(super) fn judge(facts: &Facts) -> Vec<Check> {
    let has_gpus = facts.cards > 0 || facts.gpus.is_ok();
    let mut checks = vec![
        kernel(&facts.kernel),
        io_uring(facts.io_uring),
        lane(&facts.lane),
        shared_memory(facts.shared_bytes, facts.lane.0),
        memlock(facts.memlock_bytes, has_gpus),
        open_files(facts.open_files),
        cgroups(&facts.cgroups),
        docker(facts),
    ];
    checks.extend(gpus::judge(facts, has_gpus));
    checks.extend(facts.ports.iter().map(port));
    checks.push(python(&facts.python));
    checks.push(hydrofoil(&facts.python, &facts.foil));
    checks
}

fn kernel(release: &str) -> Check {
    let [major, minor] = KERNEL_LEAST;
    match version(release) {
        Some(found) if found >= KERNEL_LEAST => Check::ok("kernel", release),
        Some(_) => Check::fail(
            "kernel",
            format!("{release}; Hydrofoil needs {major}.{minor}"),
            format!(
                "sudo apt install linux-generic && sudo reboot  # or what your system calls Linux {major}.{minor} and later"
            ),
        ),
        None => Check::warn("kernel", format!("'{release}' is no version of Linux"), "uname -a"),
    }
}

/// Nothing of this version's needs it.
fn io_uring(found: IoUring) -> Check {
    Check::ok(
        "io_uring",
        match found {
            IoUring::On => "on",
            IoUring::Privileged => {
                "for privileged processes (kernel.io_uring_disabled = 1); it is not needed"
            }
            IoUring::Off => "off (kernel.io_uring_disabled = 2); it is not needed",
            IoUring::Absent => "not in this kernel; it is not needed",
        },
    )
}

fn lane((memory, why): &(Memory, Option<String>)) -> Check {
    match why {
        None => Check::ok("sealed memory", format!("{} seals memory", memory.name())),
        Some(why) => Check::warn(
            "sealed memory",
            format!(
                "this system seals none ({why}); lanes are named memory, at the price of a copy"
            ),
            "docker run --runtime runc …  # or whatever runs foil outside of the sandbox that forbids it",
        ),
    }
}

/// What lanes are made of only where memory isn't sealed; clients use it either way.
fn shared_memory(bytes: Option<u64>, lane: Memory) -> Check {
    let remount =
        "sudo mount -o remount,size=1g /dev/shm  # of a container: docker run --shm-size 1g …";
    let name = "/dev/shm";
    let is_needed = lane != Memory::Memfd;
    match bytes {
        Some(bytes) if bytes >= SHARED_BYTES_LEAST => Check::ok(name, size(bytes)),
        Some(bytes) if is_needed => {
            Check::fail(name, format!("{}, for all lanes", size(bytes)), remount)
        }
        Some(bytes) => {
            Check::warn(name, format!("{}; clients share tensors there", size(bytes)), remount)
        }
        None if is_needed => Check::fail(name, "not mounted", "sudo mount -t tmpfs tmpfs /dev/shm"),
        None => Check::warn(
            name,
            "not mounted; clients share tensors there",
            "sudo mount -t tmpfs tmpfs /dev/shm",
        ),
    }
}

/// Counts where a GPU copies out of memory that must stay where it is.
fn memlock(bytes: Option<u64>, has_gpus: bool) -> Check {
    const LEAST: u64 = 1 << 30;
    let name = "memlock";
    match bytes {
        None => Check::ok(name, "no limit"),
        Some(bytes) if bytes >= LEAST => Check::ok(name, size(bytes)),
        Some(bytes) if !has_gpus => {
            Check::ok(name, format!("{}; only GPUs would need more", size(bytes)))
        }
        Some(bytes) => Check::warn(
            name,
            format!("{} may be pinned; GPUs copy slower from memory that is not", size(bytes)),
            "ulimit -l unlimited  # of a service: LimitMEMLOCK=infinity",
        ),
    }
}

fn open_files(found: Option<u64>) -> Check {
    let name = "open files";
    match found {
        None => Check::ok(name, "no limit"),
        Some(count) if count >= OPEN_FILES_LEAST => Check::ok(name, count.to_string()),
        Some(count) => Check::warn(
            name,
            format!("{count} at most; each connection takes one"),
            "ulimit -n 65536  # of a service: LimitNOFILE=65536",
        ),
    }
}

fn cgroups(found: &Cgroups) -> Check {
    let name = "cgroups";
    let Some(version) = found.version else {
        return Check::warn(
            name,
            "none is mounted; containers can't be limited",
            "sudo mount -t cgroup2 none /sys/fs/cgroup",
        );
    };
    if found.lacking.is_empty() {
        return Check::ok(name, format!("version {version}"));
    }
    let lacking = found.lacking.join(", ");
    let mend = match version {
        1 => {
            "sudo grubby --update-kernel=ALL --args=systemd.unified_cgroup_hierarchy=1 && sudo reboot  # or your boot loader's way"
        }
        _ => "echo '+cpu +cpuset +memory' | sudo tee /sys/fs/cgroup/cgroup.subtree_control",
    };
    Check::warn(
        name,
        format!("version {version} without {lacking}; containers can't be limited by it"),
        mend,
    )
}

fn docker(facts: &Facts) -> Check {
    let name = "docker";
    match &facts.docker {
        Ok(gear) if gear.api >= API_LEAST => {
            let (major, minor) = gear.api;
            Check::ok(name, format!("{} (API {major}.{minor})", gear.version))
        }
        Ok(gear) => {
            let (major, minor) = API_LEAST;
            Check::fail(
                name,
                format!("{}; Hydrofoil speaks API {major}.{minor} and later", gear.version),
                "curl -fsSL https://get.docker.com | sudo sh  # Docker 20.10 or later",
            )
        }
        // The process launcher needs none.
        Err(error) => Check::warn(
            name,
            format!("{}; models can run as processes alone", error.what),
            &error.mend,
        ),
    }
}

fn port(Looked { what, number, found }: &Looked) -> Check {
    let name = format!("port {number} ({what})");
    let who =
        format!("sudo ss -ltnp 'sport = :{number}'  # or serve elsewhere, see foil serve --help");
    match found {
        Port::Free => Check::ok(name, "free"),
        Port::Ours => Check::ok(name, "an engine serves there"),
        Port::Taken => Check::fail(name, "taken by another program", who),
        Port::Refused { why } => Check::fail(name, format!("can't be listened at: {why}"), who),
    }
}

fn python(found: &Python) -> Check {
    let [major, minor] = PYTHON_LEAST;
    let mend = format!("export FOIL_PYTHON=/path/to/python  # of Python {major}.{minor} or later");
    let name = "python";
    let program = &found.program;
    match &found.version {
        Err(why) => Check::fail(name, format!("{program}: {why}"), mend),
        Ok(found) if version(found).is_some_and(|it| it >= PYTHON_LEAST) => {
            Check::ok(name, format!("{found} ({program})"))
        }
        Ok(found) => {
            Check::fail(name, format!("{found} ({program}); models need {major}.{minor}"), mend)
        }
    }
}

fn hydrofoil(python: &Python, foil: &str) -> Check {
    let name = "python hydrofoil";
    let mend = format!("{} -m pip install hydrofoil=={foil}", python.program);
    match &python.hydrofoil {
        Err(why) => Check::fail(name, format!("can't be imported: {why}"), mend),
        Ok(found) if found == foil => Check::ok(name, found),
        Ok(found) => Check::warn(name, format!("{found}, while foil is {foil}"), mend),
    }
}

/// The first numbers of a version; what is not there after the first is zero.
fn version<const COUNT: usize>(text: &str) -> Option<[u32; COUNT]> {
    let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().ok());
    let mut numbers = [0; COUNT];
    numbers[0] = parts.next()??;
    numbers[1..].iter_mut().for_each(|it| *it = parts.next().flatten().unwrap_or(0));
    Some(numbers)
}

/// As Docker and the kernel count it.
fn size(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{} KiB", bytes >> 10),
        mib @ 1..10_240 => format!("{mib} MiB"),
        mib => format!("{} GiB", mib >> 10),
    }
}
