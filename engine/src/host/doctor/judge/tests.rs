use std::collections::BTreeSet;

use super::super::{Check, Verdict};
use super::*;
use crate::fleet::devices::inventory::{Gpu, Health, Slice};
use crate::fleet::devices::nvml::{Listing, NoGpus};
use crate::fleet::launch::docker::Gear;
use crate::host::doctor::facts::programs::Toolkit;
use crate::host::doctor::facts::{NoDocker, sound};

/// What the doctor says of one thing on a machine that was sound before it was spoiled.
fn said(name: &str, spoil: impl FnOnce(&mut Facts)) -> Check {
    let mut facts = sound();
    spoil(&mut facts);
    let check = judge(&facts).into_iter().find(|check| check.name == name);
    check.unwrap_or_else(|| panic!("{name} is not looked at"))
}

fn verdict(name: &str, spoil: impl FnOnce(&mut Facts)) -> Verdict {
    let check = said(name, spoil);
    assert_eq!(check.mend.is_none(), check.verdict == Verdict::Ok, "{check:?}");
    check.verdict
}

fn gpus(facts: &mut Facts) -> &mut Listing {
    &mut facts.gpus.as_mut().expect("a sound machine has one").listing
}

fn gear(facts: &mut Facts) -> &mut Gear {
    facts.docker.as_mut().expect("a sound machine has Docker")
}

#[test]
fn a_sound_machine_has_nothing_to_mend() {
    let checks = judge(&sound());
    assert!(checks.iter().all(|check| check.verdict == Verdict::Ok), "{checks:#?}");
    let names: BTreeSet<_> = checks.iter().map(|check| &check.name).collect();
    assert_eq!(names.len(), checks.len(), "each line is of one thing");
}

#[test]
fn kernels_count_from_5_15() {
    let of = |release: &str| verdict("kernel", |facts| facts.kernel = release.to_owned());
    assert_eq!([of("5.15.0-1"), of("6.1.0"), of("10.0")], [Verdict::Ok; 3]);
    assert_eq!([of("5.14.21"), of("4.4.0")], [Verdict::Fail; 2]);
    assert_eq!(of("gVisor"), Verdict::Warn);
}

#[test]
fn io_uring_is_said_and_not_needed() {
    use IoUring::*;
    for found in [On, Privileged, Off, Absent] {
        let check = said("io_uring", |facts| facts.io_uring = found);
        assert_eq!(check.verdict, Verdict::Ok);
        assert_eq!(check.found.contains("not needed"), found != On);
    }
}

#[test]
fn shared_memory_matters_as_much_as_what_lanes_are_made_of() {
    let of = |bytes, memory| {
        verdict("/dev/shm", |facts| (facts.shared_bytes, facts.lane.0) = (bytes, memory))
    };
    assert_eq!(of(Some(1 << 30), Memory::Posix), Verdict::Ok);
    assert_eq!([of(Some(64 << 20), Memory::Memfd), of(None, Memory::Memfd)], [Verdict::Warn; 2]);
    assert_eq!([of(Some(64 << 20), Memory::Posix), of(None, Memory::Posix)], [Verdict::Fail; 2]);
    let unsealed = |facts: &mut Facts| facts.lane = (Memory::Posix, Some("EPERM".to_owned()));
    assert_eq!(verdict("sealed memory", unsealed), Verdict::Warn);
}

#[test]
fn what_may_be_pinned_matters_with_gpus() {
    let bounded = |facts: &mut Facts| facts.memlock_bytes = Some(8 << 20);
    assert_eq!(verdict("memlock", bounded), Verdict::Warn);
    assert_eq!(verdict("memlock", |facts| facts.memlock_bytes = Some(4 << 30)), Verdict::Ok);
    let without = |facts: &mut Facts| {
        bounded(facts);
        (facts.cards, facts.gpus) = (0, Err(NoGpus::NoDriver));
    };
    assert_eq!(verdict("memlock", without), Verdict::Ok);
}

#[test]
fn a_process_needs_descriptors_for_its_connections() {
    let of = |open_files| verdict("open files", |facts| facts.open_files = open_files);
    assert_eq!([of(None), of(Some(8192))], [Verdict::Ok; 2]);
    assert_eq!(of(Some(1024)), Verdict::Warn);
}

#[test]
fn cgroups_count_by_their_controllers_not_their_version() {
    let of = |version, lacking: &[&'static str]| {
        let cgroups = Cgroups { version, lacking: lacking.to_vec() };
        verdict("cgroups", |facts| facts.cgroups = cgroups)
    };
    assert_eq!([of(Some(1), &[]), of(Some(2), &[])], [Verdict::Ok; 2]);
    let lacking = [of(Some(1), &["cpuset"]), of(Some(2), &["cpu", "cpuset"]), of(None, &[])];
    assert_eq!(lacking, [Verdict::Warn; 3]);
}

#[test]
fn docker_may_be_absent_but_not_too_old() {
    let of = |api| verdict("docker", |facts| gear(facts).api = api);
    assert_eq!([of((1, 41)), of((1, 51)), of((2, 0))], [Verdict::Ok; 3]);
    assert_eq!(of((1, 40)), Verdict::Fail);
    let absent = said("docker", |facts| {
        let (what, mend) = ("the daemon does not run".to_owned(), "start it".to_owned());
        facts.docker = Err(NoDocker { what, mend });
    });
    assert_eq!((absent.verdict, absent.mend.as_deref()), (Verdict::Warn, Some("start it")));
}

