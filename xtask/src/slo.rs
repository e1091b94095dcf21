//! The promise of 20 ms on real models and real time: sets up, then `foil-bench slo` measures.

use std::path::PathBuf;

use crate::setup::setup;
use crate::shell::{Done, cargo, command, run, target_dir, venv};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Seconds of each cell; some take twice as long.
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// Only these experiments, as in B1,B2.
    #[arg(long, default_value = "")]
    only: String,
    /// The last line is a JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn slo(arguments: &Arguments) -> Done {
    setup()?;
    let seconds = arguments.seconds.to_string();
    let mut bench = command(venv("foil-bench"), &["slo", "--seconds", &seconds]);
    bench.arg("--foil").arg(venv("foil")).arg("--python").arg(venv("python"));
    bench.arg("--simulator").arg(simulator()?).arg("--captures").arg(target_dir());
    if !arguments.only.is_empty() {
        bench.args(["--only", &arguments.only]);
    }
    if arguments.json {
        bench.arg("--json");
    }
    run(&mut bench)
}

/// Replays what the engine did.
fn simulator() -> Done<PathBuf> {
    let build = ["build", "--quiet", "--release", "--locked", "--package", "simulator"];
    run(&mut cargo(&build))?;
    Ok(target_dir().join("release/foil-sim"))
}
