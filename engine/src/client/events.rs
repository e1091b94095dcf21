//! What the engine reports while a version starts, one JSON object a line.

use std::fmt::Write;

use serde::Deserialize;

use super::error::ClientError;

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    /// It will not be forgotten from here on.
    Accepted {
        version: u64,
    },
    Step {
        text: String,
    },
    Ready(Ready),
    Failed(Failed),
    /// Of an engine that knows more.
    #[serde(other)]
    Later,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(super) struct Ready {
    pub(super) version: u64,
    #[serde(default)]
    pub(super) seconds: f64,
    pub(super) url: Option<String>,
    #[serde(default)]
    pub(super) checked: bool,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(super) struct Failed {
    pub(super) version: Option<u64>,
    pub(super) error: String,
    pub(super) output: Option<String>,
    pub(super) cause: Option<String>,
    pub(super) fix: Option<String>,
}

pub(super) fn parse(line: &[u8]) -> Result<Event, ClientError> {
    serde_json::from_slice(line).map_err(|error| ClientError::Answer { why: error.to_string() })
}

/// All that is known of a failure, the most important first.
pub(super) fn failure(name: &str, failed: &Failed) -> String {
    let version = failed.version.map_or(String::new(), |version| format!(" v{version}"));
    let said = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    let output = said(&failed.output);
    let error = without_repetition(failed.error.trim_end(), output.as_deref());
    let mut text = format!("{name}{version} failed: {error}");
    // Writing to a string can't fail.
    if let Some(output) = output {
        text.push_str("\nlast output:");
        output.trim_end().lines().for_each(|line| {
            let _ = write!(text, "\n  | {line}");
        });
    }
    if let Some(cause) = said(&failed.cause) {
        let _ = write!(text, "\nprobable cause: {}", cause.trim_end());
    }
    if let Some(fix) = said(&failed.fix) {
        let _ = write!(text, "\nfix: {}", fix.trim_end());
    }
    text
}

/// A container tells its engine what it writes as well: once is enough.
fn without_repetition<'e>(error: &'e str, output: Option<&str>) -> &'e str {
    let is_repeated = output.is_some_and(|output| output.contains(error));
    if is_repeated { error.lines().next().unwrap_or_default() } else { error }
}

/// A file that the model reads and that is not part of its version, by its name beside the model.
pub(super) fn missing_file(failed: &Failed) -> Option<&str> {
    const MISSING: &str = "No such file or directory: '";
    let output = failed.output.as_deref().unwrap_or_default();
    let mut lines = failed.error.lines().chain(output.lines());
    let path = lines.find_map(|line| line.split_once(MISSING))?.1.split('\'').next()?;
    // The engine names its own directory by nothing; in a Docker container it is another.
    let file = path.strip_prefix("/model/").unwrap_or(path);
    (!file.is_empty() && !file.starts_with('/')).then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_apart_and_unknown_ones_pass() {
        let event = |line: &str| parse(line.as_bytes()).unwrap();
        assert_eq!(event(r#"{"event":"accepted","version":3}"#), Event::Accepted { version: 3 });
        assert_eq!(event(r#"{"event":"dance","steps":2}"#), Event::Later);
        let ready = event(r#"{"event":"ready","version":3,"seconds":1.5,"checked":true}"#);
        let expected = Ready { version: 3, seconds: 1.5, url: None, checked: true };
        assert_eq!(ready, Event::Ready(expected));
        assert!(parse(b"<html>").is_err());
    }

    #[test]
    fn a_failure_is_told_with_output_cause_and_fix() {
        let line = r#"{"event":"failed","version":2,"error":"exit code 1","output":"a\nb\n","cause":"no numpy","fix":"pip install numpy"}"#;
        let Event::Failed(failed) = parse(line.as_bytes()).unwrap() else { panic!("failed") };
        let told = "digits v2 failed: exit code 1\nlast output:\n  | a\n  | b\nprobable cause: no numpy\nfix: pip install numpy";
        assert_eq!(failure("digits", &failed), told);
    }

    #[test]
    fn a_failure_without_details_is_one_line() {
        let line = r#"{"event":"failed","error":"no","output":"","cause":null}"#;
        let Event::Failed(failed) = parse(line.as_bytes()).unwrap() else { panic!("failed") };
        assert_eq!(failure("digits", &failed), "digits failed: no");
    }

    #[test]
    fn what_the_output_repeats_is_said_once() {
        let line = r#"{"event":"failed","error":"KeyError: 'a'\n  File m.py","output":"KeyError: 'a'\n  File m.py\n"}"#;
        let Event::Failed(failed) = parse(line.as_bytes()).unwrap() else { panic!("failed") };
        let told = "m failed: KeyError: 'a'\nlast output:\n  | KeyError: 'a'\n  |   File m.py";
        assert_eq!(failure("m", &failed), told);
    }

    #[test]
    fn a_file_that_was_left_at_home_is_named() {
        let missing = |path: &str| {
            let error = format!("FileNotFoundError: [Errno 2] No such file or directory: '{path}'");
            let failed = Failed { version: Some(3), error, output: None, cause: None, fix: None };
            missing_file(&failed).map(ToOwned::to_owned)
        };
        assert_eq!(missing("w/a.npy").as_deref(), Some("w/a.npy"));
        assert_eq!(missing("/model/w.npy").as_deref(), Some("w.npy"));
        assert_eq!(missing("/etc/w.npy"), None);
    }
}
