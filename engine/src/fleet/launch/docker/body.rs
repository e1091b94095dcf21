//! What Docker is asked to create for one incarnation: the image, the command, and the sandbox around it.
//!
//! Nothing a model does in it may reach the engine, another model or the machine: no root, no capabilities, no network,
//! nothing writable but a bounded /tmp in memory, bounds on memory, processes and logs, and in this machine's files two
//! directories, read-only: the model's own and the one with its socket.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::Path;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType, ResourcesUlimits,
    RestartPolicy, RestartPolicyNameEnum,
};

use super::gpu::{Way, unlimited_memlock};
use crate::fleet::launch::Start;
use crate::fleet::launch::process::THREADS;
use crate::fleet::target::Program;

/// Where a container finds its socket.
const HOME: &str = "/run/hydrofoil";
/// Where it finds the model's files.
const MODEL: &str = "/model";

/// Processes and threads of one container: far more than numeric libraries start, far fewer than a machine has room for.
const PIDS_MAX: i64 = 256;
/// Bytes of /tmp; they count to its memory. Room for what frameworks compile at run time.
const TMP_BYTES: u64 = 256 << 20;
/// Bytes of /dev/shm, Docker's own default: lanes come as descriptors and need none.
const SHM_BYTES: i64 = 64 << 20;
/// Of what it prints Docker keeps two files of this size; the engine reads along.
const LOG_FILE_BYTES: &str = "1m";
const LOG_FILES: &str = "2";
/// The kernel takes a container's processes before the engine's when memory runs out.
const OOM_SCORE_ADJ: i64 = 500;
/// Of CPU time, while a model loads beside others that serve: an eighth of a live one's.
const LOADING_CPU_SHARES: i64 = 128;
/// The kernel's own default.
pub(super) const LIVE_CPU_SHARES: i64 = 1024;

/// Of the engine's environment; everything else describes the engine's machine, not the image.
const KEPT: [&str; 3] = ["LANG", "LC_ALL", "TZ"];

/// Labels by which containers are found again.
pub(super) mod label {
    pub(in super::super) const ENGINE: &str = "hydrofoil.engine";
    pub(in super::super) const HOME: &str = "hydrofoil.home";
    pub(in super::super) const BOOT: &str = "hydrofoil.boot";
    pub(in super::super) const MODEL: &str = "hydrofoil.model";
    pub(in super::super) const VERSION: &str = "hydrofoil.version";
    pub(in super::super) const REPLICA: &str = "hydrofoil.replica";
}

/// Ours, of this engine's version.
pub(super) fn image(program: &Program) -> String {
    let name = match program {
        Program::Native { .. } => "native",
        Program::Python { .. } | Program::Executable { .. } | Program::Entrypoint { .. } => {
            "python"
        }
    };
    ours(name)
}

/// One that `cargo xtask images` makes.
pub(super) fn ours(name: &str) -> String {
    format!("hydrofoil/{name}:{}", env!("CARGO_PKG_VERSION"))
}

/// `boot` tells this machine's runs apart.
pub(super) fn of(
    start: &Start<'_>,
    image: &str,
    boot: &str,
    gpu: Option<&Way>,
) -> ContainerCreateBody {
    let directory = start.program.home().0;
    let (entrypoint, cmd) = command(start.program);
    ContainerCreateBody {
        image: Some(image.to_owned()),
        user: Some(user(start.user)),
        env: Some(environment(start, gpu)),
        entrypoint,
        cmd,
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        labels: Some(labels(start, boot)),
        host_config: Some(HostConfig {
            mounts: Some(vec![mount(start.home, HOME), mount(&directory, MODEL)]),
            cpuset_cpus: start.cpus.map(list),
            cpuset_mems: start.memory_node.map(|node| node.to_string()),
            device_requests: gpu.map(|way| vec![way.request()]),
            ulimits: Some(ulimits(gpu)),
            memory: Some(start.memory_bytes.cast_signed()),
            memory_swap: Some(start.memory_bytes.cast_signed()),
            cpu_shares: start.stands_back.then_some(LOADING_CPU_SHARES),
            ..sandbox()
        }),
        ..Default::default()
    }
}

