//! One run from its start to its end: the driver on a thread of its own, and an onlooker beside it who adds up the
//! stretches, so that neither telling nor writing them down delays a send.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use crate::driver::{self, DriverError};
use crate::grpc;
use crate::measured::{Feed, Measured};
use crate::plan::{Plan, Target, Transport};
use crate::threads::{PinError, pin};

/// Often enough to watch, seldom enough to have something to say.
pub const STRETCH: Duration = Duration::from_millis(500);
/// Stretches that the onlooker may be behind; one that writes files is slower than one that draws a line.
const STRETCHES_MAX: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error(transparent)]
    Pin(#[from] PinError),
}

/// What the onlooker gets to see.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// Measured time at the end of the stretch.
    pub at: Duration,
    pub stretch: &'a Measured,
    /// Everything up to here.
    pub whole: &'a Measured,
}

/// `core`: where the driver's thread is pinned; `stop` ends the run early. Comes back with the whole run.
pub fn conduct(
    target: &Target,
    plan: &Plan,
    core: Option<usize>,
    stop: Arc<AtomicBool>,
    look: &mut dyn FnMut(Sight<'_>),
) -> Result<Measured, SessionError> {
    let (full, stretches) = sync_channel(STRETCHES_MAX);
    let (give_back, spare) = sync_channel(STRETCHES_MAX);
    // The driver never allocates a set of histograms while it measures.
    for _ in 0..STRETCHES_MAX {
        let _room = give_back.try_send(Measured::default());
    }
    let feed = Feed { every: STRETCH, full, spare, stop };
    let mut whole = Measured::default();
    let mut add = |stretch: &Measured| {
        whole.add(stretch);
        look(Sight { at: whole.window, stretch, whole: &whole });
    };
    let last = std::thread::scope(|scope| {
        let driving = scope.spawn(move || {
            core.map_or(Ok(()), pin)?;
            let drive = match target.transport {
                Transport::Http1 => driver::drive_fed,
                Transport::Grpc => grpc::drive_fed,
            };
            Ok::<_, SessionError>(drive(target, plan, &mut |_| {}, feed)?)
        });
        for mut stretch in stretches {
            add(&stretch);
            stretch.clear();
            // A full channel has enough of them.
            let _enough = give_back.try_send(stretch);
        }
        driving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    add(&last);
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::tests::prompt_target;

    #[test]
    fn the_whole_is_what_its_stretches_add_up_to() {
        let target = prompt_target();
        let plan = Plan::closed(2, STRETCH * 2 + STRETCH / 2);
        let (mut seen, mut answers) = (Vec::new(), 0);
        let whole = conduct(&target, &plan, None, Arc::default(), &mut |sight| {
            seen.push(sight.at);
            answers += sight.stretch.answered;
        });
        let whole = whole.expect("a run");
        assert_eq!((whole.window, whole.answered), (plan.measure, answers));
        assert!(seen.is_sorted() && seen.last() == Some(&plan.measure), "{seen:?}");
        assert!(seen.len() >= 3, "{seen:?}");
    }
}
