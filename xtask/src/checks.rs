//! The tests, what the continuous integration adds to them, and what only runs by night.

use crate::conformance::{self, conformance};
use crate::demo::{Arguments, demo};
use crate::description::description;
use crate::docker;
use crate::gpu_check::{self, gpu_check};
use crate::images::{self, Name};
use crate::instructions::{self, instructions};
use crate::lanes::Lanes;
use crate::setup::{apt_install, setup};
use crate::shell::{Done, cargo, command, output, root, run, target_dir, venv, works};
use std::path::Path;

/// Fuzz targets, each over bytes that come from outside.
const FUZZ_TARGETS: [&str; 9] = [
    "json_request",
    "binary_request",
    "http_bytes",
    "grpc_message",
    "clipper_json",
    "config_pbtxt",
    "lane_reply",
    "handshake",
    "hostile_segment",
];

/// Seconds of all fuzz targets together in `ci`: four minutes with the build, which takes most of them; and by night.
const FUZZ_SECONDS: u32 = 72;
const FUZZ_SECONDS_NIGHTLY: u32 = 3600;

/// What the build of a fuzz target is to save: its own time, where a target then runs for seconds, or that of its runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    Quick,
    Fast,
}

/// Containers killed by night, on each kind of memory; the ordinary run kills 100.
const KILLS_NIGHTLY: &str = "1000";

/// Property cases by night; tests have their own numbers otherwise.
const PROPTEST_CASES_NIGHTLY: &str = "100000";

/// Images that tests run; two minutes of work where none is there.
const TESTED: [Name; 3] = [Name::Native, Name::Hostile, Name::Python];

/// The interpreter that the extension is checked against without one being there.
const FREE_THREADED: &str = "implementation=CPython\nversion=3.14\nshared=true\n\
    target_abi=CPython-free_threaded-3.14\npointer_width=64\nbuild_flags=Py_GIL_DISABLED\n";

pub(crate) fn test() -> Done {
    let mut lanes = Lanes::default();
    tests(&mut lanes);
    lanes.finish()
}

