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
    let Arguments { pairs, seconds, json } = *arguments;
    in_pairs(measurement, pairs, seconds, json)
}

/// A measurement of `foil-bench` that takes interleaved pairs.
pub(crate) fn in_pairs(measurement: &str, pairs: usize, seconds: f64, json: bool) -> Done {
    let mut bench = command(venv("foil-bench"), &[measurement]);
    bench.args(["--pairs", &pairs.to_string(), "--seconds", &seconds.to_string()]);
    bench.arg("--foil").arg(venv("foil")).arg("--python").arg(venv("python"));
    if json {
        bench.arg("--json");
    }
    run(&mut bench)
}
