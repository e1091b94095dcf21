//! System calls of the engine's side, counted from outside: `perf` does it without slowing anything down.
//!
//! The lane's benchmark runs twice with different numbers of batches, so that what starting costs falls out of the
//! difference. Only its main thread is counted, which is all there is of the engine's side.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::programs::{Figures, Program};
use super::{Args, rounded};

const BATCHES_FEW: u64 = 20_000;
const BATCHES_MANY: u64 = 60_000;

/// On one core and on two, with one batch out at a time as the engine has it, and with two.
pub(super) fn per_batch(args: &Args) -> Figures {
    let (engine, container) = (args.engine_core, args.container_core);
    let found = [
        ("syscalls_per_batch", engine, 1),
        ("syscalls_per_batch_across", container, 1),
        ("syscalls_per_batch_across_2_credits", container, 2),
    ];
    let figures = found.map(|(name, container, credits)| {
        let cores = format!("{engine},{container}");
        let lane = Program::new(&args.lane).with(&[
            "--only",
            "saturate",
            "--cores",
            &cores,
            "--credits",
            &credits.to_string(),
        ]);
        let per_batch = few_and_many(&lane);
        if per_batch.is_none() {
            println!("{name} is not counted: perf is missing or may not count system calls");
        }
        (name.to_owned(), per_batch.map_or(Value::Null, |calls| json!(rounded(calls))))
    });
    Figures::from_iter(figures)
}

fn few_and_many(lane: &Program) -> Option<f64> {
    let few = count(lane, BATCHES_FEW)?;
    let many = count(lane, BATCHES_MANY)?;
    Some((many as f64 - few as f64) / (BATCHES_MANY - BATCHES_FEW) as f64)
}

/// `-i`: what the container does is not inherited by the count.
fn count(lane: &Program, batches: u64) -> Option<u64> {
    let mut perf = Command::new("perf");
    perf.args(["stat", "-i", "-x", ",", "-e", "raw_syscalls:sys_enter", "--"]);
    perf.args(lane.words()).args(["--batches", &batches.to_string()]);
    let output = perf.stdin(Stdio::null()).output().ok()?;
    if !output.status.success() {
        return None;
    }
    counted(&String::from_utf8_lossy(&output.stderr))
}

fn counted(report: &str) -> Option<u64> {
    let line = report.lines().find(|line| line.contains("raw_syscalls:sys_enter"))?;
    line.split(',').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_stands_first_on_its_line() {
        let report = "lane: a word\n80033,,raw_syscalls:sys_enter,468131889,100.00,,\n";
        assert_eq!(counted(report), Some(80_033));
        assert_eq!(counted("<not supported>,,raw_syscalls:sys_enter,0,100.00,,\n"), None);
        assert_eq!(counted(""), None);
    }
}
