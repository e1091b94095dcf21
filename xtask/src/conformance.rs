//! Real clients against `foil serve`: tritonclient, kserve's, Clipper's, perf_analyzer, reflection; and the answers on record.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::peers::environment as peer;
use crate::prove::perf_analyzer;
use crate::setup::{pip_for_clients, python, setup};
use crate::shell::{Done, command, root, run, target_dir, works};

const SUITE: &str = "tests/conformance";
/// Its generated messages clash with those of the other clients: a process of its own.
const WITH_KSERVE: &str = "tests/conformance/with_kserve";
/// Its engine speaks Clipper's interface, and no other server does.
const WITH_CLIPPER: &str = "tests/conformance/with_clipper";
/// Installed without what it asks for: a pin of its own does not import on a Python of today.
const WITHOUT_DEPENDENCIES: [&str; 1] = ["clipper-admin==0.4.1"];

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Arguments {
    /// Try the suite on the real Triton of the wheel nvidia-pytriton instead.
    #[arg(long)]
    triton: bool,
    /// A million requests of perf_analyzer too.
    #[arg(long)]
    long: bool,
    /// Put the answers on record anew, of this server: foil or triton.
    #[arg(long, value_name = "SERVER", value_parser = ["foil", "triton"])]
    record: Option<String>,
    /// Only tests that match, as pytest's -k says.
    #[arg(short = 'k', value_name = "EXPRESSION")]
    only: Option<String>,
}

pub(crate) fn conformance(arguments: &Arguments) -> Done {
    setup()?;
    let python = environment()?;
    if arguments.triton || arguments.record.as_deref() == Some("triton") {
        peer("triton")?;
    }
    if let Some(server) = &arguments.record {
        return run(&mut command(&python, &["tests/conformance/golden.py", "record", server]));
    }
    let mut suite = pytest(&python, arguments);
    match perf_analyzer() {
        Ok((analyzer, libraries)) => {
            suite.env("PERF_ANALYZER", analyzer).env("PERF_ANALYZER_LIBRARIES", libraries);
        }
        Err(why) => println!("perf_analyzer is left out: {why}"),
    }
    run(suite.args([SUITE, "--ignore", WITH_KSERVE, "--ignore", WITH_CLIPPER]))?;
    if arguments.only.is_some() {
        return Ok(());
    }
    run(pytest(&python, arguments).arg(WITH_KSERVE))?;
    if arguments.triton { Ok(()) } else { run(pytest(&python, arguments).arg(WITH_CLIPPER)) }
}

fn pytest(python: &PathBuf, arguments: &Arguments) -> Command {
    let mut pytest = command(python, &["-m", "pytest", "-q", "-p", "no:cacheprovider"]);
    pytest.args(arguments.triton.then_some("--triton"));
    pytest.args(arguments.long.then_some("--long"));
    pytest.args(arguments.only.iter().flat_map(|only| ["-k", only]));
    pytest
}

/// The clients' own Python, made anew when what it holds has changed since.
fn environment() -> Done<PathBuf> {
    let directory = target_dir().join("conformance");
    let requirements = root().join(SUITE).join("requirements.txt");
    let wanted = fs::read_to_string(&requirements)
        .map_err(|error| format!("cannot read {}: {error}", requirements.display()))?;
    let stamp = directory.join("requirements-installed");
    let interpreter = directory.join("bin/python");
    let installed = fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted);
    if installed && works(&mut command(&interpreter, &["-c", "import tritonclient, clipper_admin"]))
    {
        return Ok(interpreter);
    }
    eprintln!("conformance: setting up the clients");
    let python = python().ok_or("no Python that is new enough; install python3")?;
    run(command(python, &["-m", "venv", "--clear"]).arg(&directory))?;
    run(pip_for_clients(&interpreter).arg("--requirement").arg(&requirements))?;
    run(pip_for_clients(&interpreter).arg("--no-deps").args(WITHOUT_DEPENDENCIES))?;
    fs::write(&stamp, wanted)
        .map_err(|error| format!("cannot write {}: {error}", stamp.display()))?;
    Ok(interpreter)
}
