//! Instructions per request against what they were: gungraun counts them, `bench/budgets/instructions.toml` remembers.
//!
//! Counts repeat to a hundredth of a percent where wall time on shared cores does not to ten, so they can fail a
//! build. They hold for one compiler: another one's counts are shown and fail nothing until they are recorded.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use self::budget::Budget;
use self::counted::REQUESTS;
use crate::setup::apt_install;
use crate::shell::{Done, cargo, command, output, root, run, target_dir, works};

mod budget;
#[path = "../../engine/benches/corridor/counted.rs"]
#[expect(dead_code, reason = "how long it warms up is the benchmark's business")]
mod counted;

const BUDGET: &str = "bench/budgets/instructions.toml";
/// It must be of the library's very version.
const RUNNER: &str = "gungraun-runner";

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Arguments {
    /// Write what is measured into the budget.
    #[arg(long)]
    record: bool,
    /// The last line is a JSON object.
    #[arg(long)]
    json: bool,
}

/// Fails when a figure grew beyond its budget.
pub(crate) fn instructions(arguments: &Arguments) -> Done {
    match valgrind() {
        Err(why) if !arguments.record => {
            println!("skipped, there is no valgrind: {why}");
            return Ok(());
        }
        found => found?,
    }
    let rustc = output(&mut command("rustc", &["--version"]))?.trim().to_owned();
    let measured = Budget { rustc, figures: measure()? };
    let path = root().join(BUDGET);
    if arguments.record {
        let written = fs::write(&path, measured.to_text());
        written.map_err(|error| format!("cannot write {BUDGET}: {error}"))?;
    }
    let text = fs::read_to_string(&path);
    let text = text.map_err(|error| format!("cannot read {BUDGET}: {error}; use --record"))?;
    let budget = Budget::parse(&text).map_err(|error| format!("{BUDGET}: {error}"))?;
    print!("{}", budget.table(&measured));
    if arguments.json {
        println!("{}", Value::from_iter(measured.figures.clone()));
    }
    budget.verdict(&measured).map(|remark| println!("{remark}"))
}

/// Installs it where that may be done; else says why not.
pub(crate) fn valgrind() -> Done {
    let is_there = works(&mut command("valgrind", &["--version"]));
    if is_there { Ok(()) } else { apt_install(&["valgrind"]) }
}

/// Instructions of a request, by figure.
fn measure() -> Done<BTreeMap<String, u64>> {
    let tools = runner()?;
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let path =
        std::env::join_paths(std::iter::once(tools).chain(std::env::split_paths(&inherited)))
            .map_err(|error| format!("the folder of {RUNNER} cannot be in PATH: {error}"))?;
    let bench = ["bench", "--quiet", "--locked", "--package", "engine", "--bench", "instructions"];
    let mut bench = cargo(&bench);
    let lines = output(bench.args(["--", "--output-format=json"]).env("PATH", path))?;
    lines.lines().map(figure).collect()
}

/// A figure as gungraun says it: its name, and instructions of all requests.
fn figure(line: &str) -> Done<(String, u64)> {
    let unknown = || format!("this is no summary of gungraun's: {line}");
    let summary: Value = serde_json::from_str(line).map_err(|_| unknown())?;
    let counted = &summary["profiles"][0]["data"]["total"]["metrics"]["Ir"]["values"]["new"];
    let (name, counted) = summary["id"].as_str().zip(counted.as_u64()).ok_or_else(unknown)?;
    Ok((name.to_owned(), counted.div_ceil(REQUESTS)))
}

/// The folder of the runner, which is built unless one of the right version is there.
fn runner() -> Done<PathBuf> {
    let version = output(&mut cargo(&["pkgid", "gungraun"]))?;
    let version = version.trim().rsplit(['@', '#']).next().unwrap_or_default().to_owned();
    let tools = std::path::absolute(target_dir().join("tools")).map_err(|it| it.to_string())?;
    let folder = tools.join("bin");
    let said = output(&mut command(folder.join(RUNNER), &["--version"]));
    if said.is_ok_and(|said| said.trim() == format!("{RUNNER} {version}")) {
        return Ok(folder);
    }
    let install = ["install", "--quiet", "--locked", "--force", "--debug", RUNNER, "--version"];
    let mut install = cargo(&install);
    install.arg(version).arg("--root").arg(&tools);
    // It only starts valgrind and reads its files: what it says of its own lines is not worth the wait.
    run(install.env("CARGO_PROFILE_DEV_DEBUG", "0"))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_instructions_of_one_request() {
        let total = 7 * REQUESTS;
        let metrics = format!(r#"{{"Ir":{{"values":{{"new":{total}}}}}}}"#);
        let data = format!(r#"{{"total":{{"metrics":{metrics}}}}}"#);
        let line = format!(r#"{{"id":"binary_batch_1","profiles":[{{"data":{data}}}]}}"#);
        assert_eq!(figure(&line), Ok(("binary_batch_1".to_owned(), 7)));
        assert!(figure("{}").is_err() && figure("Gungraun result: Ok").is_err());
    }
}
