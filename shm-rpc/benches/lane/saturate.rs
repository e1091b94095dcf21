//! Batches as fast as the lane takes them, without a report: to be run under a counter of system calls, twice with
//! different numbers of batches, so that what starting costs falls out of the difference.

use bench::threads::pin;

use crate::peer::{Cores, Lane, Manner, Outcome, PAYLOAD_BYTES};
use crate::sleep::{next, on_runtime, publish};

/// `credits` batches are out at any time, as the engine's batcher would keep them. On the main thread, so that one
/// thread is all there is to count.
pub(crate) fn run(cores: Cores, batches: u64, credits: u32) -> Outcome<()> {
    let lane = Lane::join(cores.container, Manner::Sleeps)?;
    pin(cores.engine)?;
    on_runtime(lane, async move |lane, bell| {
        if !(1..=lane.side.config().slots).contains(&credits) {
            return Err(format!("use 1 to {} credits", lane.side.config().slots).into());
        }
        let request = [7; PAYLOAD_BYTES];
        let mut reply = [0; PAYLOAD_BYTES];
        let mut sent = 0;
        for _ in 0..batches {
            while sent < batches && lane.side.in_flight() < credits as usize {
                publish(&mut lane.side, sent, &request)?;
                sent += 1;
            }
            let (done, _) = next(&mut lane.side, bell).await?;
            lane.side.read(&done, 0, &mut reply)?;
            lane.side.finish(done);
        }
        Ok(())
    })
}
