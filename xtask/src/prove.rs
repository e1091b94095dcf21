//! The load generator against what is known: installs the tools that others trust, then `foil-bench prove` compares.

use std::path::PathBuf;

use crate::setup::{apt_install, pip_for_clients, setup};
use crate::shell::{Done, command, run, target_dir, venv, works};

/// NVIDIA's C++ perf_analyzer came with this version and no later one; the CUDA runtime is what it links to.
const PACKAGES: [&str; 2] = ["tritonclient==2.46.0", "nvidia-cuda-runtime-cu12"];

/// MLPerf's own, with its rules for early stopping.
const LOADGEN: &str = "mlcommons-loadgen==6.0.17";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Interleaved pairs of each comparison.
    #[arg(long, default_value_t = 7)]
    pairs: u32,
    /// The last line is a JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn prove(arguments: &Arguments) -> Done {
    setup()?;
    let mut bench = command(venv("foil-bench"), &["prove"]);
    bench.args(["--pairs", &arguments.pairs.to_string()]);
    if arguments.json {
        bench.arg("--json");
    }
    match wrk() {
        Ok(wrk) => {
            bench.arg("--wrk").arg(wrk);
        }
        Err(why) => println!("wrk is left out: {why}"),
    }
    match loadgen() {
        Ok(python) => {
            bench.arg("--loadgen-python").arg(python);
        }
        Err(why) => println!("LoadGen is left out: {why}"),
    }
    match perf_analyzer() {
        Ok((analyzer, libraries)) => {
            bench.arg("--perf-analyzer").arg(analyzer).env("LD_LIBRARY_PATH", libraries);
        }
        Err(why) => println!("perf_analyzer is left out: {why}"),
    }
    run(&mut bench)
}

fn wrk() -> Done<&'static str> {
    // It has no option that only tells its version and succeeds.
    if !works(&mut command("sh", &["-c", "command -v wrk"])) {
        apt_install(&["wrk"])?;
    }
    Ok("wrk")
}

/// A Python that imports it.
fn loadgen() -> Done<PathBuf> {
    let directory = target_dir().join("proof-loadgen");
    let python = directory.join("bin/python");
    if !works(&mut command(&python, &["-c", "import mlperf_loadgen"])) {
        run(command(venv("python"), &["-m", "venv", "--clear"]).arg(&directory))?;
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", LOADGEN];
        run(&mut command(&python, &install))?;
    }
    Ok(python)
}

/// The program, and where the libraries lie that it wants.
pub(crate) fn perf_analyzer() -> Done<(PathBuf, PathBuf)> {
    let directory = target_dir().join("proof");
    let python = directory.join("bin/python");
    let libraries = directory.join("lib/cuda");
    let analyzer = directory.join("bin/perf_analyzer");
    let starts = || works(command(&analyzer, &["--version"]).env("LD_LIBRARY_PATH", &libraries));
    if !starts() {
        run(command(venv("python"), &["-m", "venv", "--clear"]).arg(&directory))?;
        run(pip_for_clients(&python).args(PACKAGES))?;
        link_cuda(&python, &libraries)?;
    }
    if !starts() {
        apt_install(&["libb64-0d"])?;
    }
    if starts() { Ok((analyzer, libraries)) } else { Err("it does not start here".to_owned()) }
}

/// The folder's name holds the interpreter's version; a link doesn't.
fn link_cuda(python: &PathBuf, link: &PathBuf) -> Done {
    let where_it_is =
        "import nvidia.cuda_runtime as it, os; print(os.path.join(list(it.__path__)[0], 'lib'))";
    let folder = crate::shell::output(&mut command(python, &["-c", where_it_is]))?;
    std::os::unix::fs::symlink(folder.trim(), link)
        .map_err(|error| format!("cannot link {}: {error}", link.display()))
}
