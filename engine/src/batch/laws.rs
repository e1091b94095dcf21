//! The laws, over random sequences of events: whatever happens, in whatever order.
//!
//! Which test holds which invariant of the design (`check` and `check_batch` are those of [`World`] below, and run after
//! every event):
//!
//! | | Invariant | Held by |
//! |---|---|---|
//! | I1 | a request leaves exactly once | `carry_out`, `settle` |
//! | I2 | nothing goes to a replica that is not live | `check_batch`; also to none that is to be killed |
//! | I3 | one batch a replica at a time | `check_batch`, `Replicas::check_invariants` |
//! | I4 | a batch keeps to rows, bytes and one shape | `check_batch` |
//! | I5 | nothing hopeless is sent | `check_batch` (past its limit), [`no_hopeless_task_is_sent`] |
//! | I6 | no idle replica beside a task, but for half an SLO | `check` |
//! | I7, I8 | no collapse and no lasting harm under overload | the simulator's `laws.rs` |
//! | I9 | estimates are finite, positive, and do not fall with cost | `latency_profile.rs` |
//! | I10 | copies keep to their budget | `slo/hedge.rs`; [`the_laws_meet_copies_and_kills`] |
//! | I11 | equal events have equal effects | the twin below; the simulator's `laws.rs` |
//! | I12 | what a lost replica had runs again or leaves, never both | `check`: in flight is what some replica has |

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::latency_profile::{LatencyProfile, Level, duration};
use super::slo::{SloConfig, SloController};
use super::*;
use crate::ids::DeviceClass;

#[derive(Clone, Debug)]
enum Event {
    Arrive { rows: u32, shape: u64, weight: u32, due_ms: u64, late_ms: u64 },
    Outcome { which: usize, kind: u8, row: u32 },
    Up { replica: u32, device: u8 },
    Down(usize),
    Leave(usize),
    Look,
    Cancel(usize),
    Pass { ms: u64 },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1u32..5, 0u64..3, 1u32..4, 1u64..200, 0u64..300).prop_map(
            |(rows, shape, weight, due_ms, late_ms)| {
                Event::Arrive { rows, shape, weight, due_ms, late_ms }
            }
        ),
        5 => (0usize..4, 0u8..6, 0u32..20)
            .prop_map(|(which, kind, row)| Event::Outcome { which, kind, row }),
        1 => (0u32..REPLICAS, 0u8..2).prop_map(|(replica, device)| Event::Up { replica, device }),
        1 => (0usize..REPLICAS as usize).prop_map(Event::Down),
        1 => (0usize..2 * REPLICAS as usize).prop_map(Event::Leave),
        1 => Just(Event::Look),
        1 => (0usize..50).prop_map(Event::Cancel),
        2 => (0u64..80).prop_map(|ms| Event::Pass { ms }),
    ]
}

/// How the model adds costs up, and whether it is known from the start: 5 ms a batch, and one in ten ten times slower.
fn model() -> impl Strategy<Value = (CostRule, bool)> {
    (prop_oneof![Just(CostRule::Sum), Just(CostRule::Padded)], any::<bool>())
}

const REPLICAS: u32 = 4;
const SLO: Duration = Duration::from_millis(50);
const ROWS_MAX: u32 = 8;
const BYTES_MAX: u64 = 60;
const QUEUE_TASKS_MAX: usize = 20;
const QUEUE_BYTES_MAX: u64 = 500;

struct Out {
    replica: ReplicaId,
    batch: BatchId,
    tasks: Vec<TaskId>,
}

/// Plays events and holds the batcher to its laws from outside.
struct World {
    rule: CostRule,
    batcher: Batcher,
    now: Time,
    next: u64,
    waiting: BTreeMap<TaskId, TaskView>,
    gone: BTreeSet<TaskId>,
    out: Vec<Out>,
    up: BTreeSet<ReplicaId>,
    /// To be killed or on their way out, and not yet down.
    ending: BTreeSet<ReplicaId>,
    log: Vec<Effect>,
}

impl World {
    fn new((rule, is_known): (CostRule, bool)) -> World {
        let config = BatcherConfig {
            queue_tasks_max: QUEUE_TASKS_MAX,
            queue_bytes_max: QUEUE_BYTES_MAX,
            batch_rows_max: ROWS_MAX,
            batch_bytes_max: BYTES_MAX,
            batch_cost_max: u64::from(ROWS_MAX),
            cost_rule: rule,
            copies: Copies::Allowed,
            slo: Some(SLO),
            batch_timeout: Duration::from_millis(100),
        };
        let mut profile = LatencyProfile::default();
        if is_known {
            let ratios = (0..100).map(|batch| if batch % 10 == 0 { 10.0 } else { 1.0 });
            profile = LatencyProfile::known(&[(1.0, 5e6), (f64::from(ROWS_MAX), 5e6)], ratios);
        }
        let slo = SloConfig::new(config.slo, config.batch_cost_max);
        let controller = SloController::with_profile(slo, profile);
        World {
            rule,
            batcher: Batcher::with_controller(config, controller),
            now: Time::from_nanos(1),
            next: 0,
            waiting: BTreeMap::new(),
            gone: BTreeSet::new(),
            out: Vec::new(),
            up: BTreeSet::new(),
            ending: BTreeSet::new(),
            log: Vec::new(),
        }
    }

