//! `foil doctor`: is this machine fit for serving, and if not, which command mends it?
//!
//! [`facts`] reads what there is, each look bounded in time; [`judge`] says what to think of it, without looking anywhere.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::json;
use tokio::runtime::Builder;

use self::facts::Facts;
use self::judge::judge;
use super::{HostError, print};
use crate::cli::host::Doctor;

mod facts;
mod judge;

/// What one look came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Check {
    name: Cow<'static, str>,
    verdict: Verdict,
    found: String,
    /// What mends it, as a command where one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ok,
    /// Serving works, but something does not, or not well.
    Warn,
    /// `foil serve` does not work here as it is meant to.
    Fail,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
        }
    }
}

impl Check {
    fn ok(name: impl Into<Cow<'static, str>>, found: impl Into<String>) -> Check {
        Check { name: name.into(), verdict: Verdict::Ok, found: found.into(), mend: None }
    }

    fn warn(
        name: impl Into<Cow<'static, str>>,
        found: impl Into<String>,
        mend: impl Into<String>,
    ) -> Check {
        Check { verdict: Verdict::Warn, ..Check::fail(name, found, mend) }
    }

    fn fail(
        name: impl Into<Cow<'static, str>>,
        found: impl Into<String>,
        mend: impl Into<String>,
    ) -> Check {
        Check { verdict: Verdict::Fail, mend: Some(mend.into()), ..Check::ok(name, found) }
    }
}

pub(super) fn doctor(flags: &Doctor) -> Result<(), HostError> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let facts = runtime.block_on(facts::read(flags));
    let checks = judge(&facts);
    print(&if flags.json { json(&facts, &checks) } else { text(&facts, &checks) })?;
    match count(&checks, Verdict::Fail) {
        0 => Ok(()),
        count => Err(HostError::Unfit { count }),
    }
}

fn count(checks: &[Check], verdict: Verdict) -> usize {
    checks.iter().filter(|check| check.verdict == verdict).count()
}

/// Plain text without colours: it is pasted into reports.
fn text(facts: &Facts, checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let line = |check: &Check| {
        let head = format!("{:4}  {:width$}  ", check.verdict.name(), check.name);
        let mend = check
            .mend
            .as_ref()
            .map_or(String::new(), |mend| format!("{:indent$}→ {mend}\n", "", indent = head.len()));
        format!("{head}{}\n{mend}", check.found)
    };
    let lines: String = checks.iter().map(line).collect();
    let counts = [Verdict::Ok, Verdict::Warn, Verdict::Fail];
    let counts = counts.map(|verdict| format!("{} {}", count(checks, verdict), verdict.name()));
    format!("foil {} on {}\n\n{lines}\n{}\n", facts.foil, facts.host, counts.join(", "))
}

fn json(facts: &Facts, checks: &[Check]) -> String {
    let value = json!({
        "foil": facts.foil,
        "host": facts.host,
        "ok": count(checks, Verdict::Ok),
        "warn": count(checks, Verdict::Warn),
        "fail": count(checks, Verdict::Fail),
        "checks": checks,
    });
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_is_a_line_and_what_mends_it_another() {
        let checks = [
            Check::ok("kernel", "6.8.0"),
            Check::warn("shared memory", "64 MiB", "sudo mount"),
            Check::fail("port 8000", "taken", "ss -ltnp"),
        ];
        let facts = Facts { foil: "0.1.0".into(), host: "big".into(), ..facts::sound() };
        assert_eq!(
            text(&facts, &checks),
            "foil 0.1.0 on big

ok    kernel         6.8.0
warn  shared memory  64 MiB
                     → sudo mount
fail  port 8000      taken
                     → ss -ltnp

1 ok, 1 warn, 1 fail
"
        );
        let json: serde_json::Value = serde_json::from_str(&json(&facts, &checks)).expect("JSON");
        assert_eq!(json["fail"], 1);
        assert_eq!(json["checks"][1]["verdict"], "warn");
        assert_eq!(json["checks"][2]["mend"], "ss -ltnp");
        assert!(json["checks"][0].get("mend").is_none());
    }
}
