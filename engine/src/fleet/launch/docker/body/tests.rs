use std::path::PathBuf;

use super::*;
use crate::clock::Clock;
use crate::fleet::launch::process::Programs;
use crate::ids::{ReplicaId, Version};

fn created(program: &Program, cpus: Option<&[usize]>, user: Option<u32>) -> ContainerCreateBody {
    created_on(program, cpus, user, None)
}

fn created_on(
    program: &Program,
    cpus: Option<&[usize]>,
    user: Option<u32>,
    gpu: Option<&Way>,
) -> ContainerCreateBody {
    let (programs, home) = (Programs::find(None), PathBuf::from("/sockets/1"));
    let start = Start {
        program,
        programs: &programs,
        env: vec![("FOIL_NONCE".into(), "7".into())],
        model: "digits".into(),
        version: Version(3),
        replica: ReplicaId(1),
        label: "digits/1".into(),
        clock: Clock::start(),
        home: &home,
        socket: &home.join("sock"),
        user,
        cpus,
        memory_node: cpus.map(|_| 1),
        gpu: None,
        stands_back: true,
        image: None,
        memory_bytes: 1 << 30,
    };
    of(&start, &image(program), "boot/files", gpu)
}

fn python() -> Program {
    Program::Python { target: "/somewhere/net.py:Net".into() }
}

#[test]
fn nothing_of_this_machine_is_writable_and_two_directories_are_readable() {
    let host = created(&python(), None, Some(61_184)).host_config.unwrap();
    assert_eq!(host.readonly_rootfs, Some(true));
    let mounts = host.mounts.unwrap();
    let pairs: Vec<_> = mounts
        .iter()
        .map(|it| (it.source.as_deref().unwrap(), it.target.as_deref().unwrap()))
        .collect();
    assert_eq!(pairs, [("/sockets/1", "/run/hydrofoil"), ("/somewhere", "/model")]);
    assert!(mounts.iter().all(|it| it.read_only == Some(true)));
    assert_eq!((host.binds, host.devices, host.privileged), (None, None, None));
}

#[test]
fn a_container_is_never_root_by_our_doing_and_bounded_in_all_it_takes() {
    let body = created(&python(), None, Some(61_184));
    assert_eq!(body.user.as_deref(), Some("61184:61184"));
    let host = body.host_config.unwrap();
    assert_eq!((host.memory, host.memory_swap), (Some(1 << 30), Some(1 << 30)));
    assert_eq!(host.pids_limit, Some(PIDS_MAX));
    assert_eq!(host.network_mode.as_deref(), Some("none"));
    assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
    assert!(host.log_config.unwrap().config.unwrap().contains_key("max-size"));
}

#[test]
fn pinned_cpus_size_the_thread_pools_as_well() {
    let body = created(&python(), Some(&[1, 3]), None);
    let host = body.host_config.unwrap();
    assert_eq!(
        (host.cpuset_cpus.as_deref(), host.cpuset_mems.as_deref()),
        (Some("1,3"), Some("1"))
    );
    let env = body.env.unwrap();
    assert!(env.contains(&"OMP_NUM_THREADS=2".to_owned()), "{env:?}");
}

#[test]
fn the_environment_is_ours_and_nothing_of_the_engines_machine() {
    let env = created(&python(), None, None).env.unwrap();
    assert!(env.contains(&"FOIL_SOCKET=/run/hydrofoil/sock".to_owned()), "{env:?}");
    assert!(
        env.contains(&"FOIL_NONCE=7".to_owned())
            && env.contains(&"NVIDIA_VISIBLE_DEVICES=void".to_owned())
    );
    assert!(!env.iter().any(|it| it.starts_with("PATH=") || it.starts_with("HOME=")), "{env:?}");
}

#[test]
fn each_program_has_its_image_and_command() {
    let directory = PathBuf::from("/models/m/1");
    let native = Program::Native { kind: "noop".into(), directory: directory.clone() };
    let executable =
        Program::Executable { file: directory.join("bin/run"), directory: directory.clone() };
    let own = Program::Entrypoint { directory };
    let command = |program: &Program| {
        let body = created(program, None, None);
        let words = |it: Option<Vec<String>>| it.map(|it| it.join(" "));
        (body.image.unwrap(), words(body.entrypoint), words(body.cmd))
    };
    let text = |text: &str| Some(text.to_owned());
    let (image, entrypoint, arguments) = command(&python());
    assert!(image.starts_with("hydrofoil/python:"));
    assert_eq!((entrypoint, arguments), (None, text("--target /model/net.py:Net")));
    let (image, entrypoint, arguments) = command(&native);
    assert!(image.starts_with("hydrofoil/native:"));
    assert_eq!((entrypoint, arguments), (None, text("--kind noop --path /model")));
    let (_, entrypoint, arguments) = command(&executable);
    assert_eq!((entrypoint, arguments), (text("/model/bin/run"), text("")));
    let (_, entrypoint, arguments) = command(&own);
    assert_eq!((entrypoint, arguments), (None, None));
}

#[test]
fn a_replica_on_a_gpu_gets_that_one_and_may_pin_memory() {
    let driver = Way::NvidiaDriver { uuid: "GPU-1".into() };
    let body = created_on(&python(), None, None, Some(&driver));
    let host = body.host_config.unwrap();
    let [request] = &host.device_requests.unwrap()[..] else { panic!("one request") };
    assert_eq!(request.device_ids, Some(vec!["GPU-1".to_owned()]));
    let limits = |host: Option<Vec<ResourcesUlimits>>| -> Vec<_> {
        host.unwrap().into_iter().map(|it| (it.name.unwrap(), it.soft.unwrap())).collect()
    };
    assert_eq!(limits(host.ulimits), [("core".to_owned(), 0), ("memlock".to_owned(), -1)]);
    let visible = |env: Vec<String>| env.into_iter().any(|it| it.starts_with("NVIDIA_VISIBLE"));
    assert!(!visible(body.env.unwrap()), "Docker's driver says it");
    let cdi = Way::Cdi { device: "nvidia.com/gpu=GPU-1".into() };
    let env = created_on(&python(), None, None, Some(&cdi)).env.unwrap();
    assert!(env.contains(&"NVIDIA_VISIBLE_DEVICES=void".to_owned()), "nothing beside the device");
    let without = created(&python(), None, None).host_config.unwrap();
    assert_eq!(without.device_requests, None);
    assert_eq!(limits(without.ulimits), [("core".to_owned(), 0)]);
}