    fn play(&mut self, event: &Event) {
        match *event {
            Event::Arrive { rows, shape, weight, due_ms, late_ms } => {
                self.arrive(rows, shape, weight, due_ms, late_ms)
            }
            Event::Outcome { which, kind, row } => self.outcome(which, kind, row),
            Event::Up { replica, device } => self.up(ReplicaId(replica), DeviceClass(device)),
            Event::Down(which) => self.down(which),
            Event::Leave(which) => self.leave(which),
            Event::Look => self.batcher.handle_look(self.now),
            Event::Cancel(which) => {
                if let Some(&id) = self.waiting.keys().nth(which) {
                    self.batcher.handle_cancel(self.now, id);
                }
            }
            Event::Pass { ms } => {
                self.now = self.now.after(Duration::from_millis(ms));
                self.batcher.handle_timeout(self.now);
            }
        }
        self.carry_out();
        self.check();
    }

    fn arrive(&mut self, rows: u32, shape: u64, weight: u32, due_ms: u64, late_ms: u64) {
        self.next += 1;
        let due = self.now.after(Duration::from_millis(due_ms));
        // Where rows are padded, what would be shapes are lengths.
        let (length, row_bytes, shape) = match self.rule {
            CostRule::Sum => (1, 10, shape),
            CostRule::Padded => (1 + shape as u32, 4 * (1 + shape), 0),
        };
        let view = TaskView {
            id: TaskId(self.next),
            rows,
            bytes: row_bytes * u64::from(rows),
            cost: length * rows,
            shape: ShapeKey(shape),
            class: weight as u8,
            weight: weight * rows,
            due,
            late_limit: due.after(Duration::from_millis(late_ms)),
            arrived: self.now,
        };
        if self.batcher.handle_arrival(self.now, view).is_ok() {
            self.waiting.insert(view.id, view);
            assert!(
                self.batcher.queued() <= QUEUE_TASKS_MAX,
                "an arrival keeps the bound in tasks"
            );
            assert!(self.batcher.queued_bytes() <= QUEUE_BYTES_MAX, "and in bytes");
        }
    }

    fn outcome(&mut self, which: usize, kind: u8, row: u32) {
        if self.out.is_empty() {
            return;
        }
        let Out { replica, batch, .. } = self.out.remove(which % self.out.len());
        let service = Duration::from_millis(u64::from(row));
        let outcome = match kind {
            0 | 1 => Outcome::Answered { service },
            2 => Outcome::Raised { service },
            3 => Outcome::RowRefused { row: Some(row), service },
            4 => Outcome::RowRefused { row: None, service },
            _ => Outcome::BadOutput { service },
        };
        self.batcher.handle_outcome(self.now, replica, batch, outcome);
    }

    fn up(&mut self, replica: ReplicaId, device: DeviceClass) {
        if !self.ending.contains(&replica) && self.up.insert(replica) {
            self.batcher.handle_replica_up(self.now, replica, device);
        }
    }

    fn down(&mut self, which: usize) {
        let Some(&replica) = self.up.union(&self.ending).nth(which) else { return };
        self.up.remove(&replica);
        self.ending.remove(&replica);
        self.out.retain(|out| out.replica != replica);
        self.batcher.handle_replica_down(self.now, replica);
    }

    fn leave(&mut self, which: usize) {
        let Some(&replica) = self.up.iter().nth(which) else { return };
        self.up.remove(&replica);
        self.ending.insert(replica);
        self.batcher.handle_replica_leave(self.now, replica);
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.batcher.poll_effect() {
            self.log.push(effect.clone());
            match effect {
                Effect::Dispatch { replica, batch, tasks } => {
                    self.check_batch(replica, batch, tasks)
                }
                Effect::Leave { task, .. } => {
                    assert!(self.waiting.remove(&task).is_some(), "{task:?} leaves once");
                    assert!(self.gone.insert(task), "{task:?} leaves once");
                }
                Effect::Kill { replica, .. } => {
                    let was_leaving = !self.ending.insert(replica);
                    assert!(self.up.remove(&replica) || was_leaving, "who is there is killed");
                }
            }
        }
    }

    fn check_batch(&mut self, replica: ReplicaId, batch: BatchId, tasks: Vec<TaskId>) {
        let views: Vec<_> = tasks.iter().map(|id| self.waiting[id]).collect();
        assert!(!views.is_empty(), "a batch has at least one row");
        assert!(self.up.contains(&replica), "a batch goes to a live replica");
        assert!(self.out.iter().all(|out| out.replica != replica), "one batch a replica");
        assert!(views.iter().all(|view| view.shape == views[0].shape), "shapes never mix");
        assert!(
            views.iter().all(|view| view.late_limit > self.now),
            "nothing past its limit is sent"
        );
        let rows: u32 = views.iter().map(|view| view.rows).sum();
        let bytes: u64 = match self.rule {
            CostRule::Sum => views.iter().map(|view| view.bytes).sum(),
            CostRule::Padded => {
                let longest = views.iter().map(|view| view.bytes / u64::from(view.rows)).max();
                u64::from(rows) * longest.unwrap_or_default()
            }
        };
        assert!(
            views.len() == 1 || (rows <= ROWS_MAX && bytes <= BYTES_MAX),
            "{rows} rows, {bytes} bytes"
        );
        self.out.push(Out { replica, batch, tasks });
    }

