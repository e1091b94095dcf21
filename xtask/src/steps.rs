//! One program that takes a while: its output is shown as progress, its time is bounded, and its failure is told with
//! its last lines, a probable cause and what to do.

mod blame;
mod show;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::shell::Done;
use blame::blame;
use show::Show;

/// Lines between a program and us; one that prints faster waits.
const LINES_WAITING_MAX: usize = 256;
/// Enough to see what went wrong, few enough to fit a screen.
const LINES_TOLD: usize = 15;
/// A longer line is cut: no program of ours says more in one.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// Between two looks at the time.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is done, and for what.
pub(crate) struct Step<'a> {
    /// Which image or program it is for: in front of every line.
    pub(crate) of: &'a str,
    pub(crate) doing: &'a str,
    /// It is ended when it takes longer.
    pub(crate) wait: Duration,
}

impl Step<'_> {
    /// Runs it to its end; anything but success is told in full.
    #[expect(clippy::disallowed_methods, reason = "a bound and a progress line need a clock")]
    pub(crate) fn run(&self, command: &mut Command) -> Done {
        let began = Instant::now();
        let mut show = Show::begin(self.of, self.doing);
        let (mut child, lines) = start(command).map_err(|error| self.cannot(command, &error))?;
        let mut last = VecDeque::with_capacity(LINES_TOLD);
        loop {
            match lines.recv_timeout(LOOK_EVERY) {
                Ok(line) => {
                    show.line(&line, began.elapsed());
                    keep(&mut last, line);
                }
                Err(RecvTimeoutError::Timeout) => show.quiet(began.elapsed()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if began.elapsed() > self.wait {
                end(&mut child);
                show.end(began.elapsed());
                return Err(self.told(&format!("took longer than {:?}", self.wait), &last));
            }
        }
        let ended = child.wait().map_err(|error| self.cannot(command, &error))?;
        show.end(began.elapsed());
        if ended.success() {
            Ok(())
        } else {
            Err(self.told(&format!("failed with {ended}"), &last))
        }
    }

    fn cannot(&self, command: &Command, error: &std::io::Error) -> String {
        let program = command.get_program().to_string_lossy();
        format!("{}: {}: cannot run {program}: {error}", self.of, self.doing)
    }

    fn told(&self, how: &str, last: &VecDeque<String>) -> String {
        let lines: Vec<&str> = last.iter().map(String::as_str).collect();
        let blame = blame(&lines);
        let said = lines.iter().map(|line| format!("\n    {line}")).collect::<String>();
        format!(
            "{}: {} {how}\n  its last lines:{said}\n  probable cause: {}\n  to fix it: {}",
            self.of, self.doing, blame.cause, blame.fix
        )
    }
}

fn start(command: &mut Command) -> std::io::Result<(Child, Receiver<String>)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let (tell, lines) = sync_channel(LINES_WAITING_MAX);
    if let Some(out) = child.stdout.take() {
        follow(out, tell.clone());
    }
    if let Some(err) = child.stderr.take() {
        follow(err, tell);
    }
    Ok((child, lines))
}

/// Passes lines on until the program closes its end, or nobody listens any more.
fn follow(from: impl Read + Send + 'static, tell: SyncSender<String>) {
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut bytes = Vec::new();
        while from.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0)
        {
            if tell.send(tidy(&bytes)).is_err() {
                return;
            }
            bytes.clear();
        }
    });
}

/// The last state of a line that redraws itself, without colours.
fn tidy(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let drawn = text.trim_end().rsplit('\r').next().unwrap_or_default();
    anstream::adapter::strip_str(drawn).to_string()
}

fn keep(last: &mut VecDeque<String>, line: String) {
    if line.trim().is_empty() {
        return;
    }
    if last.len() == LINES_TOLD {
        last.pop_front();
    }
    last.push_back(line);
}

fn end(child: &mut Child) {
    // It may have ended this instant; either way it is reaped.
    let _ended = child.kill();
    let _reaped = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::command;

    fn step(wait: Duration) -> Step<'static> {
        Step { of: "test", doing: "trying", wait }
    }

    #[test]
    fn a_failure_tells_the_exit_code_the_last_lines_and_what_to_do() {
        let script = "exec 2>&1; for i in $(seq 30); do echo line $i; done; echo No space left on device >&2; exit 3";
        let told = step(Duration::from_secs(60)).run(&mut command("sh", &["-c", script]));
        let told = told.expect_err("it fails");
        assert!(told.starts_with("test: trying failed with exit status: 3"), "{told}");
        assert!(told.contains("No space left on device") && told.contains("line 30"), "{told}");
        assert!(!told.contains("line 2\n"), "{told}");
        assert!(told.contains("the disk is full"), "{told}");
    }

    #[test]
    fn what_never_ends_is_ended() {
        let told = step(Duration::from_millis(1)).run(&mut command("sleep", &["1000"]));
        assert!(told.expect_err("it is ended").contains("took longer than 1ms"));
    }

    #[test]
    fn success_is_quiet_and_a_missing_program_is_named() {
        assert_eq!(step(Duration::from_secs(60)).run(&mut command("true", &[])), Ok(()));
        let told = step(Duration::from_secs(60)).run(&mut command("no-such-program", &[]));
        assert!(told.expect_err("there is none").contains("cannot run no-such-program"));
    }

    #[test]
    fn redrawn_and_coloured_lines_are_told_as_seen() {
        assert_eq!(tidy(b" 10 %\r 20 %\r done\n"), " done");
        assert_eq!(tidy(b"\x1b[1;31mred\x1b[0m plain\n"), "red plain");
    }
}
