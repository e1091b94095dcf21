//! Round trips whose both sides sleep in between: the engine in its reactor, the container in its futex.
//!
//! The engine's end is built as `engine/src/dispatch/lane/shm.rs` is: a duplicate of the bell, watched edge by edge and
//! never read, by a task of a current-thread runtime with all drivers on.

use std::future::poll_fn;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::{Context, Poll};

use bench::clock::Clock;
use bench::samples::{Plan, Samples, Times};
use bench::threads::on_core;
use shm_rpc::LaneFault;
use shm_rpc::engine_side::{Completion, EngineSide};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Builder, LocalOptions};

use crate::peer::{Cores, Lane, Manner, Outcome, PAYLOAD_BYTES};

pub(crate) fn round_trip(cores: Cores, plan: Plan) -> Outcome<Times> {
    let lane = Lane::join(cores.container, Manner::Sleeps)?;
    on_core(Some(cores.engine), move || round_trips(lane, cores, plan))?
}

fn round_trips(lane: Lane, cores: Cores, plan: Plan) -> Outcome<Times> {
    on_runtime(lane, async move |lane, bell| {
        let request = [7; PAYLOAD_BYTES];
        let mut reply = [0; PAYLOAD_BYTES];
        let clock = Clock::start();
        let mut samples = Samples::new(plan);
        for tag in samples.numbers() {
            cores.let_sleep();
            let begun_ns = clock.now_ns();
            publish(&mut lane.side, tag, &request)?;
            let (done, sleeps) = next(&mut lane.side, bell).await?;
            lane.side.read(&done, 0, &mut reply)?;
            lane.side.finish(done);
            let took_ns = clock.now_ns() - begun_ns;
            if cores.counts(sleeps > 0, &clock) {
                samples.add(tag, took_ns);
            }
        }
        assert_eq!(reply, request, "the reply is the request");
        Ok(samples.times())
    })
}

/// Runs `work` as a task of a runtime like a core thread's, then takes leave of the lane.
pub(crate) fn on_runtime<T: 'static>(
    mut lane: Lane,
    work: impl AsyncFnOnce(&mut Lane, &AsyncFd<OwnedFd>) -> Outcome<T> + 'static,
) -> Outcome<T> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let task = async move {
        let bell = watch(lane.side.bell())?;
        let done = work(&mut lane, &bell).await?;
        lane.leave()?;
        Ok(done)
    };
    runtime.block_on(async { tokio::task::spawn_local(task).await? })
}

pub(crate) fn publish(side: &mut EngineSide, tag: u64, request: &[u8]) -> Outcome<()> {
    let slot = side.lease().ok_or("every slot is out")?;
    side.write(&slot, 0, request)?;
    side.publish(slot, tag, 0, request.len() as u32);
    Ok(())
}

/// The next reply, and how often sleep came before it: announce, look again, sleep.
pub(crate) async fn next(
    side: &mut EngineSide,
    bell: &AsyncFd<OwnedFd>,
) -> Result<(Completion, u32), LaneFault> {
    let mut sleeps = 0;
    loop {
        if let Some(done) = side.poll()? {
            return Ok((done, sleeps));
        }
        if side.announce_sleep() {
            poll_fn(|context| poll_bell(bell, context)).await;
            side.awake();
            sleeps += 1;
        }
    }
}

fn poll_bell(bell: &AsyncFd<OwnedFd>, context: &mut Context<'_>) -> Poll<()> {
    match bell.poll_read_ready(context) {
        Poll::Ready(Ok(mut guard)) => {
            guard.clear_ready();
            Poll::Ready(())
        }
        Poll::Ready(Err(_)) => Poll::Ready(()),
        Poll::Pending => Poll::Pending,
    }
}

fn watch(fd: BorrowedFd<'_>) -> io::Result<AsyncFd<OwnedFd>> {
    let owned = fd.try_clone_to_owned()?;
    // SAFETY: `owned` is an open descriptor that the AsyncFd takes over; nobody else can close or replace it.
    let watched = unsafe { AsyncFd::register_with_interest(owned, Interest::READABLE) };
    watched.map_err(io::Error::from)
}