    fn check(&self) {
        self.batcher.check_invariants();
        let overdue = self.waiting.values().find(|view| view.late_limit <= self.now);
        assert_eq!(overdue, None, "nothing outstays its late limit");
        let idle = self.up.iter().any(|replica| self.out.iter().all(|out| out.replica != *replica));
        let asked_again =
            self.batcher.next_timeout().is_some_and(|at| at <= self.now.after(SLO / 2));
        assert!(
            !idle || self.batcher.queued() == 0 || asked_again,
            "no replica idles while a task waits, but for half an SLO at most"
        );
        assert_eq!(self.batcher.in_flight(), self.out.len());
        let with_replicas: BTreeSet<_> = self.out.iter().flat_map(|out| &out.tasks).collect();
        for task in self.waiting.keys() {
            let is_with_one = with_replicas.contains(task);
            assert_eq!(self.batcher.is_in_flight(*task), is_with_one, "{task:?} runs or waits");
        }
    }

    /// A replica that answers and time bring every task out.
    fn settle(&mut self) {
        while !self.ending.is_empty() {
            self.play(&Event::Down(0));
        }
        self.play(&Event::Up { replica: 0, device: 0 });
        for _ in 0..200 {
            self.play(&Event::Outcome { which: 0, kind: 0, row: 1 });
        }
        self.play(&Event::Pass { ms: 1000 });
        assert!(self.waiting.is_empty(), "every task leaves");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_laws_hold_and_equal_events_have_equal_effects(
        model in model(), events in prop::collection::vec(event(), 1..120)
    ) {
        let (mut world, mut twin) = (World::new(model), World::new(model));
        for event in &events {
            world.play(event);
            twin.play(event);
        }
        world.settle();
        twin.settle();
        prop_assert_eq!(world.log, twin.log);
    }
}

/// What is drawn above does meet what is rare.
#[test]
fn the_laws_meet_copies_and_kills() {
    let mut runner = TestRunner::deterministic();
    let drawn = prop::collection::vec(event(), 100..120);
    let (mut copies, mut kills) = (0, 0);
    for _ in 0..300 {
        let events = drawn.new_tree(&mut runner).expect("nothing is refused").current();
        let mut world = World::new((CostRule::Sum, true));
        events.iter().for_each(|event| world.play(event));
        copies += world.batcher.hedged_batches();
        kills += world.log.iter().filter(|it| matches!(it, Effect::Kill { .. })).count();
    }
    assert!(copies >= 10 && kills >= 10, "{copies} copies, {kills} kills");
}

proptest! {
    /// Nobody fails or is lost here, and replicas are alike and known: what is sent comes from the queue, to a replica
    /// that with luck is in time for each task.
    #[test]
    fn no_hopeless_task_is_sent(
        gaps in prop::collection::vec((0u64..20, 1u64..80, any::<bool>()), 1..200)
    ) {
        let mut world = World::new((CostRule::Sum, true));
        (0..2).for_each(|replica| world.up(ReplicaId(replica), DeviceClass(0)));
        let mut sent: Option<Time> = None;
        for (gap_ms, due_ms, answers) in gaps {
            world.play(&Event::Pass { ms: gap_ms });
            let seen = world.log.len();
            // A copy is for those that are out already.
            let is_queued = |view: &&TaskView| !world.batcher.is_in_flight(view.id);
            let queued: BTreeMap<_, _> =
                world.waiting.values().filter(is_queued).map(|view| (view.id, view.due)).collect();
            world.play(&Event::Arrive { rows: 1, shape: 0, weight: 1, due_ms, late_ms: 0 });
            if answers {
                world.play(&Event::Outcome { which: 0, kind: 0, row: 5 });
            }
            let profile = world.batcher.controller().profile_of(DeviceClass(0));
            let luck = profile.map_or(0.0, |profile| profile.quantile(1.0, Level::P20));
            for effect in &world.log[seen..] {
                let Effect::Dispatch { tasks, .. } = effect else { continue };
                let due = tasks.iter().filter_map(|id| queued.get(id)).min().copied();
                // After a second of silence one goes whatever is expected of it.
                let probes = sent.is_none_or(|sent| world.now.since(sent) >= Duration::from_secs(1));
                // A replica's own scale is never far from what it showed: always the same here.
                let soonest = world.now.after(duration(0.95 * luck));
                prop_assert!(probes || due.is_none_or(|due| due >= soonest), "{due:?}, {soonest:?}");
                sent = Some(world.now);
            }
        }
    }
}
