//! Fuzzing of all that reads bytes from outside: coverage-guided, on stable, without a sanitizer, for panics, hangs and
//! runaway memory.

use std::process::Command;
use std::thread;

use crate::setup::apt_install_unless;
use crate::shell::{Done, cargo, root, run, works};
use crate::tools;

const TARGETS: [&str; 9] = [
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

/// Each has one thread, and the smallest machine that this is for has two cores.
const TARGETS_AT_ONCE: usize = 2;

/// What the build of a target is to save: its own time, where a target then runs for seconds, or that of its runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    Quick,
    Fast,
}

/// Each target gets its share of the seconds.
pub(crate) fn fuzz(seconds: u32, kind: Build) -> Done {
    apt_install_unless("g++", &["g++"])?;
    build(kind)?;
    let each = seconds.div_ceil(TARGETS.len() as u32);
    TARGETS.chunks(TARGETS_AT_ONCE).try_for_each(|targets| at_once(targets, each, kind))
}

/// All targets, with as many CPUs as there are.
pub(crate) fn build(kind: Build) -> Done {
    if !works(&mut cargo_fuzz(&["--version"])?) {
        tools::install("cargo-fuzz", None)?;
    }
    run(&mut built("build", kind)?)
}

fn at_once(targets: &[&str], seconds: u32, kind: Build) -> Done {
    let start = |target: &str| {
        let mut fuzz = built("run", kind)?;
        fuzz.args([target, "--", &format!("-max_total_time={seconds}")]);
        run(fuzz.args(["-rss_limit_mb=2048", "-timeout=10", "-print_final_stats=0"]))
    };
    thread::scope(|scope| {
        let running: Vec<_> =
            targets.iter().map(|target| scope.spawn(move || start(target))).collect();
        running.into_iter().try_for_each(|it| {
            it.join()
                .unwrap_or_else(|_| Err("a thread that waits for a fuzz target panicked".into()))
        })
    })
}

/// Builds and runs must name the same flags, or each run builds anew.
fn built(what: &str, kind: Build) -> Done<Command> {
    let mut fuzz = cargo_fuzz(&[what, "--sanitizer", "none"])?;
    if kind == Build::Quick {
        fuzz.args(["--codegen-units", "16"]).env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
    }
    Ok(fuzz)
}

fn cargo_fuzz(arguments: &[&str]) -> Done<Command> {
    let mut fuzz = cargo(&["fuzz"]);
    // Its own toolchain flags would otherwise meet those of the workspace's configuration.
    fuzz.args(arguments).current_dir(root()).env("PATH", tools::path()?);
    Ok(fuzz)
}
