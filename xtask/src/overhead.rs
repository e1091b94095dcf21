//! Bare hyper against `foil serve`: what the corridor costs, measured in one run.

use crate::peers::environment;
use crate::setup::setup;
use crate::shell::{Done, command, run, venv};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Interleaved pairs of each comparison.
    #[arg(long, default_value_t = 7)]
    pairs: u32,
    /// Seconds of each run.
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// The last line is a JSON object (it always is; accepted for scripts).
    #[arg(long)]
    json: bool,
}

pub(crate) fn overhead(arguments: &Arguments) -> Done {
    setup()?;
    let mut bench = command(venv("foil-bench"), &["overhead"]);
    bench.arg("--foil").arg(venv("foil")).arg("--python").arg(venv("python"));
    bench.args([
        "--pairs",
        &arguments.pairs.to_string(),
        "--seconds",
        &arguments.seconds.to_string(),
    ]);
    if arguments.json {
        bench.arg("--json");
    }
    match environment("mosec") {
        Ok(python) => bench.arg("--mosec-python").arg(python),
        Err(why) => {
            println!("the peer that says whether the floor is a fair one is left out: {why}");
            &mut bench
        }
    };
    run(&mut bench)
}
