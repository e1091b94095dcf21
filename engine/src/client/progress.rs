//! What a person sees while a command waits: on a terminal a bar or a spinner under the lines said so far; elsewhere the lines alone.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A spinner that turns shows that the command lives.
const TURN_EVERY: Duration = Duration::from_millis(100);
const UPLOADING: &str = "{bar:24} {decimal_bytes}/{decimal_total_bytes}  {wide_msg}";
const WAITING: &str = "{spinner} {elapsed}  {wide_msg}";

pub(super) enum Progress {
    Terminal(ProgressBar),
    Lines,
    /// The report itself is printed.
    Silent,
}

impl Progress {
    /// On standard error.
    pub(super) fn new(json: bool) -> Progress {
        match (json, std::io::stderr().is_terminal()) {
            (true, _) => Progress::Silent,
            (false, true) => {
                let target = ProgressDrawTarget::stderr();
                Progress::Terminal(ProgressBar::with_draw_target(None, target))
            }
            (false, false) => Progress::Lines,
        }
    }

    /// Before the first of so many bytes is sent.
    pub(super) fn uploading(&self, what: &str, bytes: u64) {
        match self {
            Progress::Terminal(bar) => {
                bar.set_style(style(UPLOADING));
                bar.set_length(bytes);
                bar.set_message(what.to_owned());
            }
            Progress::Lines => eprintln!("{what}"),
            Progress::Silent => {}
        }
    }

    /// A count that the upload keeps up by itself.
    pub(super) fn sent(&self) -> impl Fn(u64) + Send + Sync + use<> {
        let bar = match self {
            Progress::Terminal(bar) => Some(bar.clone()),
            Progress::Lines | Progress::Silent => None,
        };
        move |bytes| {
            if let Some(bar) = &bar {
                bar.inc(bytes);
            }
        }
    }

    /// Nothing to count from here on.
    pub(super) fn waiting(&self, message: &str) {
        if let Progress::Terminal(bar) = self {
            bar.set_style(style(WAITING));
            bar.reset_elapsed();
            bar.enable_steady_tick(TURN_EVERY);
            bar.set_message(message.to_owned());
        }
    }

    pub(super) fn say(&self, line: &str) {
        match self {
            Progress::Terminal(bar) => bar.println(line),
            Progress::Lines => eprintln!("{line}"),
            Progress::Silent => {}
        }
    }

    pub(super) fn end(&self) {
        if let Progress::Terminal(bar) = self {
            bar.finish_and_clear();
        }
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
