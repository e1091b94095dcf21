//! A step's progress: on a terminal one line that is redrawn, elsewhere a line now and then.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A log that somebody reads has no use for more.
const LINE_EVERY: Duration = Duration::from_secs(15);
const REDRAWS_PER_SECOND: u8 = 5;
/// Spinner, seconds, and the latest line, cut to the terminal's width.
const TEMPLATE: &str = "{spinner} {prefix}  {elapsed:>4}  {wide_msg}";

pub(super) struct Show {
    /// Who does what.
    what: String,
    way: Way,
}

enum Way {
    Redrawn(ProgressBar),
    Lines { said_at: Duration, latest: String },
}

impl Show {
    pub(super) fn begin(of: &str, doing: &str) -> Show {
        let what = format!("{of}: {doing}");
        let way = if std::io::stderr().is_terminal() {
            Way::Redrawn(bar(&what))
        } else {
            eprintln!("{what}");
            Way::Lines { said_at: Duration::ZERO, latest: String::new() }
        };
        Show { what, way }
    }

    pub(super) fn line(&mut self, line: &str, at: Duration) {
        match &mut self.way {
            Way::Redrawn(bar) => bar.set_message(line.trim().to_owned()),
            Way::Lines { latest, .. } => line.trim().clone_into(latest),
        }
        self.quiet(at);
    }

    /// Time went by without a word.
    pub(super) fn quiet(&mut self, at: Duration) {
        match &mut self.way {
            Way::Redrawn(bar) => bar.tick(),
            Way::Lines { said_at, latest } if is_due(*said_at, at) => {
                *said_at = at;
                eprintln!("{}: {} s: {latest}", self.what, at.as_secs());
            }
            Way::Lines { .. } => {}
        }
    }

    pub(super) fn end(self, at: Duration) {
        if let Way::Redrawn(bar) = self.way {
            bar.finish_and_clear();
            eprintln!("{}: {:.1} s", self.what, at.as_secs_f64());
        }
    }
}

fn is_due(said_at: Duration, at: Duration) -> bool {
    at >= said_at + LINE_EVERY
}

fn bar(what: &str) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND);
    let bar = ProgressBar::with_draw_target(None, target).with_prefix(what.to_owned());
    let style = ProgressStyle::with_template(TEMPLATE);
    bar.with_style(style.expect("the template is a constant with known fields"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_gets_a_line_now_and_then() {
        let at = Duration::from_secs;
        assert!(!is_due(at(0), at(14)) && is_due(at(0), at(15)));
        assert!(!is_due(at(15), at(29)) && is_due(at(15), at(30)));
    }

    #[test]
    fn the_line_can_be_drawn() {
        assert_eq!(bar("python: building").prefix(), "python: building");
    }
}
