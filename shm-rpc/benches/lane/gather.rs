//! What gathering rows into a slot costs, with nobody on the other side: write, and give the slot back.

use bench::samples::{Plan, sample};
use bench::threads::on_core;
use shm_rpc::engine_side::EngineSide;
use shm_rpc::{LaneConfig, Memory};

use crate::peer::{Outcome, config};

/// A row of 784 float32.
const ROW_BYTES: usize = 3136;
/// As many rows as make up a MiB, rounded up.
const ROWS: usize = (1_usize << 20).div_ceil(ROW_BYTES);
/// Rows come from as many buffers as there are requests; these don't lie in order, as those don't.
const STRIDE: usize = 37;
const PLAN: Plan = Plan { warm: 50, timed: 500 };

const _: () = assert!(!ROWS.is_multiple_of(STRIDE), "the stride visits every row");

/// None: this system has no huge pages to give (`sysctl vm.nr_hugepages=64`).
pub(crate) fn us_per_mib(core: usize, memory: Memory, huge_pages: bool) -> Outcome<Option<f64>> {
    on_core(Some(core), || gather(memory, huge_pages))?
}

fn gather(memory: Memory, huge_pages: bool) -> Outcome<Option<f64>> {
    let config = LaneConfig { memory, huge_pages, ..config((ROWS * ROW_BYTES) as u32) };
    let (mut side, fds) = EngineSide::create(config, 1)?;
    if side.config().huge_pages != huge_pages {
        return Ok(None);
    }
    let rows: Vec<Vec<u8>> = (0..ROWS).map(|row| vec![row as u8; ROW_BYTES]).collect();
    let times = sample(PLAN, |_, clock| -> Outcome<u64> {
        let slot = side.lease().ok_or("every slot is out")?;
        let begun_ns = clock.now_ns();
        for row in 0..ROWS {
            let at = (row * ROW_BYTES) as u32;
            side.write(&slot, at, &rows[row * STRIDE % ROWS])?;
        }
        let took_ns = clock.now_ns() - begun_ns;
        side.release(slot);
        Ok(took_ns)
    })?;
    drop(fds);
    let mib = (ROWS * ROW_BYTES) as f64 / f64::from(1 << 20);
    Ok(Some(times.p50_ns / 1e3 / mib))
}