#[test]
fn docker_gives_gpus_by_cdi_or_by_its_runtime() {
    let of = |cdi: &[&str], runtimes: &[&str]| {
        let texts = |from: &[&str]| from.iter().map(|&it| it.to_owned()).collect();
        verdict("gpus in docker", |facts| {
            gear(facts).cdi_devices = texts(cdi);
            gear(facts).runtimes = texts(runtimes);
        })
    };
    assert_eq!(of(&["nvidia.com/gpu=0"], &["runc"]), Verdict::Ok);
    assert_eq!(of(&[], &["nvidia", "runc"]), Verdict::Ok);
    assert_eq!(of(&["vendor.com/nic=0"], &["runc"]), Verdict::Warn);
}

#[test]
fn toolkits_that_let_containers_out_fail() {
    let of = |found: Toolkit| verdict("gpu toolkit", |facts| facts.toolkit = found);
    let version = |text: &str| of(Toolkit::Version(text.to_owned()));
    assert_eq!([version("1.17.8"), version("1.18.0-rc.1"), version("2.0")], [Verdict::Ok; 3]);
    assert_eq!([version("1.17.7"), version("1.9.0"), version("1.17")], [Verdict::Fail; 3]);
    assert_eq!(of(Toolkit::Absent), Verdict::Warn);
    assert_eq!(of(Toolkit::Silent { why: "Killed".to_owned() }), Verdict::Warn);
}

#[test]
fn a_card_without_a_driver_fails_and_no_card_is_no_fault() {
    let lost = said("gpu driver", |facts| facts.gpus = Err(NoGpus::TwoVersions));
    assert_eq!((lost.verdict, lost.mend.as_deref()), (Verdict::Fail, Some("sudo reboot")));
    let old = |facts: &mut Facts| {
        facts.gpus.as_mut().expect("it has one").driver.cuda = "11.4".to_owned()
    };
    assert_eq!(verdict("gpu driver", old), Verdict::Warn);
    let mut facts = sound();
    (facts.cards, facts.gpus) = (0, Err(NoGpus::NoDriver));
    facts.toolkit = Toolkit::Absent;
    let checks = judge(&facts);
    assert!(checks.iter().all(|check| check.verdict == Verdict::Ok), "{checks:#?}");
    assert!(checks.iter().any(|check| check.found.contains("models run on CPUs")));
}

#[test]
fn a_gpu_in_trouble_fails() {
    let xid = Health::Unhealthy { reason: "Xid 79".to_owned() };
    let check = said("gpus", |facts| gpus(facts).gpus[0].health = xid);
    assert_eq!((check.verdict, check.found.as_str()), (Verdict::Fail, "GPU-1: Xid 79"));
    let dumb = |facts: &mut Facts| gpus(facts).unreadable.push("GPU 1: lost".to_owned());
    assert_eq!(verdict("gpus", dumb), Verdict::Fail);
}

#[test]
fn a_gpu_that_is_split_needs_slices() {
    let split = |slices| {
        move |facts: &mut Facts| {
            gpus(facts).gpus.push(Gpu { uuid: "GPU-2".into(), slices, ..Gpu::default() });
        }
    };
    assert_eq!(verdict("gpu slices", split(Some(vec![Slice::default()]))), Verdict::Ok);
    let empty = said("gpu slices", split(Some(vec![])));
    assert_eq!(empty.verdict, Verdict::Warn);
    assert!(empty.mend.expect("a command").contains("nvidia-smi -i GPU-2 -mig 0"));
}

#[test]
fn ports_may_be_an_engines_own() {
    let of = |port| verdict("port 8000 (HTTP)", |facts| facts.ports[0].found = port);
    assert_eq!([of(Port::Free), of(Port::Ours)], [Verdict::Ok; 2]);
    let refused = Port::Refused { why: "permission denied".to_owned() };
    assert_eq!([of(Port::Taken), of(refused)], [Verdict::Fail; 2]);
}

#[test]
fn python_counts_from_3_11_and_has_us_in_it() {
    let of = |version: Result<&str, &str>| {
        let version = version.map(str::to_owned).map_err(str::to_owned);
        verdict("python", |facts| facts.python.version = version)
    };
    assert_eq!([of(Ok("3.11.2")), of(Ok("3.14.0")), of(Ok("4.0"))], [Verdict::Ok; 3]);
    assert_eq!([of(Ok("3.10.9")), of(Err("not found"))], [Verdict::Fail; 2]);
    let of = |found: Result<&str, &str>| {
        let found = found.map(str::to_owned).map_err(str::to_owned);
        said("python hydrofoil", |facts| facts.python.hydrofoil = found)
    };
    assert_eq!(of(Ok("0.1.0")).verdict, Verdict::Ok);
    assert_eq!(of(Ok("0.0.9")).verdict, Verdict::Warn);
    let absent = of(Err("ModuleNotFoundError: No module named 'hydrofoil'"));
    assert_eq!(absent.verdict, Verdict::Fail);
    assert_eq!(absent.mend.as_deref(), Some("python3 -m pip install hydrofoil==0.1.0"));
}
