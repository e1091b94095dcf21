//! What a request costs the engine in instructions, counted by callgrind: from its bytes on a socket to its answer's.
//!
//! `cargo xtask instructions` runs it, divides by the requests and compares with `bench/budgets/instructions.toml`.
//! Everything the engine's core executes in user space counts, with hyper, tokio and the allocator; what the clients
//! and the container do does not, nor what the kernel does. Time is [`readings`], so that runs are alike.

use std::hint::black_box;

use bench::payload::Encoding;
use gungraun::{
    Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};

use self::counted::{REQUESTS, WARM_REQUESTS};
use self::walk::{Load, Walk};

#[path = "corridor/counted.rs"]
mod counted;
#[path = "corridor/readings.rs"]
mod readings;
#[path = "corridor/walk.rs"]
mod walk;

/// The engine's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Callgrind stops counting here and goes on behind it: see the configuration.
#[inline(never)]
fn peers_turn(turn: &mut dyn FnMut()) {
    turn();
    // The call must not become a jump.
    black_box(());
}

fn warmed_up(encoding: Encoding, connections: u32) -> Walk {
    let walk = Walk::start(Load { encoding, connections }, peers_turn).expect("the engine starts");
    walk.ask(WARM_REQUESTS);
    let full = walk.rows_per_batch() / f64::from(connections);
    assert!(full > 0.5, "a batch has only {full:.2} of the rows that its figure's name says");
    walk
}

#[library_benchmark(setup = warmed_up)]
#[bench::binary_batch_1(Encoding::Binary, 1)]
#[bench::binary_batch_64(Encoding::Binary, 64)]
#[bench::json_batch_1(Encoding::Json, 1)]
#[bench::json_batch_64(Encoding::Json, 64)]
fn requests(walk: Walk) -> Walk {
    walk.ask(REQUESTS);
    walk
}

library_benchmark_group!(name = corridor, benchmarks = requests);

main!(
    config = LibraryBenchmarkConfig::default()
        .tool(Callgrind::with_args(["--toggle-collect=*peers_turn*", "--cache-sim=no"])),
    library_benchmark_groups = corridor
);
