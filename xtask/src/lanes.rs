//! Lanes of a check: run one after the other, each timed, counted and told in a table at the end.

use std::time::{Duration, Instant};

use crate::shell::Done;

/// What became of a lane.
enum Ended {
    Passed,
    Skipped(String),
    Failed(String),
}

#[derive(Default)]
pub(crate) struct Lanes {
    ended: Vec<(&'static str, Duration, Ended)>,
}

impl Lanes {
    /// Runs a lane and says whether it passed. A failure does not keep the others from running.
    #[expect(clippy::disallowed_methods, reason = "timing the lanes is the point")]
    pub(crate) fn run(&mut self, name: &'static str, lane: impl FnOnce() -> Done) -> bool {
        println!("\n── {name} ──");
        let began = Instant::now();
        let ended = match lane() {
            Ok(()) => Ended::Passed,
            Err(why) => Ended::Failed(why),
        };
        let passed = matches!(ended, Ended::Passed);
        self.ended.push((name, began.elapsed(), ended));
        passed
    }

    /// Says that a lane can't run here, and why.
    pub(crate) fn skip(&mut self, name: &'static str, why: &str) {
        println!("\n── {name} ──\nskipped: {why}");
        self.ended.push((name, Duration::ZERO, Ended::Skipped(why.to_owned())));
    }

    /// The table and the summary line; an error when a lane failed.
    pub(crate) fn finish(self) -> Done {
        println!("\nlane                 seconds  result");
        for (name, took, ended) in &self.ended {
            let result = match ended {
                Ended::Passed => "passed".to_owned(),
                Ended::Skipped(why) => format!("skipped: {why}"),
                Ended::Failed(why) => format!("FAILED: {why}"),
            };
            println!("{name:<20} {:>7.1}  {result}", took.as_secs_f64());
        }
        let count = |wanted: fn(&Ended) -> bool| {
            self.ended.iter().filter(|(_, _, ended)| wanted(ended)).count()
        };
        let passed = count(|ended| matches!(ended, Ended::Passed));
        let failed = count(|ended| matches!(ended, Ended::Failed(_)));
        let skipped = count(|ended| matches!(ended, Ended::Skipped(_)));
        println!("\n{passed} passed, {failed} failed, {skipped} skipped");
        if failed == 0 { Ok(()) } else { Err(format!("{failed} lanes failed")) }
    }
}
