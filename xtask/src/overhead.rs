//! Bare hyper against `foil serve`: what the corridor costs, measured in one run.

use crate::setup::setup;
use crate::shell::{Done, command, run, target_dir, venv, works};

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
    match mosec() {
        Ok(python) => bench.arg("--mosec-python").arg(python),
        Err(why) => {
            println!("the peer that says whether the floor is a fair one is left out: {why}");
            &mut bench
        }
    };
    run(&mut bench)
}

/// A virtual environment of its own for the peer, so that it can't disturb ours.
fn mosec() -> Done<std::path::PathBuf> {
    let directory = target_dir().join("peers");
    let python = directory.join("bin/python");
    if !works(&mut command(&python, &["-c", "import mosec, numpy"])) {
        run(command(venv("python"), &["-m", "venv", "--clear"]).arg(&directory))?;
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        run(command(&python, &install).args(["mosec", "numpy"]))?;
    }
    Ok(python)
}
