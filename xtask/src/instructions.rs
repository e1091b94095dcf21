//! Instructions per request against what they were: gungraun counts them, `bench/budgets/instructions.toml` remembers.
//!
//! Counts repeat to a hundredth of a percent where wall time on shared cores does not to ten, so they can fail a
//! build. They hold for one compiler: another one's counts are shown and fail nothing until they are recorded.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::Value;

use self::budget::Budget;
use self::counted::REQUESTS;
use crate::setup::apt_install_unless;
use crate::shell::{Done, cargo, command, output, root, run};
use crate::tools;

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

/// All that counting needs, without a count.
pub(crate) fn build() -> Done {
    runner()?;
    run(&mut bench(&["--no-run"]))
}

fn bench(arguments: &[&str]) -> Command {
    let bench = ["bench", "--quiet", "--locked", "--package", "engine", "--bench", "instructions"];
    let mut bench = cargo(&bench);
    bench.args(arguments);
    bench
}

/// Installs it where that may be done; else says why not.
pub(crate) fn valgrind() -> Done {
    apt_install_unless("valgrind", &["valgrind"])
}

/// Instructions of a request, by figure.
fn measure() -> Done<BTreeMap<String, u64>> {
    runner()?;
    let mut bench = bench(&["--", "--output-format=json", "--parallel=auto"]);
    let lines = output(bench.env("PATH", tools::path()?))?;
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

/// Builds it unless one of the right version is there.
fn runner() -> Done {
    let version = output(&mut cargo(&["pkgid", "gungraun"]))?;
    let version = version.trim().rsplit(['@', '#']).next().unwrap_or_default();
    let said = output(&mut command(tools::folder()?.join(RUNNER), &["--version"]));
    if said.is_ok_and(|said| said.trim() == format!("{RUNNER} {version}")) {
        return Ok(());
    }
    tools::install(RUNNER, Some(version))
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
