//! Docker on this machine: installed and started when we may, else one sentence that says what is missing.

use std::fs::{File, create_dir_all, read_to_string};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::setup::{apt_install, is_root};
use crate::shell::{Done, command, run, target_dir, works};

/// A daemon that starts cleans up after its last life first.
const START_WAIT: Duration = Duration::from_secs(60);
/// A daemon that is there answers at once; one that hangs is not there.
const ANSWER_SECONDS: &str = "20";
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Lines of the daemon's log that its failure is told with.
const LINES_TOLD: usize = 5;

/// Docker answers; installs it and starts its daemon as root when need be. The error is one sentence, fit for a skip.
pub(crate) fn ready() -> Done {
    if answers() {
        return Ok(());
    }
    if !works(&mut command("docker", &["--version"])) {
        if !is_root() {
            return Err(
                "Docker is not installed (apt-get install docker.io, or docs.docker.com)".into()
            );
        }
        apt_install(&["docker.io"]).map_err(|why| format!("Docker can't be installed: {why}"))?;
    }
    // The package may have started it.
    if answers() { Ok(()) } else { start() }
}

fn answers() -> bool {
    works(&mut command(
        "timeout",
        &[ANSWER_SECONDS, "docker", "version", "--format", "{{.Server.Version}}"],
    ))
}

fn start() -> Done {
    if let Ok(host) = std::env::var("DOCKER_HOST") {
        return Err(format!("no Docker answers at DOCKER_HOST={host}"));
    }
    if !is_root() {
        return Err(
            "Docker's daemon does not answer, and only root may start it (systemctl start docker)"
                .into(),
        );
    }
    if Path::new("/run/systemd/system").exists() {
        run(&mut command("systemctl", &["start", "docker"]))?;
        return wait(|| None);
    }
    let log = target_dir().join("docker/dockerd.log");
    eprintln!("docker: starting dockerd, log in {}", log.display());
    let mut dockerd = spawn(&log).map_err(|error| format!("dockerd can't be started: {error}"))?;
    wait(|| dockerd.try_wait().ok().flatten()).map_err(|why| {
        let said = read_to_string(&log).unwrap_or_default();
        format!("{why}: {}", last_lines(&said))
    })
}

/// In a group of its own: it outlives this command, as a system's daemon does.
fn spawn(log: &Path) -> std::io::Result<Child> {
    create_dir_all(log.parent().unwrap_or(log))?;
    let file = File::create(log)?;
    let mut dockerd = Command::new("dockerd");
    dockerd.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
    dockerd.spawn()
}

#[expect(clippy::disallowed_methods, reason = "a bounded wait for a daemon")]
fn wait(mut ended: impl FnMut() -> Option<ExitStatus>) -> Done {
    let since = Instant::now();
    while since.elapsed() < START_WAIT {
        if answers() {
            return Ok(());
        }
        if let Some(status) = ended() {
            return Err(format!("Docker's daemon ended with {status}"));
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
    Err(format!("Docker's daemon did not answer within {START_WAIT:?}"))
}

/// In one line, as a skip is told.
fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LINES_TOLD)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_fails_is_told_with_its_last_lines() {
        assert_eq!(last_lines("a\nb\nc\nd\ne\nf\n"), "b | c | d | e | f");
        assert_eq!(last_lines(""), "");
    }
}
