//! The pure batcher asks the allocator for nothing but what a batch needs, however many requests come.

use std::time::Duration;

use engine::batch::slo::{SloConfig, SloController};

use self::counting::allocations;
use self::steady::{Load, Steady};

#[path = "allocations/counting.rs"]
mod counting;
#[path = "allocations/steady.rs"]
mod steady;

const WARM_TASKS: u64 = 50_000;
const TASKS: u64 = 10_000;

/// Allocations, batches and answers of [`TASKS`] requests.
fn count(replicas: u32) -> (u64, u64, u64) {
    let slo = Duration::from_millis(20);
    let load =
        Load { replicas, rows_max: 64, batch_us: 2_000.0, row_us: 250.0, slo, of_capacity: 0.7 };
    let controller = SloController::new(SloConfig::new(Some(slo), u64::from(load.rows_max)));
    let mut steady = Steady::new(load, controller);
    steady.play(WARM_TASKS);
    let (batches, answered) = (steady.batches, steady.answered);
    let counted = allocations(|| steady.play(TASKS));
    (counted, steady.batches - batches, steady.answered - answered)
}

#[test]
fn requests_allocate_nothing_and_a_batch_the_list_of_its_tasks() {
    for replicas in [1, 4] {
        let (counted, batches, answered) = count(replicas);
        assert!(answered >= TASKS * 9 / 10, "{answered} of {TASKS} requests were answered");
        assert!(batches <= TASKS / 4, "requests share batches: {batches}");
        assert_eq!(counted, batches, "allocations of {batches} batches, {replicas} replicas");
    }
}

#[test]
fn the_count_sees_an_allocation() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1_u64)))), 1);
}
