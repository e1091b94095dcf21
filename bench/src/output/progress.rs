//! One line while a run goes on: how far it is, what is due and what comes back, and how the last stretch felt.
//!
//! On a terminal the line is redrawn with each stretch. Elsewhere, as in a log, it is written every few seconds.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::figures::{quantity, time_or_dash};
use crate::outcome::Moment;
use crate::report::count;
use crate::session::Sight;

/// A log that somebody reads has no use for more.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// The session's stretches come half as often; each is to be seen.
const REDRAWS_PER_SECOND: u8 = 10;
/// Short, so that the figures fit into 80 columns; what doesn't is cut.
const TEMPLATE: &str = "{bar:8} {wide_msg}";

pub struct Progress {
    total: Duration,
    show: Show,
}

enum Show {
    Bar(ProgressBar),
    /// Measured time up to which the last line spoke.
    Lines {
        said_at: Duration,
    },
}

impl Progress {
    /// On standard error, for a run of so much measured time.
    pub fn new(total: Duration) -> Progress {
        let show = if std::io::stderr().is_terminal() {
            let bar = bar(total);
            bar.set_message("warming up");
            Show::Bar(bar)
        } else {
            Show::Lines { said_at: Duration::ZERO }
        };
        Progress { total, show }
    }

    pub fn look(&mut self, sight: Sight<'_>) {
        let line = || line(&sight.into(), self.total, sight.whole.failures.total());
        match &mut self.show {
            Show::Bar(bar) => {
                bar.set_position(millis(sight.at));
                bar.set_message(line());
            }
            Show::Lines { said_at } => {
                if is_due(*said_at, sight.at) {
                    *said_at = sight.at;
                    eprintln!("{}", line());
                }
            }
        }
    }

    /// Makes room for what comes after.
    pub fn finish(self) {
        if let Show::Bar(bar) = self.show {
            bar.finish_and_clear();
        }
    }
}

fn bar(total: Duration) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND);
    let bar = ProgressBar::with_draw_target(Some(millis(total)), target);
    let style = ProgressStyle::with_template(TEMPLATE);
    bar.with_style(
        style.expect("the template is a constant with known fields").progress_chars("━╸ "),
    )
}

fn millis(span: Duration) -> u64 {
    span.as_millis() as u64
}

fn is_due(said_at: Duration, now: Duration) -> bool {
    now >= said_at + LINE_EVERY
}

/// Answered and due requests, latencies and the p99 of the send lag; `failures`: of the run so far.
fn line(moment: &Moment, total: Duration, failures: u64) -> String {
    let [p50, p99, max, lag] =
        [moment.p50_us, moment.p99_us, moment.max_us, moment.send_lag_p99_us].map(time_or_dash);
    let failed =
        if failures > 0 { format!("{} FAILED  ", count(failures as f64)) } else { String::new() };
    format!(
        "{:.1}/{:.0} s  {} of {}/s  {failed}p50 {p50}  p99 {p99}  max {max}  lag {lag}",
        moment.at_s,
        total.as_secs_f64(),
        quantity(moment.answered_per_second),
        quantity(moment.due_per_second),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::examples::good;

    #[test]
    fn a_line_tells_the_last_stretch_and_all_failures() {
        let mut moment = good().timeline[0];
        (moment.p50_us, moment.p99_us, moment.max_us) = (Some(42.06), Some(1_240.0), None);
        moment.send_lag_p99_us = Some(9.0);
        let told = line(&moment, Duration::from_secs(10), 1_234);
        assert_eq!(
            told,
            "0.5/10 s  2,000 of 2,000/s  1,234 FAILED  p50 42.1 µs  p99 1.24 ms  max –  lag 9.00 µs"
        );
        assert!(!line(&moment, Duration::from_secs(10), 0).contains("FAILED"));
    }

    #[test]
    fn a_log_gets_a_line_every_few_seconds() {
        let at = Duration::from_millis;
        assert!(!is_due(at(0), at(4_999)) && is_due(at(0), at(5_000)));
        assert!(!is_due(at(5_000), at(9_500)) && is_due(at(5_000), at(10_000)));
    }

    #[test]
    fn the_bar_can_be_built() {
        assert_eq!(bar(Duration::from_secs(2)).length(), Some(2_000));
    }
}
