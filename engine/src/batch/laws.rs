//! The laws, over random sequences of events: whatever happens, in whatever order.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::ids::DeviceClass;

#[derive(Clone, Debug)]
enum Event {
    Arrive { rows: u32, shape: u64, due_ms: u64, late_ms: u64 },
    Outcome { which: usize, kind: u8, row: u32 },
    Up(u32),
    Down(usize),
    Cancel(usize),
    Pass { ms: u64 },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1u32..5, 0u64..3, 1u64..200, 0u64..300)
            .prop_map(|(rows, shape, due_ms, late_ms)| Event::Arrive { rows, shape, due_ms, late_ms }),
        5 => (0usize..4, 0u8..6, 0u32..20)
            .prop_map(|(which, kind, row)| Event::Outcome { which, kind, row }),
        1 => (0u32..3).prop_map(Event::Up),
        1 => (0usize..3).prop_map(Event::Down),
        1 => (0usize..50).prop_map(Event::Cancel),
        2 => (0u64..80).prop_map(|ms| Event::Pass { ms }),
    ]
}

const SLO: Duration = Duration::from_millis(50);
const ROWS_MAX: u32 = 8;
const BYTES_MAX: u64 = 60;
const QUEUE_TASKS_MAX: usize = 20;
const QUEUE_BYTES_MAX: u64 = 500;

/// Plays events and holds the batcher to its laws from outside.
struct World {
    rule: CostRule,
    batcher: Batcher,
    now: Time,
    next: u64,
    waiting: BTreeMap<TaskId, TaskView>,
    gone: BTreeSet<TaskId>,
    out: Vec<(ReplicaId, BatchId)>,
    up: BTreeSet<ReplicaId>,
    log: Vec<Effect>,
}

impl World {
    fn new(rule: CostRule) -> World {
        let config = BatcherConfig {
            queue_tasks_max: QUEUE_TASKS_MAX,
            queue_bytes_max: QUEUE_BYTES_MAX,
            batch_rows_max: ROWS_MAX,
            batch_bytes_max: BYTES_MAX,
            batch_cost_max: u64::from(ROWS_MAX),
            cost_rule: rule,
            slo: Some(SLO),
            batch_timeout: Duration::from_millis(100),
        };
        World {
            rule,
            batcher: Batcher::new(config),
            now: Time::from_nanos(1),
            next: 0,
            waiting: BTreeMap::new(),
            gone: BTreeSet::new(),
            out: Vec::new(),
            up: BTreeSet::new(),
            log: Vec::new(),
        }
    }

    fn play(&mut self, event: &Event) {
        match *event {
            Event::Arrive { rows, shape, due_ms, late_ms } => {
                self.arrive(rows, shape, due_ms, late_ms)
            }
            Event::Outcome { which, kind, row } => self.outcome(which, kind, row),
            Event::Up(replica) => {
                if self.up.insert(ReplicaId(replica)) {
                    self.batcher.handle_replica_up(self.now, ReplicaId(replica), DeviceClass(0));
                }
            }
            Event::Down(which) => self.down(which),
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

    fn arrive(&mut self, rows: u32, shape: u64, due_ms: u64, late_ms: u64) {
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
            class: 0,
            weight: 1,
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
        let (replica, batch) = self.out.remove(which % self.out.len());
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

    fn down(&mut self, which: usize) {
        let Some(&replica) = self.up.iter().nth(which) else { return };
        self.up.remove(&replica);
        self.out.retain(|(of, _)| *of != replica);
        self.batcher.handle_replica_down(self.now, replica);
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.batcher.poll_effect() {
            self.log.push(effect.clone());
            match effect {
                Effect::Dispatch { replica, batch, tasks } => {
                    self.check_batch(replica, batch, &tasks)
                }
                Effect::Leave { task, .. } => {
                    assert!(self.waiting.remove(&task).is_some(), "{task:?} leaves once");
                    assert!(self.gone.insert(task), "{task:?} leaves once");
                }
                Effect::Kill { replica, .. } => {
                    assert!(self.up.remove(&replica), "only a live replica is killed");
                    self.out.retain(|(of, _)| *of != replica);
                    self.batcher.handle_replica_down(self.now, replica);
                }
            }
        }
    }

    fn check_batch(&mut self, replica: ReplicaId, batch: BatchId, tasks: &[TaskId]) {
        let views: Vec<_> = tasks.iter().map(|id| self.waiting[id]).collect();
        assert!(!views.is_empty(), "a batch has at least one row");
        assert!(self.up.contains(&replica), "a batch goes to a live replica");
        assert!(self.out.iter().all(|(of, _)| *of != replica), "one batch a replica");
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
        self.out.push((replica, batch));
    }

    fn check(&self) {
        self.batcher.check_invariants();
        let overdue = self.waiting.values().find(|view| view.late_limit <= self.now);
        assert_eq!(overdue, None, "nothing outstays its late limit");
        let idle = self.up.iter().any(|replica| self.out.iter().all(|(of, _)| of != replica));
        let asked_again =
            self.batcher.next_timeout().is_some_and(|at| at <= self.now.after(SLO / 2));
        assert!(
            !idle || self.batcher.queued() == 0 || asked_again,
            "no replica idles while a task waits, but for half an SLO at most"
        );
        assert_eq!(self.batcher.in_flight(), self.out.len());
    }

    /// A replica that answers and time bring every task out.
    fn settle(&mut self) {
        self.play(&Event::Up(0));
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
        events in prop::collection::vec(event(), 1..120),
        rule in prop_oneof![Just(CostRule::Sum), Just(CostRule::Padded)],
    ) {
        let (mut world, mut twin) = (World::new(rule), World::new(rule));
        for event in &events {
            world.play(event);
            twin.play(event);
        }
        world.settle();
        twin.settle();
        prop_assert_eq!(world.log, twin.log);
    }
}
