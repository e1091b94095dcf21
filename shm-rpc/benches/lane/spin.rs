//! Round trips with both sides awake: what the rings, the checks and four copies of 3 KiB cost.

use bench::samples::{Plan, Times, sample};
use bench::threads::on_core;

use crate::peer::{Cores, Lane, Manner, Outcome, PAYLOAD_BYTES};

/// Fruitless looks before the container is given up: seconds, where a reply takes a microsecond.
const LOOKS_MAX: u64 = 1 << 32;

pub(crate) fn round_trip(cores: Cores, plan: Plan) -> Outcome<Times> {
    let lane = Lane::join(cores.container, Manner::Spins)?;
    on_core(Some(cores.engine), || round_trips(lane, plan))?
}

fn round_trips(mut lane: Lane, plan: Plan) -> Outcome<Times> {
    let side = &mut lane.side;
    let request = [7; PAYLOAD_BYTES];
    let mut reply = [0; PAYLOAD_BYTES];
    let times = sample(plan, |tag, clock| -> Outcome<u64> {
        let begun_ns = clock.now_ns();
        let slot = side.lease().ok_or("every slot is out")?;
        side.write(&slot, 0, &request)?;
        side.publish(slot, tag, 0, PAYLOAD_BYTES as u32);
        let mut looks = 0;
        let done = loop {
            if let Some(done) = side.poll()? {
                break done;
            }
            looks += 1;
            if looks == LOOKS_MAX {
                return Err("the container does not answer".into());
            }
        };
        side.read(&done, 0, &mut reply)?;
        side.finish(done);
        Ok(clock.now_ns() - begun_ns)
    })?;
    assert_eq!(reply, request, "the reply is the request");
    lane.leave()?;
    Ok(times)
}
