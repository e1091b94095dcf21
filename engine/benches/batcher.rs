//! What the pure batcher costs: events without a socket, a thread or a replica behind them, in virtual time.
//!
//! `cargo bench -p engine --bench batcher [-- --json]`. Throughput and allocations are those of a steady load, in full
//! batches, from a request's arrival to its answer. Decisions are timed inside, with ten thousand queued: at the
//! capacity of a model that is in time for them, and at twice the capacity of one that is not, where giving up the
//! oldest must be planned. Each reading of the clock, some 25 ns, counts as part of a decision.

use std::process::ExitCode;
use std::time::Duration;

use bench::clock::Clock;
use bench::compare::{Spread, spread};
use bench::micro::{Cli, Outcome, Rounds, run};
use bench::report::Table;
use bench::threads::on_core;
use engine::batch::slo::{SloConfig, SloController};
use engine::batch::{Controller, Decision, Observed, QueueView, ReplicasView};
use engine::clock::Time;

use self::counting::allocations;
use self::steady::{Load, Steady};

#[path = "../tests/allocations/counting.rs"]
mod counting;
#[path = "../tests/allocations/steady.rs"]
mod steady;

const ROUNDS: Rounds = Rounds { usual: 7, max: 101 };

const WARM_TASKS: u64 = 100_000;
const TIMED_TASKS: u64 = 400_000;

/// The queue of whoever has this many or more counts as long.
const QUEUED: usize = 10_000;
/// Decisions timed in a round, and requests after which too few were made.
const DECISIONS: usize = 2_000;
const TASKS_MAX: u64 = 5_000_000;
const TASKS_PER_LOOK: u64 = 10_000;

fn main() -> ExitCode {
    run("batcher", ROUNDS, measure)
}

fn measure(cli: &Cli, rounds: usize) -> Outcome<()> {
    let rounds = (0..rounds).map(|_| on_core(Some(cli.core), Round::measure)?);
    let rounds = rounds.collect::<Outcome<Vec<Round>>>()?;
    let of = |figure: fn(&Round) -> f64| -> Outcome<Spread> {
        Ok(spread(&rounds.iter().map(figure).collect::<Vec<_>>()).ok_or("nothing was measured")?)
    };
    let figures = [
        ("tasks_per_s, 1 replica", of(|round| round.one.tasks_per_s)?),
        ("tasks_per_s, 4 replicas", of(|round| round.four.tasks_per_s)?),
        ("tasks a batch, 4 replicas", of(|round| round.four.tasks_per_batch)?),
        ("allocations a batch", of(|round| round.four.allocations_per_batch)?),
        ("allocations a request beyond those", of(|round| round.four.allocations_per_request)?),
        ("decide_p50_us, 10 000 queued", of(|round| round.decide_us[0])?),
        ("decide_p99_us, 10 000 queued", of(|round| round.decide_us[1])?),
        ("decide with a skip plan, p50_us", of(|round| round.skip_us[0])?),
        ("decide with a skip plan, p99_us", of(|round| round.skip_us[1])?),
    ];
    let mut table = Table::new(&["batcher", "median", "min", "max"]);
    for (name, found) in &figures {
        let cells = [found.median, found.min, found.max].map(|value| format!("{value:.3}"));
        table.row([(*name).to_owned()].into_iter().chain(cells));
    }
    print!("{table}");
    if cli.json {
        println!("{}", json(&rounds)?);
    }
    Ok(())
}

/// The slower of one and of four replicas; medians of the rounds.
fn json(rounds: &[Round]) -> Outcome<serde_json::Value> {
    let median = |figure: fn(&Round) -> f64| -> Outcome<f64> {
        let found = spread(&rounds.iter().map(figure).collect::<Vec<_>>());
        Ok(found.ok_or("nothing was measured")?.median)
    };
    Ok(serde_json::json!({
        "B21_tasks_per_s": median(|it| it.one.tasks_per_s.min(it.four.tasks_per_s))?.round(),
        "B21_decide_p99_us": median(|it| it.decide_us[1])?,
        "B21_skip_us": median(|it| it.skip_us[1])?,
        "B21_allocations_per_request": median(|it| {
            it.one.allocations_per_request.max(it.four.allocations_per_request)
        })?,
    }))
}

// ---- what is measured ----

struct Round {
    one: Passed,
    four: Passed,
    /// The median and the 99th percentile of a decision, and of one with a plan.
    decide_us: [f64; 2],
    skip_us: [f64; 2],
}