pub(crate) fn ci() -> Done {
    let mut lanes = Lanes::default();
    lanes.run("format", || run(&mut cargo(&["fmt", "--all", "--check"])));
    lanes.run("clippy", || {
        let flags = ["--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
        run(cargo(&["clippy", "--quiet"]).args(flags))
    });
    lanes.run("clippy, C ABI", || {
        let flags = ["--package", "shm-rpc", "--features", "c-abi", "--all-targets", "--locked"];
        run(cargo(&["clippy", "--quiet"]).args(flags).args(["--", "-D", "warnings"]))
    });
    lanes.run("free-threaded Python", free_threaded);
    tests(&mut lanes);
    lanes.run("docs", docs);
    lanes.run("generated code", || {
        apt_install_unless("cmake", &["cmake", "g++"])?;
        let arguments = ["run", "--quiet", "--package", "xtask", "--features", "codegen", "--"];
        run(cargo(&arguments).args(["codegen", "--check"]))
    });
    lanes.run("fuzz", || fuzz(FUZZ_SECONDS, Build::Quick));
    lanes.run("HTTP description", description);
    count(&mut lanes);
    lanes.run("demo", || demo(&Arguments::default()));
    lanes.finish()
}

pub(crate) fn nightly() -> Done {
    let mut lanes = Lanes::default();
    lanes.run("many properties", || {
        let test = ["test", "--quiet", "--release", "--package", "engine", "--package", "schemas"];
        run(cargo(&test).env("PROPTEST_CASES", PROPTEST_CASES_NIGHTLY))
    });
    lanes.run("setup", setup);
    lanes.run("1000 kills under deployments, 1000 deployments", || {
        let test =
            ["test", "--package", "tests", "--locked", "deployment_kills", "--", "--nocapture"];
        let test = &mut cargo(&test);
        test.env("FOIL_TEST_DEPLOYMENT_KILLS", KILLS_NIGHTLY);
        run(test.env("FOIL_TEST_DEPLOY_CYCLES", KILLS_NIGHTLY))
    });
    lanes.run("1000 kills", || {
        let test = ["test", "--package", "tests", "--locked", "random_kills", "--", "--nocapture"];
        run(cargo(&test).env("FOIL_TEST_KILLS", KILLS_NIGHTLY))
    });
    lanes.run("hostile neighbours", || {
        let test = ["test", "--package", "tests", "--locked", "neighbours_of_an_attacker", "--"];
        run(cargo(&test).args(["--ignored", "--nocapture"]))
    });
    if docker_images(&mut lanes) {
        lanes.run("hostile in Docker", || {
            let test = ["test", "--package", "tests", "--locked", "every_attack_on_the_lane", "--"];
            run(cargo(&test).args(["--ignored", "--nocapture"]).env("FOIL_TEST_DOCKER", "1"))
        });
    }
    lanes.run("GPU check", || gpu_check(&gpu_check::Arguments::default()));
    miri(&mut lanes);
    thread_sanitizer(&mut lanes);
    if works(&mut cargo(&["deny", "--version"])) {
        let check = ["deny", "--offline", "check", "bans", "licenses", "sources"];
        lanes.run("dependencies", || run(&mut cargo(&check)));
    } else {
        lanes.skip(
            "dependencies",
            "cargo-deny is not installed (cargo install --locked cargo-deny)",
        );
    }
    lanes.run("fuzz", || fuzz(FUZZ_SECONDS_NIGHTLY, Build::Fast));
    lanes.finish()
}

/// The ring, the slots and the traits over heap memory: all of the lane that makes no system call.
const WITHOUT_SYSTEM_CALLS: [&str; 4] = ["ring::", "slot::", "segment::tests::heap", "spin::"];

fn miri(lanes: &mut Lanes) {
    if !works(&mut command("cargo", &["+nightly", "miri", "--version"])) {
        let why = "no Miri here (rustup +nightly component add miri rust-src)";
        return lanes.skip("miri", why);
    }
    lanes.run("miri", || {
        let test = ["+nightly", "miri", "test", "--package", "shm-rpc", "--lib", "--"];
        let mut miri = command("cargo", &test);
        miri.args(WITHOUT_SYSTEM_CALLS).current_dir(root());
        miri.env("CARGO_TARGET_DIR", target_dir().join("miri"));
        run(miri.env("PROPTEST_CASES", "4").env("MIRIFLAGS", "-Zmiri-disable-isolation"))
    });
}

fn thread_sanitizer(lanes: &mut Lanes) {
    let sysroot = output(&mut command("rustc", &["--print", "sysroot"])).unwrap_or_default();
    if !Path::new(sysroot.trim()).join("lib/rustlib/src").is_dir() {
        return lanes.skip("thread sanitizer", "no rust-src here (rustup component add rust-src)");
    }
    lanes.run("thread sanitizer", || {
        let test = ["test", "-Zbuild-std", "--target", "x86_64-unknown-linux-gnu", "--package"];
        let mut test = cargo(&test);
        test.args(["shm-rpc", "--lib", "two_threads", "--target-dir"]);
        test.arg(target_dir().join("tsan")).env("RUSTC_BOOTSTRAP", "1");
        run(test.env("RUSTFLAGS", "-Zsanitizer=thread --cfg tsan"))
    });
}

/// What `cargo xtask test` runs.
fn tests(lanes: &mut Lanes) {
    lanes.run("setup", setup);
    lanes.run("rust", || {
        let test = ["test", "--quiet", "--workspace", "--exclude", "tests", "--locked"];
        run(&mut cargo(&test))
    });
    lanes.run("C ABI", || {
        let test = ["test", "--quiet", "--package", "shm-rpc", "--features", "c-abi", "--locked"];
        run(cargo(&test).args(["--lib", "c_abi"]))
    });
    lanes.run("loom", || {
        let directory = target_dir().join("loom");
        let mut test = cargo(&["test", "--quiet", "--package", "shm-rpc", "--lib", "--release"]);
        test.arg("--target-dir").arg(directory);
        run(test.env("RUSTFLAGS", "--cfg loom").env("LOOM_MAX_PREEMPTIONS", "3"))
    });
    lanes.run("python", || {
        run(command(venv("python"), &["-m", "pytest", "-q", "-p", "no:cacheprovider"])
            .arg("python"))
    });
    let docker = docker_images(lanes);
    lanes.run("integration", || {
        if let Err(why) = apt_install_unless("promtool", &["prometheus"]) {
            println!("skipped: what a real Prometheus says of the metrics; {why}");
        }
        let mut test = cargo(&["test", "--package", "tests", "--locked"]);
        run(test.env("FOIL_TEST_DOCKER", if docker { "1" } else { "0" }))
    });
    lanes.run("conformance", || conformance(&conformance::Arguments::default()));
}

/// Whether tests can run models in Docker: it is there, or could be installed and started, and their images are made.
fn docker_images(lanes: &mut Lanes) -> bool {
    match docker::ready() {
        Ok(()) => lanes.run("Docker images", || images::make(&TESTED, None)),
        Err(why) => {
            lanes.skip("Docker images", &format!("no test runs a model in Docker: {why}"));
            false
        }
    }
}

/// Whether the extension compiles without the interpreter's lock. PyO3 is told what interpreter it
/// would be for: it has its own declarations, so that none needs to be installed.
fn free_threaded() -> Done {
    let config = target_dir().join("free-threaded.txt");
    std::fs::create_dir_all(target_dir()).map_err(|error| error.to_string())?;
    std::fs::write(&config, FREE_THREADED).map_err(|error| error.to_string())?;
    let mut check = cargo(&["check", "--quiet", "--package", "hydrofoil-python", "--locked"]);
    check.arg("--target-dir").arg(target_dir().join("free-threaded"));
    run(check.env("PYO3_CONFIG_FILE", std::path::absolute(&config).map_err(|e| e.to_string())?))
}

fn count(lanes: &mut Lanes) {
    match instructions::valgrind() {
        Ok(()) => {
            lanes.run("instructions", || instructions(&instructions::Arguments::default()));
        }
        Err(why) => lanes.skip("instructions", &why),
    }
}

fn docs() -> Done {
    let doc = ["doc", "--quiet", "--workspace", "--no-deps", "--locked"];
    run(cargo(&doc).env("RUSTDOCFLAGS", "-D warnings"))
}

/// Coverage-guided, on stable: without a sanitizer, for panics, hangs and runaway memory. Each target gets its share.
pub(crate) fn fuzz(seconds: u32, build: Build) -> Done {
    apt_install_unless("g++", &["g++"])?;
    if !works(&mut cargo(&["fuzz", "--version"])) {
        run(&mut cargo(&["install", "--quiet", "--locked", "cargo-fuzz"]))?;
    }
    let each = seconds.div_ceil(FUZZ_TARGETS.len() as u32);
    for target in FUZZ_TARGETS {
        let mut fuzz = cargo(&["fuzz", "run", "--sanitizer", "none"]);
        if build == Build::Quick {
            fuzz.args(["--codegen-units", "16"]).env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
        }
        fuzz.args([target, "--"]);
        fuzz.args([&format!("-max_total_time={each}"), "-rss_limit_mb=2048", "-timeout=10"]);
        // Its own toolchain flags would otherwise meet those of the workspace's configuration.
        run(fuzz.current_dir(root()).arg("-print_final_stats=0"))?;
    }
    Ok(())
}

fn apt_install_unless(program: &str, packages: &[&str]) -> Done {
    if works(&mut command(program, &["--version"])) { Ok(()) } else { apt_install(packages) }
}
