//! The tests, what the continuous integration adds to them, and what only runs by night.

use crate::ahead::Ahead;
use crate::conformance::{self, conformance};
use crate::demo::{Arguments, demo};
use crate::description::description;
use crate::docker;
use crate::fuzz::{Build, fuzz};
use crate::gpu_check::{self, gpu_check};
use crate::images::{self, Name};
use crate::instructions::{self, instructions};
use crate::lanes::Lanes;
use crate::setup::{apt_install_unless, setup};
use crate::shell::{Done, cargo, command, output, root, run, target_dir, venv, works};
use std::path::Path;

/// Seconds of all fuzz targets together: in `ci`, where their build takes longer than that, and by night.
const FUZZ_SECONDS: u32 = 72;
const FUZZ_SECONDS_NIGHTLY: u32 = 3600;

/// Containers killed by night, on each kind of memory; the ordinary run kills 100.
const KILLS_NIGHTLY: &str = "1000";

/// Property cases by night; tests have their own numbers otherwise.
const PROPTEST_CASES_NIGHTLY: &str = "100000";

/// Linted and tested with everything else: by itself it would have all libraries compiled again, for fewer features.
const C_ABI: &str = "shm-rpc/c-abi";

/// Images that tests run; two minutes of work where none is there.
const TESTED: [Name; 3] = [Name::Native, Name::Hostile, Name::Python];

/// The interpreter that the extension is checked against without one being there.
const FREE_THREADED: &str = "implementation=CPython\nversion=3.14\nshared=true\n\
    target_abi=CPython-free_threaded-3.14\npointer_width=64\nbuild_flags=Py_GIL_DISABLED\n";

pub(crate) fn test() -> Done {
    let mut lanes = Lanes::default();
    lanes.run("setup", setup);
    tests(&mut lanes);
    lanes.finish()
}

pub(crate) fn ci() -> Done {
    let mut lanes = Lanes::default();
    lanes.run("format", || run(&mut cargo(&["fmt", "--all", "--check"])));
    lanes.run("clippy", || clippy(&["--workspace", "--all-targets", "--features", C_ABI]));
    lanes.run("clippy, no C ABI", || {
        clippy(&["--package", "shm-rpc", "--lib", "--features", "schemas"])
    });
    lanes.run("free-threaded Python", free_threaded);
    lanes.run("setup", setup);
    let ahead = Ahead::start();
    tests(&mut lanes);
    lanes.run("HTTP description", description);
    lanes.run("demo", || demo(&Arguments::default()));
    lanes.run("docs", docs);
    lanes.run("generated code", generated);
    lanes.run("built ahead", || ahead.map(Ahead::wait));
    lanes.run("fuzz", || fuzz(FUZZ_SECONDS, Build::Quick));
    count(&mut lanes);
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

/// What `cargo xtask test` runs once the wheel is there.
fn tests(lanes: &mut Lanes) {
    lanes.run("rust", || {
        let test = ["test", "--quiet", "--workspace", "--exclude", "tests", "--locked"];
        run(cargo(&test).args(["--features", C_ABI]))
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

fn clippy(what: &[&str]) -> Done {
    let mut clippy = cargo(&["clippy", "--quiet", "--locked"]);
    run(clippy.args(what).args(["--", "-D", "warnings"]))
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

fn generated() -> Done {
    apt_install_unless("cmake", &["cmake", "g++"])?;
    let arguments = ["run", "--quiet", "--package", "xtask", "--features", "codegen", "--"];
    run(cargo(&arguments).args(["codegen", "--check"]))
}

/// There are no examples; asked for, they have cargo choose the features of libraries that clippy had, which are checked.
fn docs() -> Done {
    let doc = ["doc", "--quiet", "--workspace", "--no-deps", "--locked"];
    let mut doc = cargo(&doc);
    run(doc.args(["--lib", "--bins", "--examples"]).env("RUSTDOCFLAGS", "-D warnings"))
}
