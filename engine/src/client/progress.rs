//! What a person sees while a command waits: on a terminal a bar or a spinner under the lines said so far; elsewhere the lines alone.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A spinner that turns shows that the command lives.
const TURN_EVERY: Duration = Duration::from_millis(100);
const UPLOADING: &str = "{bar:24} {decimal_bytes}/{decimal_total_bytes}  {wide_msg}";
const WAITING: &str = "{spinner} {elapsed}  {wide_msg}";

pub(super) struct Progress {
    /// Hidden where nobody would see it; it counts all the same.
    bar: ProgressBar,
    /// False: the report itself is printed.
    tells: bool,
}

impl Progress {
    /// On standard error.
    pub(super) fn new(json: bool) -> Progress {
        // Hides by itself where that is no terminal.
        let target = if json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        Progress { bar: ProgressBar::with_draw_target(None, target), tells: !json }
    }

    /// Before the first of so many bytes is sent.
    pub(super) fn uploading(&self, what: &str, bytes: u64) {
        if self.bar.is_hidden() {
            return self.say(what);
        }
        self.bar.set_style(style(UPLOADING));
        self.bar.set_length(bytes);
        self.bar.set_message(what.to_owned());
    }

    /// For the upload, which keeps the count up by itself.
    pub(super) fn counter(&self) -> impl Fn(u64) + Send + Sync + use<> {
        let bar = self.bar.clone();
        move |bytes| bar.inc(bytes)
    }

    /// Bytes counted so far.
    pub(super) fn sent(&self) -> u64 {
        self.bar.position()
    }

    /// Nothing to count from here on.
    pub(super) fn waiting(&self, message: &str) {
        if !self.bar.is_hidden() {
            self.bar.set_style(style(WAITING));
            self.bar.reset_elapsed();
            self.bar.enable_steady_tick(TURN_EVERY);
            self.bar.set_message(message.to_owned());
        }
    }

    pub(super) fn say(&self, line: &str) {
        if self.tells {
            self.bar.suspend(|| eprintln!("{line}"));
        }
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // An error is told below a clean line.
        self.end();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are constants that parse")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_parse() {
        let _both = [UPLOADING, WAITING].map(style);
    }
}
