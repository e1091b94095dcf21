//! Ours beside other serving systems: an environment for each, then `foil-bench peers` measures.

use std::fs;
use std::path::{Path, PathBuf};

use crate::setup::{python, setup};
use crate::shell::{Done, command, output, root, run, target_dir, venv, works};

const PEERS: [&str; 6] = ["mosec", "triton", "pytriton", "litserve", "mlserver", "uvicorn"];

/// They start a program that brings the system's own libpython with it.
const EMBEDDED: [&str; 2] = ["triton", "pytriton"];

/// Says whether the library that such a program would load is this Python's own.
const IS_EMBEDDABLE: &str = "import ctypes, sys, platform\n\
    library = ctypes.CDLL('libpython%d.%d.so.1.0' % sys.version_info[:2])\n\
    library.Py_GetVersion.restype = ctypes.c_char_p\n\
    version = library.Py_GetVersion().decode().split()[0]\n\
    sys.exit(version != platform.python_version())";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Peers, as in mosec,triton,pytriton,litserve,mlserver,uvicorn; or all.
    #[arg(long, value_delimiter = ',', default_values = ["mosec", "triton"])]
    only: Vec<String>,
    /// Models and encodings, as in noop/bin,linear/json; or all.
    #[arg(long, value_delimiter = ',', default_values = ["noop/bin", "noop/json", "noop/grpc", "mlp/bin", "mlp/json"])]
    cells: Vec<String>,
    /// Interleaved pairs for each figure.
    #[arg(long, default_value_t = 7)]
    pairs: u32,
    /// Seconds of each run.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Measures anew what is there already.
    #[arg(long)]
    fresh: bool,
    /// The last line is a JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn peers(arguments: &Arguments) -> Done {
    setup()?;
    let mut bench = command(venv("foil-bench"), &["peers"]);
    bench.arg("--foil").arg(venv("foil")).arg("--python").arg(venv("python"));
    bench.args(["--only", &arguments.only.join(","), "--cells", &arguments.cells.join(",")]);
    bench.args(["--pairs", &arguments.pairs.to_string()]);
    bench.args(["--seconds", &arguments.seconds.to_string(), "--revision", &revision()]);
    bench.arg("--environments").arg(environments());
    bench.arg("--results").arg(environments().join("results"));
    bench.args(["--report", "bench/RESULTS.md", "--plots", "bench/plots"]);
    for flag in [(arguments.fresh, "--fresh"), (arguments.json, "--json")] {
        bench.args(flag.0.then_some(flag.1));
    }
    for peer in wanted(&arguments.only) {
        if let Err(why) = environment(peer) {
            eprintln!("peers: {peer} is left out: {why}");
            bench.args(["--skipped", &format!("{peer}={why}")]);
        }
    }
    run(&mut bench)
}

fn wanted(only: &[String]) -> impl Iterator<Item = &'static str> {
    PEERS.into_iter().filter(|peer| only.iter().any(|name| name == peer || name == "all"))
}

fn environments() -> PathBuf {
    target_dir().join("peers")
}

/// The Python of the peer's own environment, made anew when the peer's requirements have changed since.
pub(crate) fn environment(peer: &str) -> Done<PathBuf> {
    let directory = environments().join(peer);
    let python = directory.join("bin/python");
    let requirements = root().join("bench/peers").join(peer).join("requirements.txt");
    let wanted = fs::read_to_string(&requirements)
        .map_err(|error| format!("cannot read {}: {error}", requirements.display()))?;
    let stamp = directory.join("requirements-installed");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    eprintln!("peers: setting up {peer}");
    run(command(interpreter(peer)?, &["-m", "venv", "--clear"]).arg(&directory))?;
    let install =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    run(command(&python, &install).arg(&requirements))?;
    fs::write(&stamp, wanted)
        .map_err(|error| format!("cannot write {}: {error}", stamp.display()))?;
    Ok(python)
}

fn interpreter(peer: &str) -> Done<PathBuf> {
    if !EMBEDDED.contains(&peer) {
        return python().ok_or("no Python that is new enough; install python3".to_owned());
    }
    let names = ["/usr/bin/python3", "python3", "python3.11", "python3.12"];
    let found = names.map(PathBuf::from).into_iter().find(|python| is_embeddable(python));
    found.ok_or(
        "no Python whose libpython the system finds; install python3 and libpython3".to_owned(),
    )
}

fn is_embeddable(python: &Path) -> bool {
    works(&mut command(python, &["-c", IS_EMBEDDABLE]))
        && works(&mut command(python, &["-c", "import venv, ensurepip"]))
}

/// The commit, and whether there is more than it in the files.
fn revision() -> String {
    let told = output(&mut command("git", &["describe", "--always", "--dirty"]));
    told.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_has_a_program_and_pinned_requirements() {
        for peer in PEERS {
            let folder = root().join("bench/peers").join(peer);
            assert!(folder.join("serve.py").is_file(), "{peer}");
            let requirements = fs::read_to_string(folder.join("requirements.txt")).expect("a file");
            assert!(requirements.lines().all(|line| line.contains("==")), "{peer}: {requirements}");
        }
    }

    #[test]
    fn those_asked_for_are_set_up_and_no_others() {
        let names = |only: &[&str]| {
            let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
            wanted(&only).collect::<Vec<_>>()
        };
        assert_eq!(names(&["triton", "mosec"]), ["mosec", "triton"]);
        assert_eq!(names(&["all"]), PEERS);
        assert!(names(&["nothing"]).is_empty());
    }
}
