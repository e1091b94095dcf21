//! The kernel and its limits.

use std::fs;
use std::path::Path;

use rustix::fs::statvfs;
use rustix::process::{Resource, getrlimit};

/// Where clients and the posix lane have their named memory.
const SHARED: &str = "/dev/shm";

/// NVIDIA's number on the PCI bus.
const NVIDIA: &str = "0x10de";
/// Classes of PCI devices that are GPUs: with a screen, and without.
const GPU_CLASSES: [&str; 2] = ["0x0300", "0x0302"];

/// What launchers need for the limits of replicas.
const CONTROLLERS: [&str; 3] = ["cpu", "cpuset", "memory"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::host::doctor) enum IoUring {
    On,
    /// Only for a group, or for those with CAP_SYS_ADMIN.
    Privileged,
    /// By kernel.io_uring_disabled.
    Off,
    /// The kernel was built without.
    Absent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::host::doctor) struct Cgroups {
    /// None: none is mounted.
    pub(in crate::host::doctor) version: Option<u8>,
    /// Controllers that are not to be had.
    pub(in crate::host::doctor) lacking: Vec<&'static str>,
}

pub(super) fn kernel(root: &Path) -> String {
    text(root, "proc/sys/kernel/osrelease").trim().to_owned()
}

/// By what the kernel says of it; whether a sandbox's filter lets it through is not asked.
pub(super) fn io_uring(root: &Path) -> IoUring {
    match text(root, "proc/sys/kernel/io_uring_disabled").trim() {
        "2" => IoUring::Off,
        "1" => IoUring::Privileged,
        "0" => IoUring::On,
        // The switch came with Linux 6.6.
        _ if text(root, "proc/kallsyms").contains("sys_io_uring_setup") => IoUring::On,
        _ => IoUring::Absent,
    }
}

pub(super) fn shared_bytes() -> Option<u64> {
    let about = statvfs(SHARED).ok()?;
    Some(about.f_blocks.saturating_mul(about.f_frsize))
}

pub(super) fn memlock_bytes() -> Option<u64> {
    getrlimit(Resource::Memlock).current
}

pub(super) fn open_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

pub(super) fn cgroups(root: &Path) -> Cgroups {
    let unified = text(root, "sys/fs/cgroup/cgroup.controllers");
    let groups = text(root, "proc/self/cgroup");
    let (version, has): (_, Vec<&str>) = if unified.is_empty() {
        let names = groups.lines().filter_map(|line| line.split(':').nth(1));
        let version = (!groups.is_empty()).then_some(1);
        (version, names.flat_map(|it| it.split(',')).collect())
    } else {
        (Some(2), unified.split_whitespace().collect())
    };
    let lacking = CONTROLLERS.into_iter().filter(|name| !has.contains(name)).collect();
    Cgroups { version, lacking }
}

pub(super) fn cards(root: &Path) -> usize {
    let devices = fs::read_dir(root.join("sys/bus/pci/devices"));
    let is_card = |device: &Path| {
        let class = text(device, "class");
        text(device, "vendor").trim() == NVIDIA
            && GPU_CLASSES.iter().any(|it| class.starts_with(it))
    };
    devices.into_iter().flatten().flatten().filter(|entry| is_card(&entry.path())).count()
}

fn text(root: &Path, path: &str) -> String {
    fs::read_to_string(root.join(path)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::devices::test_tree::Tree;

    #[test]
    fn io_uring_is_on_off_or_not_there() {
        let found = |files: &[(&str, &str)]| io_uring(&Tree::of("io-uring", files).0);
        assert_eq!(found(&[("proc/sys/kernel/io_uring_disabled", "0\n")]), IoUring::On);
        assert_eq!(found(&[("proc/sys/kernel/io_uring_disabled", "1\n")]), IoUring::Privileged);
        assert_eq!(found(&[("proc/sys/kernel/io_uring_disabled", "2\n")]), IoUring::Off);
        let symbols = "0 T __x64_sys_io_uring_setup\n";
        assert_eq!(found(&[("proc/kallsyms", symbols)]), IoUring::On);
        assert_eq!(found(&[("proc/kallsyms", "0 T other\n")]), IoUring::Absent);
    }

    #[test]
    fn controllers_are_those_of_either_version() {
        let found = |files: &[(&str, &str)]| cgroups(&Tree::of("controllers", files).0);
        let two = found(&[("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n")]);
        assert_eq!(two, Cgroups { version: Some(2), lacking: vec![] });
        let one = found(&[("proc/self/cgroup", "3:cpu,cpuacct:/\n2:memory:/a\n0::/\n")]);
        assert_eq!(one, Cgroups { version: Some(1), lacking: vec!["cpuset"] });
        assert_eq!(found(&[("proc/none", "")]).version, None);
    }

    #[test]
    fn cards_are_told_from_bridges_and_other_makers() {
        let at = "sys/bus/pci/devices";
        let device = |bus: &str, vendor: &str, class: &str| {
            [
                (format!("{at}/{bus}/vendor"), vendor.to_owned()),
                (format!("{at}/{bus}/class"), class.to_owned()),
            ]
        };
        let files = [
            device("0000:65:00.0", "0x10de\n", "0x030200\n"),
            device("0000:66:00.0", "0x10de\n", "0x068000\n"),
            device("0000:00:02.0", "0x8086\n", "0x030000\n"),
        ];
        let files = files.as_flattened().iter().map(|(path, text)| (path.as_str(), text.as_str()));
        assert_eq!(cards(&Tree::of("cards", &files.collect::<Vec<_>>()).0), 1);
    }
}
