//! Other programs, run for what they say, and never for longer than they may.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::step::{Stop, fail};
use crate::clock::wait_until;

/// Of an error's text, what a report shows: the last words are the telling ones.
const TOLD_CHARACTERS_MAX: usize = 600;

#[derive(Debug, thiserror::Error)]
pub(super) enum ProgramError {
    #[error("{program} could not be run: {source}")]
    Run { program: String, source: io::Error },
    #[error("{program} took longer than {} s and was ended", limit.as_secs())]
    Late { program: String, limit: Duration },
}

impl From<ProgramError> for Stop {
    fn from(error: ProgramError) -> Stop {
        fail(error)
    }
}

/// What a program said until it ended.
#[derive(Debug)]
pub(super) struct Said {
    /// None: a signal ended it.
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

impl Said {
    pub(super) fn is_success(&self) -> bool {
        self.code == Some(0)
    }

    /// All of it if that is JSON, else its last line that is.
    pub(super) fn json(&self) -> Option<serde_json::Value> {
        if let Ok(whole) = serde_json::from_str(&self.out) {
            return Some(whole);
        }
        let lines = self.out.lines().rev().filter(|line| line.starts_with(['{', '[']));
        lines.filter_map(|line| serde_json::from_str(line).ok()).next()
    }

    /// How it failed, in its own words.
    pub(super) fn complaint(&self) -> String {
        let said = if self.err.trim().is_empty() { &self.out } else { &self.err };
        let said = said.trim();
        let skipped = said.chars().count().saturating_sub(TOLD_CHARACTERS_MAX);
        let last: String = said.chars().skip(skipped).collect();
        match self.code {
            Some(code) => format!("exit {code}: {last}"),
            None => format!("ended by a signal: {last}"),
        }
    }
}

/// Runs it, with what it says in files of `folder`.
pub(super) fn said(
    command: &mut Command,
    folder: &Path,
    limit: Duration,
) -> Result<Said, ProgramError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let run = |source| ProgramError::Run { program: program.clone(), source };
    let (out, err) = (folder.join("said.out"), folder.join("said.err"));
    command.stdin(Stdio::null());
    command.stdout(File::create(&out).map_err(run)?).stderr(File::create(&err).map_err(run)?);
    let mut child = command.spawn().map_err(run)?;
    let mut ended = None;
    wait_until(limit, || {
        ended = child.try_wait().transpose();
        ended.is_some()
    });
    let Some(status) = ended else {
        // It may have ended in this very moment; either way it is gone after the wait.
        let _ = child.kill();
        let _ = child.wait();
        return Err(ProgramError::Late { program, limit });
    };
    let read = |path: &Path| Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned());
    let code = status.map_err(run)?.code();
    Ok(Said { code, out: read(&out).map_err(run)?, err: read(&err).map_err(run)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Result<Said, ProgramError> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(format!("foil-bench-program-{process}-{number}"));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let said = said(Command::new("sh").args(["-c", script]), &folder, limit);
        std::fs::remove_dir_all(&folder).expect("removed");
        said
    }

    #[test]
    fn what_a_program_says_is_kept_and_its_last_json_found() {
        let said =
            shell("echo '{\"a\": 1}'; echo words; echo no >&2; exit 3", Duration::from_secs(20));
        let said = said.expect("it ends");
        assert_eq!((said.code, said.is_success()), (Some(3), false));
        assert_eq!(said.json().expect("a line")["a"], 1);
        assert_eq!(said.complaint(), "exit 3: no");
    }

    #[test]
    fn json_over_several_lines_is_one_value() {
        let said = shell("echo '{'; echo '\"a\": [1,'; echo '2]}'", Duration::from_secs(20));
        assert_eq!(said.expect("it ends").json().expect("JSON")["a"][1], 2);
    }

    #[test]
    fn a_program_that_takes_too_long_is_ended() {
        let late = shell("exec sleep 60", Duration::from_millis(50));
        assert!(matches!(late, Err(ProgramError::Late { .. })), "{late:?}");
    }
}
