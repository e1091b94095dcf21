//! Programs that serving leans on, asked for their versions.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::fleet::launch::process::Programs;

/// For a program to say its version; a cold disk makes Python's imports take seconds.
const PROGRAM_WAIT: Duration = Duration::from_secs(15);

const TOOLKIT: &str = "nvidia-ctk";

/// Says its own version before it imports what may fail.
const ABOUT_PYTHON: &str = "import sys; print('.'.join(map(str, sys.version_info[:3])), flush=True); \
     import hydrofoil; print(hydrofoil.__version__)";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::host::doctor) enum Toolkit {
    Absent,
    Version(String),
    /// It is there and doesn't say its version.
    Silent {
        why: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::host::doctor) struct Python {
    pub(in crate::host::doctor) program: String,
    pub(in crate::host::doctor) version: Result<String, String>,
    pub(in crate::host::doctor) hydrofoil: Result<String, String>,
}

#[derive(Debug)]
struct Said {
    out: String,
    /// The last line of its complaints.
    complaint: String,
}

#[derive(Debug)]
enum Unsaid {
    Absent,
    Failed { why: String },
}

pub(super) async fn toolkit() -> Toolkit {
    match ask(TOOLKIT.into(), &["--version"]).await {
        Ok(said) => match version_in(&said.out) {
            Some(version) => Toolkit::Version(version),
            None => Toolkit::Silent { why: said.complaint },
        },
        Err(Unsaid::Absent) => Toolkit::Absent,
        Err(Unsaid::Failed { why }) => Toolkit::Silent { why },
    }
}

pub(super) async fn python(named: Option<PathBuf>) -> Python {
    let program = Programs::find(named).python;
    let said = ask(program.clone(), &["-c", ABOUT_PYTHON]).await;
    let (version, hydrofoil) = about_python(said);
    Python { program: program.display().to_string(), version, hydrofoil }
}

/// Its version and ours in it.
fn about_python(said: Result<Said, Unsaid>) -> (Result<String, String>, Result<String, String>) {
    let failed = |why: &str| (Err(why.to_owned()), Err(why.to_owned()));
    match said {
        Ok(said) => {
            let mut lines = said.out.lines().map(str::to_owned);
            let mut next = || lines.next().ok_or_else(|| said.complaint.clone());
            (next(), next())
        }
        Err(Unsaid::Absent) => failed("not found"),
        Err(Unsaid::Failed { why }) => failed(&why),
    }
}

async fn ask(program: PathBuf, arguments: &[&str]) -> Result<Said, Unsaid> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(PROGRAM_WAIT, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == ErrorKind::NotFound => return Err(Unsaid::Absent),
        Ok(Err(error)) => return Err(Unsaid::Failed { why: error.to_string() }),
        Err(_) => {
            let why = format!("no answer within {} s", PROGRAM_WAIT.as_secs());
            return Err(Unsaid::Failed { why });
        }
    };
    let complaint = String::from_utf8_lossy(&output.stderr);
    let complaint = complaint.trim_end().lines().last().unwrap_or_default().to_owned();
    Ok(Said { out: String::from_utf8_lossy(&output.stdout).into_owned(), complaint })
}

/// `NVIDIA Container Toolkit CLI version 1.17.8`, and a commit on the next line.
fn version_in(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("version ")?;
    rest.split_whitespace().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_toolkits_version_is_in_its_first_line() {
        let text = "NVIDIA Container Toolkit CLI version 1.17.8\ncommit: f202b80a\n";
        assert_eq!(version_in(text).as_deref(), Some("1.17.8"));
        assert_eq!(version_in("usage: nvidia-ctk"), None);
    }

    #[test]
    fn a_python_may_be_there_without_us_in_it() {
        let said = |out: &str| Said { out: out.to_owned(), complaint: "No module".to_owned() };
        let both = about_python(Ok(said("3.12.3\n0.1.0\n")));
        assert_eq!(both, (Ok("3.12.3".to_owned()), Ok("0.1.0".to_owned())));
        let alone = about_python(Ok(said("3.12.3\n")));
        assert_eq!(alone, (Ok("3.12.3".to_owned()), Err("No module".to_owned())));
        assert_eq!(about_python(Err(Unsaid::Absent)).0, Err("not found".to_owned()));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_told_from_one_that_complains() {
        assert!(matches!(ask("/nowhere/at-all".into(), &[]).await, Err(Unsaid::Absent)));
        let said = ask("sh".into(), &["-c", "echo one; echo two >&2; exit 3"]).await;
        let said = said.expect("it ran");
        assert_eq!((said.out.as_str(), said.complaint.as_str()), ("one\n", "two"));
    }
}