/// What every container of ours is locked into.
pub(super) fn sandbox() -> HostConfig {
    HostConfig {
        readonly_rootfs: Some(true),
        cap_drop: Some(vec!["ALL".into()]),
        security_opt: Some(vec!["no-new-privileges:true".into()]),
        network_mode: Some("none".into()),
        ipc_mode: Some("private".into()),
        shm_size: Some(SHM_BYTES),
        pids_limit: Some(PIDS_MAX),
        oom_score_adj: Some(OOM_SCORE_ADJ),
        // It reaps what a model's processes leave behind, and passes signals on.
        init: Some(true),
        tmpfs: Some([("/tmp".into(), format!("rw,exec,nosuid,nodev,size={TMP_BYTES}"))].into()),
        log_config: Some(HostConfigLogConfig {
            typ: Some("local".into()),
            config: Some([entry("max-size", LOG_FILE_BYTES), entry("max-file", LOG_FILES)].into()),
        }),
        ulimits: Some(ulimits(None)),
        // The engine decides what starts again, and when.
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        ..Default::default()
    }
}

fn ulimits(gpu: Option<&Way>) -> Vec<ResourcesUlimits> {
    // A crashed model's memory is nobody's to keep.
    let core = ResourcesUlimits { name: Some("core".into()), soft: Some(0), hard: Some(0) };
    [core].into_iter().chain(gpu.map(|_| unlimited_memlock())).collect()
}

fn entry(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// An entrypoint other than the image's own, and its arguments.
fn command(program: &Program) -> (Option<Vec<String>>, Option<Vec<String>>) {
    match program {
        Program::Python { target } => {
            let file = Path::new(target).file_name().unwrap_or(OsStr::new(target));
            let target = format!("{MODEL}/{}", file.to_string_lossy());
            (None, Some(vec!["--target".into(), target]))
        }
        Program::Native { kind, .. } => {
            (None, Some(["--kind", kind, "--path", MODEL].map(str::to_owned).into()))
        }
        Program::Executable { file, directory } => {
            let inside = file.strip_prefix(directory).unwrap_or(file);
            (Some(vec![format!("{MODEL}/{}", inside.display())]), Some(Vec::new()))
        }
        Program::Entrypoint { .. } => (None, None),
    }
}

fn user(user: Option<u32>) -> String {
    let own = || (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let (user, group) = user.map_or_else(own, |user| (user, user));
    format!("{user}:{group}")
}

fn environment(start: &Start<'_>, gpu: Option<&Way>) -> Vec<String> {
    let kept = KEPT.iter().filter_map(|key| Some((key.to_string(), std::env::var(key).ok()?)));
    let threads = start
        .cpus
        .into_iter()
        .flat_map(|cpus| THREADS.iter().map(|key| (key.to_string(), cpus.len().to_string())));
    // Devices are given, not taken.
    let said_by_docker = gpu.is_some_and(Way::says_what_is_visible);
    let devices = (!said_by_docker).then(|| entry("NVIDIA_VISIBLE_DEVICES", "void"));
    let given = start.env.iter().map(|(key, value)| (key.clone(), text(value)));
    let socket = Path::new(HOME).join(start.socket.file_name().unwrap_or_default());
    let socket = [("FOIL_SOCKET".to_owned(), text(socket.as_os_str()))];
    // Later ones win.
    let all: HashMap<String, String> =
        kept.chain(threads).chain(devices).chain(given).chain(socket).collect();
    all.into_iter().map(|(key, value)| format!("{key}={value}")).collect()
}

fn text(value: &OsStr) -> String {
    value.to_string_lossy().into_owned()
}

fn labels(start: &Start<'_>, boot: &str) -> HashMap<String, String> {
    HashMap::from([
        entry(label::ENGINE, &std::process::id().to_string()),
        entry(label::HOME, &start.home.to_string_lossy()),
        entry(label::BOOT, boot),
        entry(label::MODEL, &start.model),
        entry(label::VERSION, &start.version.to_string()),
        entry(label::REPLICA, &start.replica.to_string()),
    ])
}

/// Unlike `binds`, a mount whose source is missing is an error and no new directory.
fn mount(source: &Path, target: &str) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.display().to_string()),
        target: Some(target.to_owned()),
        read_only: Some(true),
        ..Default::default()
    }
}

fn list(cpus: &[usize]) -> String {
    cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
