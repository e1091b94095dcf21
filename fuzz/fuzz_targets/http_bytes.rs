//! Any bytes on a connection, in two pieces: heads, bodies, chunks, frames of HTTP/2.
#![no_main]

use std::rc::Rc;
use std::time::Duration;

use arc_swap::ArcSwap;
use engine::api::admin::Door;
use engine::api::connections::Connections;
use engine::api::front_end::{FrontEnd, HttpLimits, HttpOptions};
use engine::api::listener::oip;
use engine::classes::Classes;
use engine::clock::Clock;
use engine::fleet::catalog::{Catalog, PublishedCatalog};
use engine::fleet::orders::FleetLink;
use engine::ids::CoreId;
use engine::observe::reports::{Reporting, Reports};
use engine::observe::stages::CoreRecorder;
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

/// What the pipe holds in each direction before its writer waits.
const PIPE_BYTES: usize = 4096;
/// A body may not be larger, so that runs stay short.
const BODY_BYTES_MAX: u64 = 1 << 16;

thread_local! {
    static ENGINE: (LocalRuntime, Rc<FrontEnd>) = (
        Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).expect("a runtime"),
        Rc::new(front_end()),
    );
}

/// Without models: whatever is asked is refused, once it has been read.
fn front_end() -> FrontEnd {
    let core = CoreId(0);
    FrontEnd {
        core,
        clock: Clock::start(),
        catalog: PublishedCatalog::new(ArcSwap::from_pointee(Catalog::default())),
        classes: Classes::default(),
        recorder: CoreRecorder::new(core),
        reports: Rc::new(Reports::new(Reporting::default(), core, Duration::ZERO)),
        limits: HttpLimits { body_bytes_max: BODY_BYTES_MAX, ..HttpLimits::default() },
        options: HttpOptions::default(),
        shared_memory: None,
        door: Door::Public,
        fleet: FleetLink::channel().0,
    }
}

fuzz_target!(|input: (&[u8], &[u8])| {
    let (first, second) = input;
    ENGINE.with(|(runtime, front)| {
        runtime.block_on(async {
            let (client, server) = tokio::io::duplex(PIPE_BYTES);
            let connections: Rc<Connections> = Rc::default();
            let serving = oip(front.clone(), connections.clone(), server);
            let (mut answers, mut asked) = tokio::io::split(client);
            let ask = async {
                // The server may close before it has read everything.
                let _closed = asked.write_all(first).await;
                tokio::task::yield_now().await;
                let _closed = asked.write_all(second).await;
                let _closed = asked.shutdown().await;
            };
            let mut answered = Vec::new();
            let _ended = tokio::join!(serving, ask, answers.read_to_end(&mut answered));
            assert_eq!(connections.count(), 0, "an ended connection is forgotten");
        });
    });
});