impl Round {
    fn measure() -> Outcome<Round> {
        Ok(Round {
            one: Passed::measure(1),
            four: Passed::measure(4),
            decide_us: decisions(&IN_TIME, Kind::Plain)?,
            skip_us: decisions(&TOO_MUCH, Kind::Planned)?,
        })
    }
}

/// A request's whole way through the batcher.
struct Passed {
    tasks_per_s: f64,
    tasks_per_batch: f64,
    allocations_per_batch: f64,
    /// One for each batch, the list of its tasks, is not the requests'.
    allocations_per_request: f64,
}

impl Passed {
    fn measure(replicas: u32) -> Passed {
        let slo = Duration::from_millis(20);
        let (batch_us, row_us) = (2_000.0, 250.0);
        let load = Load { replicas, rows_max: 64, batch_us, row_us, slo, of_capacity: 0.7 };
        let mut steady = Steady::new(load, controller(&load));
        steady.play(WARM_TASKS);
        let (batches, clock) = (steady.batches, Clock::start());
        let counted = allocations(|| steady.play(TIMED_TASKS));
        let took_s = clock.now_ns() as f64 / 1e9;
        let (batches, tasks) = ((steady.batches - batches) as f64, TIMED_TASKS as f64);
        Passed {
            tasks_per_s: tasks / took_s,
            tasks_per_batch: tasks / batches,
            allocations_per_batch: counted as f64 / batches,
            allocations_per_request: (counted as f64 - batches).max(0.0) / tasks,
        }
    }
}

/// Batches of 256 take 2.3 ms: ten thousand wait 90 ms.
const DEVICE: Load = Load {
    replicas: 1,
    rows_max: 256,
    batch_us: 1_000.0,
    row_us: 5.0,
    slo: Duration::from_millis(200),
    of_capacity: 1.05,
};
const IN_TIME: Load = DEVICE;
/// What comes within the SLO is twice what can be answered by then.
const TOO_MUCH: Load = Load { slo: Duration::from_millis(70), of_capacity: 2.0, ..DEVICE };

fn decisions(load: &Load, kind: Kind) -> Outcome<[f64; 2]> {
    let timed = Timed { inner: controller(load), clock: Clock::start(), kind, took_ns: Vec::new() };
    let mut steady = Steady::new(*load, timed);
    let mut played = 0;
    while steady.controller_mut().took_ns.len() < DECISIONS {
        if played >= TASKS_MAX {
            return Err("too few such decisions were made".into());
        }
        steady.play(TASKS_PER_LOOK);
        played += TASKS_PER_LOOK;
    }
    let mut took_ns = std::mem::take(&mut steady.controller_mut().took_ns);
    took_ns.sort_unstable();
    let last = (took_ns.len() - 1) as f64;
    Ok([0.5, 0.99].map(|share| took_ns[(last * share) as usize] as f64 / 1e3))
}

fn controller(load: &Load) -> SloController {
    SloController::new(SloConfig::new(Some(load.slo), u64::from(load.rows_max)))
}

/// What a decision weighed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    /// A batch that keeps up was out of reach: whether to give up the oldest.
    Planned,
}

/// The engine's controller with a clock around its decisions about long queues.
struct Timed {
    inner: SloController,
    clock: Clock,
    kind: Kind,
    took_ns: Vec<u64>,
}

impl Timed {
    fn kind(&self) -> Kind {
        let planned = self.inner.latest().is_some_and(|it| it.size < it.need.min(it.waiting));
        if planned { Kind::Planned } else { Kind::Plain }
    }
}

impl Controller for Timed {
    fn arrived(&mut self, now: Time, cost: u32, due: Time) {
        self.inner.arrived(now, cost, due);
    }

    fn decide(
        &mut self,
        now: Time,
        queue: &QueueView<'_>,
        replicas: &ReplicasView<'_>,
    ) -> Decision {
        let from = self.clock.now_ns();
        let decision = self.inner.decide(now, queue, replicas);
        let took_ns = self.clock.now_ns() - from;
        let is_late = self.inner.latest().is_none_or(|latest| latest.at != now);
        if queue.on_time_tasks() >= QUEUED && !is_late && self.kind() == self.kind {
            self.took_ns.push(took_ns);
        }
        decision
    }

    fn observe(&mut self, now: Time, observed: &Observed) {
        self.inner.observe(now, observed);
    }

    fn cost_limit(&self) -> u64 {
        self.inner.cost_limit()
    }

    fn expected_service(&self, cost: u64) -> Duration {
        self.inner.expected_service(cost)
    }
}
