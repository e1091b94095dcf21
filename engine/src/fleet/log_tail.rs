//! A container's last words: bounded lines of bounded length, kept for errors and forwarded to our own stderr.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::clock::{Clock, Time};

/// Lines kept for whoever looks at a container's output.
const LINES_MAX: usize = 1000;

/// Lines that stand in an error: a traceback's worth.
const TEXT_LINES_MAX: usize = 20;

/// Bytes kept of one line.
const LINE_BYTES_MAX: usize = 400;

/// Lines forwarded a second and container; a model that prints megabytes must not cost the engine its time.
const FORWARD_LINES_MAX: u32 = 200;

/// Bytes read at once.
const READ_BYTES: usize = 8192;

/// After as many bytes as a pipe holds, reading pauses: a flood is held back by its own full pipe to 6 MB a second, and
/// takes no more of the machine from other models. Who prints less never waits.
const PAUSE_AFTER_BYTES: usize = 64 << 10;
const PAUSE: Duration = Duration::from_millis(10);

/// The last lines of one incarnation, from both of its streams.
#[derive(Clone, Debug, Default)]
pub struct LogTail {
    kept: Rc<RefCell<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<String>,
    /// Lines that came before the first of these.
    dropped: u64,
}

impl LogTail {
    pub fn push(&self, line: String) {
        let mut kept = self.kept.borrow_mut();
        if kept.lines.len() == LINES_MAX {
            kept.lines.pop_front();
            kept.dropped += 1;
        }
        kept.lines.push_back(line);
    }

    /// The last lines, for an error.
    pub fn text(&self) -> String {
        self.after(0, TEXT_LINES_MAX).0.join("\n")
    }

    /// The last lines, at most `most`, of those after the first `seen`; and how many there have been.
    pub fn after(&self, seen: u64, most: usize) -> (Vec<String>, u64) {
        let kept = self.kept.borrow();
        let total = kept.dropped + kept.lines.len() as u64;
        let old = usize::try_from(seen.saturating_sub(kept.dropped)).unwrap_or(usize::MAX);
        let skipped = old.max(kept.lines.len().saturating_sub(most));
        (kept.lines.iter().skip(skipped).cloned().collect(), total)
    }

    /// The last line that says something, for one-line messages.
    pub fn last_line(&self) -> Arc<str> {
        let kept = self.kept.borrow();
        let last = kept.lines.iter().rev().find(|line| !line.trim().is_empty());
        last.map_or("(no output)", |line| line.trim()).into()
    }

    /// Reads one stream to its end; the end of the process ends it.
    pub async fn follow(self, mut from: impl AsyncRead + Unpin, prefix: String, clock: Clock) {
        let mut follower = Follower::new(self, prefix, clock);
        let mut buffer = vec![0; READ_BYTES];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            follower.take(&buffer[..count]).await;
        }
        follower.finish();
    }
}

/// Takes one stream as it comes.
#[derive(Clone)]
pub struct Follower {
    tail: LogTail,
    prefix: String,
    clock: Clock,
    splitter: Splitter,
    budget: Budget,
    since_pause: usize,
}

impl Follower {
    pub fn new(tail: LogTail, prefix: String, clock: Clock) -> Follower {
        let (splitter, budget) = (Splitter::default(), Budget::default());
        Follower { tail, prefix, clock, splitter, budget, since_pause: 0 }
    }

    /// Waits when there is too much: whoever prints has to, too.
    pub async fn take(&mut self, bytes: &[u8]) {
        let now = self.clock.now();
        self.splitter.feed(bytes, |line| {
            forward(&mut self.budget, now, &self.prefix, &line);
            self.tail.push(line);
        });
        self.since_pause += bytes.len();
        if self.since_pause >= PAUSE_AFTER_BYTES {
            self.since_pause = 0;
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub fn finish(self) {
        self.splitter.finish(|line| self.tail.push(line));
    }
}

fn forward(budget: &mut Budget, now: Time, prefix: &str, line: &str) {
    match budget.spend(now) {
        Spent::Within => eprintln!("[{prefix}] {line}"),
        Spent::First => eprintln!(
            "[{prefix}] … prints more than {FORWARD_LINES_MAX} lines a second, the rest is dropped"
        ),
        Spent::Over => {}
    }
}

/// Cuts bytes into lines of bounded length.
#[derive(Clone, Default)]
struct Splitter {
    partial: Vec<u8>,
}

impl Splitter {
    fn feed(&mut self, bytes: &[u8], mut line: impl FnMut(String)) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let room = LINE_BYTES_MAX.saturating_sub(self.partial.len());
            let ended = part.ends_with(b"\n");
            let text = &part[..part.len() - usize::from(ended)];
            self.partial.extend_from_slice(&text[..text.len().min(room)]);
            if ended {
                line(String::from_utf8_lossy(&self.partial).into_owned());
                self.partial.clear();
            }
        }
    }

    fn finish(self, mut line: impl FnMut(String)) {
        if !self.partial.is_empty() {
            line(String::from_utf8_lossy(&self.partial).into_owned());
        }
    }
}

#[derive(Clone, Default)]
struct Budget {
    since: Time,
    spent: u32,
}

enum Spent {
    Within,
    /// The first line over the budget.
    First,
    Over,
}

impl Budget {
    fn spend(&mut self, now: Time) -> Spent {
        if now.since(self.since) >= Duration::from_secs(1) {
            *self = Budget { since: now, spent: 0 };
        }
        self.spent = self.spent.saturating_add(1);
        match self.spent {
            ..=FORWARD_LINES_MAX => Spent::Within,
            over if over == FORWARD_LINES_MAX + 1 => Spent::First,
            _ => Spent::Over,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_lines_only() {
        let tail = LogTail::default();
        (0..100).for_each(|line| tail.push(line.to_string()));
        assert!(tail.text().starts_with("80\n81\n"));
        assert_eq!(&*tail.last_line(), "99");
        (100..2000).for_each(|line| tail.push(line.to_string()));
        assert_eq!(tail.after(0, usize::MAX).0.len(), LINES_MAX);
        assert_eq!(tail.after(1998, 100), (vec!["1998".into(), "1999".into()], 2000));
        assert_eq!(tail.after(1000, 1), (vec!["1999".into()], 2000));
        assert_eq!(tail.after(5000, 1).0, Vec::<String>::new());
    }

    #[test]
    fn lines_are_cut_to_a_bound_wherever_reads_end() {
        let mut splitter = Splitter::default();
        let mut lines = Vec::new();
        splitter.feed(b"on", |line| lines.push(line));
        splitter.feed(b"e\ntwo\n", |line| lines.push(line));
        splitter.feed(&[b'x'; 10_000], |line| lines.push(line));
        splitter.feed(b"\n", |line| lines.push(line));
        assert_eq!(lines[..2], ["one", "two"]);
        assert_eq!(lines[2].len(), LINE_BYTES_MAX);
    }

    #[test]
    fn a_flood_is_forwarded_up_to_the_budget() {
        let mut budget = Budget::default();
        let now = Time::ZERO.after(Duration::from_secs(5));
        let within = (0..1000).filter(|_| matches!(budget.spend(now), Spent::Within)).count();
        assert_eq!(within, FORWARD_LINES_MAX as usize);
        assert!(matches!(budget.spend(now.after(Duration::from_secs(1))), Spent::Within));
    }
}
