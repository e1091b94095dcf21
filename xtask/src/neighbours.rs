//! What one model costs another on the same machine: sets up, then `foil-bench reload` or `pinning` measures.

use crate::setup::setup;
use crate::shell::{Done, command, run, venv};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Interleaved pairs of windows.
    #[arg(long, default_value_t = 9)]
    pairs: usize,
    /// Seconds of each window.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// The last line is a JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn neighbours(measurement: &str, arguments: &Arguments) -> Done {
    setup()?;
    let mut bench = command(venv("foil-bench"), &[measurement]);
    bench.args(["--pairs", &arguments.pairs.to_string()]);
    bench.args(["--seconds", &arguments.seconds.to_string()]);
    bench.arg("--foil").arg(venv("foil")).arg("--python").arg(venv("python"));
    if arguments.json {
        bench.arg("--json");
    }
    run(&mut bench)
}
