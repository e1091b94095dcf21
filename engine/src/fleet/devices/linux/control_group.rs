//! What the control groups of this process leave it: CPU time and memory, by version 1 and version 2 of them.
//!
//! A group's limit holds for all below it, so the tightest on the way up to the root of what is mounted counts. Where a
//! container sees its own group as the root, that root's limits are its own.

use std::path::{Path, PathBuf};

use super::text;

/// Groups on the way up that are looked at; systemd and Kubernetes nest some six deep.
const DEPTH_MAX: usize = 32;

pub(super) struct Limits {
    /// CPUs' worth of time.
    pub(super) cpus: Option<f64>,
    /// `u64::MAX`: as much as there is.
    pub(super) memory_bytes: u64,
}

pub(super) fn limits(root: &Path) -> Limits {
    let groups = text(root, "proc/self/cgroup");
    let mounts = text(root, "proc/self/mountinfo");
    let read = |directory: &Path, file: &str| {
        let inside = directory.strip_prefix("/").unwrap_or(directory);
        text(root, &inside.join(file).display().to_string())
    };
    let above = |version: Version, controller: &str| levels(&groups, &mounts, version, controller);
    let (cpu, memory) = (above(Version::One, "cpu"), above(Version::One, "memory"));
    let unified = above(Version::Two, "");
    let quotas = cpu.iter().filter_map(|at| {
        quota(&format!("{} {}", read(at, "cpu.cfs_quota_us").trim(), read(at, "cpu.cfs_period_us")))
    });
    let quotas = quotas.chain(unified.iter().filter_map(|at| quota(&read(at, "cpu.max"))));
    let bytes = memory.iter().filter_map(|at| number(&read(at, "memory.limit_in_bytes")));
    let bytes = bytes.chain(unified.iter().filter_map(|at| number(&read(at, "memory.max"))));
    Limits { cpus: quotas.reduce(f64::min), memory_bytes: bytes.min().unwrap_or(u64::MAX) }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Directories of this process's group and those above it, as far as they are mounted.
fn levels(groups: &str, mounts: &str, version: Version, controller: &str) -> Vec<PathBuf> {
    let found = group(groups, version, controller).zip(mount(mounts, version, controller));
    let Some((group, mount)) = found else { return Vec::new() };
    // A bind mount shows a part of the hierarchy; a group outside of it is this namespace's own root.
    let below = Path::new(&group).strip_prefix(&mount.shows).unwrap_or(Path::new(""));
    let lowest = mount.at.join(below);
    let levels = lowest.ancestors().take_while(|level| level.starts_with(&mount.at));
    levels.take(DEPTH_MAX).map(Path::to_owned).collect()
}

/// The path in `/proc/self/cgroup`: `4:cpu,cpuacct:/a` of version 1, `0::/a` of version 2.
fn group(groups: &str, version: Version, controller: &str) -> Option<String> {
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let meant = match version {
            Version::One => controllers.split(',').any(|it| it == controller),
            Version::Two => id == "0" && controllers.is_empty(),
        };
        meant.then(|| path.to_owned())
    })
}

struct Mount {
    /// The part of the hierarchy that is seen here.
    shows: PathBuf,
    at: PathBuf,
}

/// A line of `/proc/self/mountinfo`: `… <root> <mount point> … - cgroup <source> rw,cpu`.
fn mount(mounts: &str, version: Version, controller: &str) -> Option<Mount> {
    mounts.lines().find_map(|line| {
        let (about, kind) = line.split_once(" - ")?;
        let mut about = about.split(' ').skip(3);
        let mount = Mount { shows: about.next()?.into(), at: about.next()?.into() };
        let mut kind = kind.split(' ');
        let meant = match (kind.next()?, version) {
            ("cgroup", Version::One) => kind.nth(1)?.split(',').any(|it| it == controller),
            ("cgroup2", Version::Two) => true,
            _ => false,
        };
        meant.then_some(mount)
    })
}

/// `200000 100000` are two CPUs; `max 100000`, or -1, is no limit.
fn quota(text: &str) -> Option<f64> {
    let mut parts = text.split_whitespace();
    let (quota, period): (f64, f64) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}
