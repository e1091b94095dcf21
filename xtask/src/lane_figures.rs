//! Every figure of the shared-memory lane: builds what measures, then `foil-bench lanes` runs it.

use std::path::PathBuf;

use crate::setup::setup;
use crate::shell::{Done, cargo, command, output, root, run, target_dir, venv};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Interleaved rounds of each comparison.
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// The last line is a JSON object (it always is; accepted for scripts).
    #[arg(long)]
    json: bool,
}

pub(crate) fn lane_figures(arguments: &Arguments) -> Done {
    // Python's side is measured where its script lies; one without it says so.
    let python_script = root().join("python/benches/handover.py");
    setup()?;
    let lane = benchmark("shm-rpc", "lane")?;
    let handover = benchmark("engine", "handover")?;
    let mut bench = command(venv("foil-bench"), &["lanes", "--json"]);
    bench.args(["--rounds", &arguments.rounds.to_string()]);
    bench.arg("--lane").arg(lane).arg("--handover").arg(handover);
    bench.arg("--foil").arg(venv("foil")).arg("--python").arg(venv("python"));
    if python_script.is_file() {
        bench.arg("--handover-python").arg(python_script);
    }
    match iceoryx2() {
        Ok(program) => bench.arg("--iceoryx2").arg(program),
        Err(why) => {
            println!("iceoryx2_ns is not measured: {why}");
            &mut bench
        }
    };
    run(&mut bench)
}

/// Builds a benchmark and says where it lies: the end of its name is cargo's secret.
fn benchmark(package: &str, name: &str) -> Done<PathBuf> {
    let build = ["bench", "--quiet", "--locked", "--no-run", "--message-format", "json"];
    let messages = output(cargo(&build).args(["--package", package, "--bench", name]))?;
    let built = messages.lines().find_map(|message| {
        let of_this = message.contains("\"kind\":[\"bench\"]");
        let (_, path) = message.split_once("\"executable\":\"").filter(|_| of_this)?;
        path.split('"').next().map(PathBuf::from)
    });
    built.ok_or_else(|| format!("cargo does not say where it put the benchmark {name}"))
}

/// A workspace of its own, so that the peer is no dependency of ours.
fn iceoryx2() -> Done<PathBuf> {
    let directory = target_dir().join("iceoryx2");
    let manifest = ["--manifest-path", "bench/iceoryx2/Cargo.toml"];
    let mut build = cargo(&["build", "--quiet", "--release", "--locked"]);
    run(build.args(manifest).arg("--target-dir").arg(&directory))?;
    Ok(directory.join("release/lane-iceoryx2"))
}
