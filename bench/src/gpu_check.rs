//! `foil-bench gpu-check`: whether what is promised of GPUs holds on this machine, in one call of less than 8 minutes.
//!
//! A table of steps, one after the other. Each has a budget and is begun only while that much is left; what this machine
//! lacks is skipped and said. Correctness that does not hold fails the check; a figure that misses what is due is
//! written down as a miss. The machine needs no toolchain, no Docker and no network: programs and the Python package
//! are carried (`cargo xtask gpu-check` bundles them), and its own Python brings PyTorch, if it has it.

mod correct;
mod look;
mod memory;
mod models;
mod partition;
mod program;
mod report;
mod scaling;
mod serving;
mod site;
mod speed;
mod step;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use self::report::{Counts, Entry, Report};
use self::site::{Left, Site};
use self::step::{Step, begins};
use crate::clock::{Clock, nanos, unix_s};
use crate::overhead::OverheadError;

/// Less than 8 minutes by what a step may overrun its budget: engines that start, and windows that are measured, are not
/// cut short.
const TOTAL_S_MAX: u64 = 460;
const _: () = assert!(TOTAL_S_MAX < 8 * 60);

const fn step(
    name: &'static str,
    budget_s: u64,
    run: fn(&Site, Left) -> Result<step::Findings, step::Stop>,
) -> Step {
    Step { name, budget: Duration::from_secs(budget_s), run }
}

/// What matters most comes first, for time may run out. Budgets: what it takes on a slow disk, times two.
const STEPS: [Step; 11] = [
    step("environment", 15, look::environment),
    step("devices", 15, look::devices),
    step("doctor", 30, look::doctor),
    step("probe", 30, look::probe),
    step("native correct", 60, correct::native),
    step("PyTorch correct", 90, correct::pytorch),
    step("copies", 40, speed::copies),
    step("native speed", 80, speed::native),
    step("PyTorch speed", 110, speed::pytorch),
    step("memory returned", 60, memory::returned),
    step("scaling", 60, scaling::scaling),
];

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where bin/ with foil and foil-container lies, and python/ with the package
    #[arg(long)]
    pub bundle: PathBuf,
    /// Where gpu-check.json and gpu-check.md are written
    #[arg(long)]
    pub out: PathBuf,
    /// The Python that has PyTorch, if any has
    #[arg(long, env = "FOIL_PYTHON", default_value = "python3")]
    pub python: PathBuf,
    /// Seconds that all may take together
    #[arg(long, default_value_t = TOTAL_S_MAX)]
    pub seconds: u64,
    /// Models of the size that a CPU takes, on a GPU too
    #[arg(long)]
    pub small: bool,
    /// Only the steps whose names contain this
    #[arg(long)]
    pub only: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum GpuCheckError {
    #[error("{} has no bin/foil; give the folder that `cargo xtask gpu-check` made", bundle.display())]
    NoBundle { bundle: PathBuf },
    #[error("no step's name contains '{only}'; the steps are {}", STEPS.map(|step| step.name).join(", "))]
    NoStep { only: String },
    #[error("{} can't be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Workplace(#[from] OverheadError),
}

/// Whether nothing that ran failed.
pub fn run(args: &Args) -> Result<bool, GpuCheckError> {
    let args = &absolute(args);
    if !args.bundle.join("bin/foil").is_file() {
        return Err(GpuCheckError::NoBundle { bundle: args.bundle.clone() });
    }
    let steps = chosen(args.only.as_deref())?;
    let clock = Clock::start();
    let ends_ns = nanos(Duration::from_secs(args.seconds));
    let site = Site::look(args)?;
    let entries: Vec<Entry> =
        steps.into_iter().map(|step| take(&site, step, Left { clock, ends_ns })).collect();
    let gpu = site.gpu.as_ref().ok().map(|gpu| format!("{}, driver {}", gpu.name, gpu.driver));
    let report = Report::of(entries, (gpu, unix_s()), seconds(clock.now_ns()));
    write(args, &report)?;
    let Counts { passed, missed, done, skipped, failed } = report.counts();
    println!(
        "{done} steps done, {skipped} skipped, {failed} failed; due figures: {passed} passed, {missed} missed; {:.0} s",
        report.seconds
    );
    Ok(failed == 0)
}

fn absolute(args: &Args) -> Args {
    let bundle = std::path::absolute(&args.bundle).unwrap_or_else(|_| args.bundle.clone());
    Args { bundle, ..args.clone() }
}

fn chosen(only: Option<&str>) -> Result<Vec<&'static Step>, GpuCheckError> {
    let only = only.unwrap_or_default();
    let steps: Vec<_> = STEPS.iter().filter(|step| step.name.contains(only)).collect();
    if steps.is_empty() {
        return Err(GpuCheckError::NoStep { only: only.to_owned() });
    }
    Ok(steps)
}

fn take(site: &Site, step: &Step, whole: Left) -> Entry {
    let begun_ns = whole.clock.now_ns();
    let found = begins(step.budget, whole.span())
        .and_then(|()| (step.run)(site, whole.within(step.budget)));
    let entry = Entry::of(step.name, found, seconds(whole.clock.now_ns() - begun_ns));
    println!("{}", entry.line());
    entry
}

fn seconds(ns: u64) -> f64 {
    Duration::from_nanos(ns).as_secs_f64()
}

fn write(args: &Args, report: &Report) -> Result<(), GpuCheckError> {
    std::fs::create_dir_all(&args.out)
        .map_err(|source| GpuCheckError::Write { path: args.out.clone(), source })?;
    for (name, text) in [("gpu-check.json", report.json()), ("gpu-check.md", report.page())] {
        let path = args.out.join(name);
        std::fs::write(&path, text).map_err(|source| GpuCheckError::Write { path, source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_of_no_step_is_refused() {
        let count = |only| chosen(only).map(|steps| steps.len()).ok();
        assert_eq!((count(None), count(Some("correct"))), (Some(STEPS.len()), Some(2)));
        let refused = chosen(Some("corect")).err().expect("no step is named so");
        assert!(refused.to_string().contains("native correct, PyTorch correct"), "{refused}");
    }

    #[test]
    fn names_are_told_apart_and_every_step_may_begin_when_it_is_alone() {
        for (at, step) in STEPS.iter().enumerate() {
            assert!(STEPS[..at].iter().all(|other| other.name != step.name), "{}", step.name);
            assert!(begins(step.budget, Duration::from_secs(TOTAL_S_MAX)).is_ok());
        }
    }
}
