//! The machine's behaviour, one sentence a test, in made-up time.

use super::latency_profile::LatencyProfile;
use super::slo::{SloConfig, SloController};
use super::*;
use crate::ids::DeviceClass;

mod looks;
mod parts;
mod unlike;

struct Scene {
    batcher: Batcher,
    now: Time,
    next: u64,
    row_bytes: u64,
}

const MS: Duration = Duration::from_millis(1);
const ROWS_MAX: u32 = 16;

fn config() -> BatcherConfig {
    BatcherConfig {
        queue_tasks_max: 100,
        queue_bytes_max: 10_000,
        batch_rows_max: ROWS_MAX,
        batch_bytes_max: 1_000,
        batch_cost_max: u64::from(ROWS_MAX),
        cost_rule: CostRule::Sum,
        copies: Copies::Allowed,
        slo: None,
        batch_timeout: Duration::from_secs(2),
    }
}

impl Scene {
    /// A batcher whose controller knows that a batch takes a millisecond, whatever its size.
    fn new(config: BatcherConfig) -> Scene {
        let slo = SloConfig::new(config.slo, u64::from(config.batch_rows_max));
        let profile = LatencyProfile::known(&[(1.0, 1e6), (16.0, 1e6)], [1.0; 100]);
        let controller = SloController::with_profile(slo, profile);
        let batcher = Batcher::with_controller(config, controller);
        let mut scene = Scene { batcher, now: Time::from_nanos(1), next: 0, row_bytes: 0 };
        scene.batcher.handle_replica_up(scene.now, ReplicaId(0), DeviceClass(0));
        scene.row_bytes = 10;
        scene
    }

    fn view(&mut self, rows: u32, shape: u64, due_in: Duration, late_in: Duration) -> TaskView {
        self.next += 1;
        TaskView {
            id: TaskId(self.next),
            rows,
            bytes: self.row_bytes * u64::from(rows),
            cost: rows,
            shape: ShapeKey(shape),
            class: 0,
            weight: 1,
            due: self.now.after(due_in),
            late_limit: self.now.after(late_in),
            arrived: self.now,
        }
    }

    fn arrive(&mut self) -> TaskId {
        let view = self.view(1, 0, 1000 * MS, 10_000 * MS);
        self.batcher.handle_arrival(self.now, view).expect("there is room");
        view.id
    }

    fn arrive_hard(&mut self, due_in: Duration) -> TaskId {
        let view = self.view(1, 0, due_in, due_in);
        self.batcher.handle_arrival(self.now, view).expect("there is room");
        view.id
    }

    fn effects(&mut self) -> Vec<Effect> {
        let effects = std::iter::from_fn(|| self.batcher.poll_effect()).collect();
        self.batcher.check_invariants();
        effects
    }

    /// The one dispatch that is due.
    fn dispatched(&mut self) -> Option<(BatchId, Vec<TaskId>)> {
        self.effects().into_iter().find_map(|effect| match effect {
            Effect::Dispatch { batch, tasks, .. } => Some((batch, tasks)),
            _ => None,
        })
    }

    fn left(&mut self) -> Vec<(TaskId, Leave)> {
        leaves(&self.effects())
    }

    fn answer(&mut self, batch: BatchId) {
        self.now = self.now.after(MS);
        self.batcher.handle_outcome(
            self.now,
            ReplicaId(0),
            batch,
            Outcome::Answered { service: MS },
        );
    }

    fn fail(&mut self, batch: BatchId) {
        self.now = self.now.after(MS);
        self.batcher.handle_outcome(self.now, ReplicaId(0), batch, Outcome::Raised { service: MS });
    }

    fn wait(&mut self, span: Duration) {
        self.now = self.now.after(span);
        self.batcher.handle_timeout(self.now);
    }
}

fn leaves(effects: &[Effect]) -> Vec<(TaskId, Leave)> {
    let leaves = effects.iter().filter_map(|effect| match effect {
        Effect::Leave { task, why } => Some((*task, *why)),
        _ => None,
    });
    leaves.collect()
}

#[test]
fn what_arrived_in_one_turn_goes_in_one_batch_as_soon_as_the_replica_is_idle() {
    let mut scene = Scene::new(config());
    let first: Vec<_> = (0..5).map(|_| scene.arrive()).collect();
    let (batch, tasks) = scene.dispatched().unwrap();
    assert_eq!(tasks, first);
    let second: Vec<_> = (0..3).map(|_| scene.arrive()).collect();
    assert_eq!(scene.effects(), [], "the replica is busy");
    scene.answer(batch);
    assert_eq!(scene.dispatched().unwrap().1, second);
}

#[test]
fn a_batch_keeps_the_bounds_on_rows_and_bytes() {
    let mut scene = Scene::new(config());
    let (batch, _) = {
        (0..20).for_each(|_| {
            scene.arrive();
        });
        scene.dispatched().unwrap()
    };
    assert_eq!(scene.batcher.queued(), 4, "16 rows went");
    scene.answer(batch);
    let mut narrow = Scene::new(BatcherConfig { batch_bytes_max: 35, ..config() });
    (0..10).for_each(|_| {
        narrow.arrive();
    });
    assert_eq!(narrow.dispatched().unwrap().1.len(), 3, "35 bytes hold 3 tasks of 10");
}

#[test]
fn all_that_waits_goes_in_one_padded_batch_though_it_costs_more_than_its_tasks() {
    let mut scene = Scene::new(BatcherConfig { cost_rule: CostRule::Padded, ..config() });
    for cost in [3, 5, 4] {
        let view = TaskView { cost, ..scene.view(1, 0, 1000 * MS, 10_000 * MS) };
        scene.batcher.handle_arrival(scene.now, view).expect("there is room");
    }
    assert_eq!(scene.dispatched().map(|(_, tasks)| tasks.len()), Some(3), "15, not 12");
}

#[test]
fn shapes_never_mix_and_none_starves() {
    let mut scene = Scene::new(config());
    for shape in [1, 2, 1, 2, 1] {
        let view = scene.view(1, shape, 1000 * MS, 10_000 * MS);
        scene.batcher.handle_arrival(scene.now, view).unwrap();
    }
    let (batch, tasks) = scene.dispatched().unwrap();
    assert_eq!(tasks.len(), 3);
    scene.answer(batch);
    assert_eq!(scene.dispatched().unwrap().1.len(), 2);
}

#[test]
fn earlier_deadlines_go_first() {
    let mut scene = Scene::new(BatcherConfig { batch_bytes_max: 10, ..config() });
    let (running, _) = {
        scene.arrive();
        scene.dispatched().unwrap()
    };
    let relaxed = scene.arrive_hard(500 * MS);
    let urgent = scene.arrive_hard(50 * MS);
    scene.answer(running);
    let (batch, tasks) = scene.dispatched().unwrap();
    assert_eq!(tasks, [urgent]);
    scene.answer(batch);
    assert_eq!(scene.dispatched().unwrap().1, [relaxed]);
}

#[test]
fn a_hard_deadline_is_answered_at_once_and_never_run() {
    let mut scene = Scene::new(config());
    let (running, _) = {
        scene.arrive();
        scene.dispatched().unwrap()
    };
    let task = scene.arrive_hard(5 * MS);
    assert_eq!(scene.batcher.next_timeout(), Some(scene.now.after(5 * MS)));
    scene.wait(5 * MS);
    assert_eq!(scene.left(), [(task, Leave::DeadlinePassed)]);
    scene.answer(running);
    assert!(scene.dispatched().is_none(), "nothing is left to run");
    let past = scene.view(1, 0, Duration::ZERO, Duration::ZERO);
    assert_eq!(scene.batcher.handle_arrival(scene.now, past), Err(Refusal::DeadlinePassed));
}

#[test]
fn a_deadline_that_passes_with_the_replica_is_answered_then_and_its_prediction_ignored() {
    let mut scene = Scene::new(config());
    let task = scene.arrive_hard(5 * MS);
    let (batch, _) = scene.dispatched().unwrap();
    scene.wait(5 * MS);
    assert_eq!(scene.left(), [(task, Leave::DeadlinePassed)]);
    scene.answer(batch);
    assert_eq!(scene.left(), []);
}

#[test]
fn late_soft_work_goes_only_when_nothing_on_time_waits() {
    let mut scene = Scene::new(config());
    let (running, _) = {
        scene.arrive();
        scene.dispatched().unwrap()
    };
    let view = scene.view(1, 0, 2 * MS, 1000 * MS);
    scene.batcher.handle_arrival(scene.now, view).unwrap();
    scene.wait(10 * MS);
    let on_time = scene.arrive();
    scene.answer(running);
    let (batch, tasks) = scene.dispatched().unwrap();
    assert_eq!(tasks, [on_time]);
    scene.answer(batch);
    assert_eq!(scene.dispatched().unwrap().1, [view.id]);
}

#[test]
fn soft_work_leaves_at_its_late_limit() {
    let mut scene = Scene::new(config());
    scene.arrive();
    scene.dispatched().unwrap();
    let view = scene.view(1, 0, 2 * MS, 100 * MS);
    scene.batcher.handle_arrival(scene.now, view).unwrap();
    scene.wait(99 * MS);
    assert_eq!(scene.left(), []);
    scene.wait(MS);
    assert_eq!(scene.left(), [(view.id, Leave::DeadlinePassed)]);
}

#[test]
fn a_full_queue_refuses_with_the_time_it_takes_to_drain() {
    let mut scene = Scene::new(config());
    scene.arrive();
    scene.dispatched().unwrap();
    (0..100).for_each(|_| {
        scene.arrive();
    });
    let view = scene.view(1, 0, MS, 1000 * MS);
    let refused = scene.batcher.handle_arrival(scene.now, view);
    let Err(Refusal::QueueFull { retry_after }) = refused else { panic!("{refused:?}") };
    assert!(retry_after >= 7 * MS, "100 rows are 7 batches of 16 at 1 ms: {retry_after:?}");
}

#[test]
fn bisecting_fails_the_bad_row_alone() {
    let mut scene = Scene::new(config());
    let tasks: Vec<_> = (0..16).map(|_| scene.arrive()).collect();
    let bad = tasks[11];
    let (mut left, mut batches) = (Vec::new(), 0);
    while let Some((batch, members)) = {
        let effects = scene.effects();
        left.extend(leaves(&effects));
        effects.into_iter().find_map(|effect| match effect {
            Effect::Dispatch { batch, tasks, .. } => Some((batch, tasks)),
            _ => None,
        })
    } {
        batches += 1;
        if members.contains(&bad) { scene.fail(batch) } else { scene.answer(batch) }
    }
    assert_eq!(batches, 9, "one whole, then two a level for four levels");
    for task in tasks {
        let why = if task == bad { Leave::Raised } else { Leave::Answered };
        assert!(left.contains(&(task, why)), "{task:?}");
    }
}

#[test]
fn a_model_that_keeps_failing_is_not_bisected() {
    let mut scene = Scene::new(config());
    for round in 0..64 {
        scene.arrive();
        let (batch, _) = scene.dispatched().unwrap();
        scene.fail(batch);
        assert_eq!(scene.left().len(), 1, "round {round}");
    }
    let tasks: Vec<_> = (0..8).map(|_| scene.arrive()).collect();
    let (batch, _) = scene.dispatched().unwrap();
    scene.fail(batch);
    assert_eq!(scene.left(), tasks.iter().map(|&id| (id, Leave::Raised)).collect::<Vec<_>>());
}

#[test]
fn a_refused_row_costs_its_task_only() {
    let mut scene = Scene::new(config());
    let tasks: Vec<_> = (0..4).map(|_| scene.arrive()).collect();
    let (batch, _) = scene.dispatched().unwrap();
    let refused = Outcome::RowRefused { row: Some(2), service: MS };
    scene.batcher.handle_outcome(scene.now, ReplicaId(0), batch, refused);
    let effects = scene.effects();
    assert_eq!(leaves(&effects), [(tasks[2], Leave::Refused)]);
    let again = vec![tasks[0], tasks[1], tasks[3]];
    assert!(
        effects.iter().any(|it| matches!(it, Effect::Dispatch { tasks, .. } if *tasks == again))
    );
}

#[test]
fn suspects_of_a_lost_replica_run_alone_and_only_the_culprit_is_lost() {
    let mut scene = Scene::new(config());
    let tasks: Vec<_> = (0..6).map(|_| scene.arrive()).collect();
    let bad = tasks[3];
    let mut left = Vec::new();
    for _ in 0..20 {
        let effects = scene.effects();
        left.extend(leaves(&effects));
        let dispatch = effects.into_iter().find_map(|effect| match effect {
            Effect::Dispatch { batch, tasks, .. } => Some((batch, tasks)),
            _ => None,
        });
        let Some((batch, members)) = dispatch else { break };
        if members.contains(&bad) {
            scene.batcher.handle_replica_down(scene.now, ReplicaId(0));
            scene.batcher.handle_replica_up(scene.now, ReplicaId(0), DeviceClass(0));
        } else {
            scene.answer(batch);
        }
    }
    for task in tasks {
        let why = if task == bad { Leave::Quarantined } else { Leave::Answered };
        assert!(left.contains(&(task, why)), "{task:?}");
    }
}

#[test]
fn a_batch_that_overruns_its_timeout_ends_the_replica() {
    let mut scene = Scene::new(config());
    let task = scene.arrive();
    let (batch, _) = scene.dispatched().unwrap();
    scene.wait(2000 * MS);
    assert_eq!(scene.effects(), [Effect::Kill { replica: ReplicaId(0), batch }]);
    scene.batcher.handle_replica_down(scene.now, ReplicaId(0));
    scene.batcher.handle_replica_up(scene.now, ReplicaId(0), DeviceClass(0));
    assert_eq!(scene.dispatched().unwrap().1, [task], "one more try, alone");
    scene.wait(2000 * MS);
    scene.effects();
    scene.batcher.handle_replica_down(scene.now, ReplicaId(0));
    assert_eq!(scene.left(), [(task, Leave::TimedOut)]);
}

#[test]
fn every_idle_replica_gets_work() {
    let mut scene = Scene::new(config());
    scene.batcher.handle_replica_up(scene.now, ReplicaId(1), DeviceClass(0));
    (0..20).for_each(|_| {
        scene.arrive();
    });
    let replicas: Vec<_> = scene
        .effects()
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Dispatch { replica, tasks, .. } => Some((replica, tasks.len())),
            _ => None,
        })
        .collect();
    assert_eq!(replicas, [(ReplicaId(0), 16), (ReplicaId(1), 4)]);
}

#[test]
fn a_cancelled_task_is_not_run() {
    let mut scene = Scene::new(config());
    let task = scene.arrive();
    scene.batcher.handle_cancel(scene.now, task);
    assert_eq!(scene.effects(), [Effect::Leave { task, why: Leave::Cancelled }]);
}

#[test]
fn a_single_bad_row_is_isolated_within_log2_halvings() {
    for at in 0..16 {
        let mut scene = Scene::new(config());
        let tasks: Vec<_> = (0..16).map(|_| scene.arrive()).collect();
        let (mut failing, mut left) = (0, Vec::new());
        loop {
            let effects = scene.effects();
            left.extend(leaves(&effects));
            let Some((batch, members)) = dispatch_in(effects) else { break };
            if members.contains(&tasks[at]) {
                failing += 1;
                scene.fail(batch);
            } else {
                scene.answer(batch);
            }
        }
        assert_eq!(failing, 5, "16, 8, 4, 2 and 1 row");
        let raised: Vec<_> = left.iter().filter(|(_, why)| *why == Leave::Raised).collect();
        assert_eq!(raised, [&(tasks[at], Leave::Raised)]);
    }
}

#[test]
fn halves_whose_deadline_allows_no_further_run_leave_with_the_error() {
    let mut scene = Scene::new(config());
    let tight = scene.arrive_hard(Duration::from_micros(1500));
    let roomy = scene.arrive();
    let (batch, _) = scene.dispatched().unwrap();
    scene.fail(batch);
    let effects = scene.effects();
    assert_eq!(leaves(&effects), [(tight, Leave::Raised)], "1 ms of service, half of one left");
    assert_eq!(dispatch_in(effects).unwrap().1, [roomy]);
}

#[test]
fn a_model_that_always_fails_stops_being_bisected_within_its_first_batches() {
    let mut scene = Scene::new(config());
    let (mut batches, mut left) = (0, 0);
    scene.now = scene.now.after(Duration::from_secs(11));
    (0..64).for_each(|_| {
        scene.arrive();
    });
    loop {
        let effects = scene.effects();
        left += leaves(&effects).len();
        let Some((batch, _)) = dispatch_in(effects) else { break };
        batches += 1;
        scene.fail(batch);
    }
    assert_eq!(left, 64);
    assert!(batches < 40, "searching all would take 4 × 31 batches: {batches}");
}

#[test]
fn a_refused_row_that_cannot_be_named_is_searched_for() {
    let mut scene = Scene::new(config());
    let tasks: Vec<_> = (0..4).map(|_| scene.arrive()).collect();
    let mut left = Vec::new();
    loop {
        let effects = scene.effects();
        left.extend(leaves(&effects));
        let Some((batch, members)) = dispatch_in(effects) else { break };
        if members.contains(&tasks[1]) {
            let refused = Outcome::RowRefused { row: None, service: MS };
            scene.batcher.handle_outcome(scene.now, ReplicaId(0), batch, refused);
        } else {
            scene.answer(batch);
        }
    }
    let refused: Vec<_> = left.iter().filter(|(_, why)| *why == Leave::Refused).collect();
    assert_eq!(refused, [&(tasks[1], Leave::Refused)]);
    assert_eq!(left.len(), 4);
}

#[test]
fn nobody_is_blamed_by_row_number_after_a_cancellation() {
    let mut scene = Scene::new(config());
    let tasks: Vec<_> = (0..4).map(|_| scene.arrive()).collect();
    let (batch, _) = scene.dispatched().unwrap();
    scene.batcher.handle_cancel(scene.now, tasks[0]);
    assert_eq!(scene.left(), [(tasks[0], Leave::Cancelled)]);
    let refused = Outcome::RowRefused { row: Some(1), service: MS };
    scene.batcher.handle_outcome(scene.now, ReplicaId(0), batch, refused);
    let effects = scene.effects();
    assert_eq!(leaves(&effects), [], "row 1 may be the second task or the third");
    assert_eq!(dispatch_in(effects).unwrap().1, tasks[1..3]);
}

#[test]
fn a_loss_that_leaves_no_time_for_another_run_ends_the_task() {
    let mut scene = Scene::new(config());
    let task = scene.arrive_hard(MS + MS / 2);
    scene.dispatched().unwrap();
    scene.wait(MS);
    scene.batcher.handle_replica_down(scene.now, ReplicaId(0));
    assert_eq!(scene.left(), [(task, Leave::Lost)]);
}

#[test]
fn a_replica_to_be_killed_gets_nothing_more_and_is_killed_once() {
    let mut scene = Scene::new(config());
    scene.arrive();
    scene.dispatched().unwrap();
    scene.wait(2000 * MS);
    assert_eq!(scene.effects().len(), 1);
    let waiting = scene.arrive();
    scene.wait(10 * MS);
    assert_eq!(scene.effects(), []);
    assert_eq!(scene.batcher.live_replicas(), 0);
    scene.batcher.handle_replica_up(scene.now, ReplicaId(1), DeviceClass(0));
    assert_eq!(scene.dispatched().unwrap().1, [waiting]);
}

#[test]
fn what_a_batch_left_unsent_goes_again() {
    let mut scene = Scene::new(config());
    let (first, second) = (scene.arrive(), scene.arrive());
    let (batch, _) = scene.dispatched().unwrap();
    scene.batcher.handle_cancel(scene.now, first);
    scene.batcher.handle_outcome(scene.now, ReplicaId(0), batch, Outcome::Withdrawn);
    let effects = scene.effects();
    assert_eq!(leaves(&effects), [(first, Leave::Cancelled)]);
    assert_eq!(dispatch_in(effects).unwrap().1, [second]);
}

#[test]
fn an_outcome_nobody_waits_for_is_no_news() {
    let mut scene = Scene::new(config());
    let task = scene.arrive();
    let (batch, _) = scene.dispatched().unwrap();
    scene.batcher.handle_replica_down(scene.now, ReplicaId(0));
    scene.answer(batch);
    assert_eq!(scene.effects(), []);
    scene.batcher.handle_replica_up(scene.now, ReplicaId(0), DeviceClass(0));
    assert_eq!(scene.dispatched().unwrap().1, [task]);
}

#[test]
fn a_task_larger_than_an_unknown_model_is_sent_at_first_goes_alone() {
    let mut batcher = Batcher::new(config());
    batcher.handle_replica_up(Time::ZERO, ReplicaId(0), DeviceClass(0));
    let mut scene = Scene { batcher, now: Time::ZERO, next: 0, row_bytes: 10 };
    let view = scene.view(ROWS_MAX, 0, 100 * MS, 100 * MS);
    scene.batcher.handle_arrival(scene.now, view).unwrap();
    scene.arrive();
    assert_eq!(scene.dispatched().unwrap().1, [view.id]);
}

#[test]
fn a_model_nothing_is_known_of_gets_one_row_then_twice_as_many() {
    let mut batcher = Batcher::new(config());
    batcher.handle_replica_up(Time::ZERO, ReplicaId(0), DeviceClass(0));
    let mut scene = Scene { batcher, now: Time::ZERO, next: 0, row_bytes: 10 };
    (0..30).for_each(|_| {
        scene.arrive();
    });
    let sizes = std::iter::from_fn(|| {
        let (batch, tasks) = scene.dispatched()?;
        scene.answer(batch);
        Some(tasks.len())
    });
    assert_eq!(sizes.take(5).collect::<Vec<_>>(), [1, 2, 4, 8, 15]);
}

#[test]
fn an_arrival_that_no_replica_can_answer_in_time_is_refused_with_the_drain() {
    let mut scene = Scene::new(config());
    scene.arrive();
    let (first, _) = scene.dispatched().unwrap();
    scene.answer(first);
    assert_eq!(scene.effects().len(), 1);
    let tight = scene.view(1, 0, MS / 2, MS / 2);
    let refused = scene.batcher.handle_arrival(scene.now, tight);
    assert!(
        matches!(refused, Err(Refusal::Hopeless { .. })),
        "half of what a batch takes: {refused:?}"
    );
    scene.arrive();
    scene.dispatched().unwrap();
    let behind = scene.view(1, 0, MS + MS / 2, MS + MS / 2);
    let refused = scene.batcher.handle_arrival(scene.now, behind);
    assert!(matches!(refused, Err(Refusal::Hopeless { .. })), "the replica is busy: {refused:?}");
    let soft = scene.view(1, 0, MS / 2, 1000 * MS);
    assert_eq!(scene.batcher.handle_arrival(scene.now, soft), Ok(()), "it may be late");
}

#[test]
fn hopeless_hard_work_is_shed_before_its_deadline_and_soft_work_turns_late() {
    let mut scene = Scene::new(config());
    let (running, _) = {
        scene.arrive();
        scene.dispatched().unwrap()
    };
    let hard = scene.arrive_hard(2 * MS + MS / 2);
    scene.now = scene.now.after(MS);
    let soft = scene.view(1, 0, MS + MS / 2, 1000 * MS);
    scene.batcher.handle_arrival(scene.now, soft).unwrap();
    scene.answer(running);
    let effects = scene.effects();
    assert_eq!(leaves(&effects)[1..], [(hard, Leave::Shed(Shed::Hopeless))]);
    assert_eq!(dispatch_in(effects).unwrap().1, [soft.id], "late, but nothing else waits");
}

#[test]
fn a_refused_caller_is_told_no_less_than_the_predicted_drain() {
    let mut scene = Scene::new(BatcherConfig { queue_tasks_max: 40, ..config() });
    scene.arrive();
    scene.dispatched().unwrap();
    (0..40).for_each(|_| {
        scene.arrive();
    });
    let view = scene.view(1, 0, MS, 1000 * MS);
    let refused = scene.batcher.handle_arrival(scene.now, view);
    let Err(Refusal::QueueFull { retry_after }) = refused else { panic!("{refused:?}") };
    assert!(retry_after >= scene.batcher.predicted_drain());
    let about = scene.batcher.predicted_drain();
    assert!(about > 3 * MS && about < 5 * MS, "3 batches and the one that runs: {about:?}");
}

#[test]
fn without_a_live_replica_tasks_wait_for_one_until_their_deadline() {
    let mut scene = Scene::new(config());
    scene.batcher.handle_replica_down(scene.now, ReplicaId(0));
    let hard = scene.arrive_hard(5 * MS);
    let soft = scene.arrive();
    assert_eq!(scene.effects(), []);
    scene.wait(5 * MS);
    assert_eq!(scene.left(), [(hard, Leave::DeadlinePassed)]);
    scene.batcher.handle_replica_up(scene.now, ReplicaId(0), DeviceClass(0));
    assert_eq!(scene.dispatched().unwrap().1, [soft]);
}

/// Says what the test tells it to: the second controller behind the interface.
struct Scripted(std::collections::VecDeque<Decision>, Option<Decision>);

impl Controller for Scripted {
    fn arrived(&mut self, _now: Time, _cost: u32, _due: Time) {}

    fn decide(
        &mut self,
        _now: Time,
        queue: &QueueView<'_>,
        replicas: &ReplicasView<'_>,
    ) -> Decision {
        assert!(queue.on_time_tasks() + queue.late_tasks() > 0, "asked only while a task waits");
        assert!(replicas.idle() > 0, "asked only while a replica is idle");
        self.0.pop_front().expect("the script covers every decision")
    }

    fn observe(&mut self, _now: Time, _observed: &Observed) {}

    fn cost_limit(&self) -> u64 {
        u64::from(ROWS_MAX)
    }

    fn expected_service(&self, _cost: u64) -> Duration {
        MS
    }

    fn hedge(&mut self, _now: Time, _replicas: &ReplicasView<'_>) -> Option<Decision> {
        self.1.take()
    }
}

#[test]
fn a_controller_may_wait_shed_and_pass_over() {
    let wake = Time::ZERO.after(3 * MS);
    let script = [
        Decision::WaitUntil(wake),
        Decision::Shed { tasks: 1, why: Shed::Backlog },
        Decision::Dispatch { skip: 1, cost: 1 },
    ];
    let mut batcher = Batcher::with_controller(config(), Scripted(script.into(), None));
    batcher.handle_replica_up(Time::ZERO, ReplicaId(0), DeviceClass(0));
    for id in 0..4 {
        let due = Time::ZERO.after(100 * MS);
        let (id, shape, arrived) = (TaskId(id), ShapeKey(0), Time::ZERO);
        let (rows, bytes, cost, class, weight) = (1, 1, 1, 0, 1);
        let view =
            TaskView { id, rows, bytes, cost, shape, class, weight, due, late_limit: due, arrived };
        batcher.handle_arrival(Time::ZERO, view).unwrap();
    }
    assert_eq!(batcher.poll_effect(), None);
    batcher.check_invariants();
    assert_eq!(batcher.next_timeout(), Some(wake));
    batcher.handle_timeout(wake);
    let shed = Effect::Leave { task: TaskId(0), why: Leave::Shed(Shed::Backlog) };
    assert_eq!(batcher.poll_effect(), Some(shed));
    let sent = batcher.poll_effect();
    assert!(matches!(sent, Some(Effect::Dispatch { tasks, .. }) if tasks == [TaskId(2)]));
    assert_eq!(batcher.queued(), 2, "the one passed over keeps its place");
}

#[test]
fn the_copy_of_an_overdue_batch_answers_and_the_original_is_no_news() {
    let config = BatcherConfig { slo: Some(20 * MS), ..config() };
    let script = [Decision::Dispatch { skip: 0, cost: 16 }];
    let mut batcher = Batcher::with_controller(config, Scripted(script.into(), None));
    (0..2).for_each(|id| batcher.handle_replica_up(Time::ZERO, ReplicaId(id), DeviceClass(0)));
    let mut ids = Vec::new();
    for id in 0..3 {
        let due = Time::ZERO.after(20 * MS);
        let (id, shape, arrived) = (TaskId(id), ShapeKey(0), Time::ZERO);
        let (rows, bytes, cost, class, weight) = (1, 1, 1, 0, 1);
        let view =
            TaskView { id, rows, bytes, cost, shape, class, weight, due, late_limit: due, arrived };
        batcher.handle_arrival(Time::ZERO, view).unwrap();
        ids.push(id);
    }
    let sent = batcher.poll_effect();
    assert!(matches!(sent, Some(Effect::Dispatch { replica: ReplicaId(0), .. })));
    batcher.controller_mut().1 =
        Some(Decision::Hedge { batch: BatchId(1), due_before: Time::NEVER });
    batcher.handle_timeout(Time::ZERO.after(5 * MS));
    let Some(Effect::Dispatch { replica, batch, tasks }) = batcher.poll_effect() else {
        panic!("a copy")
    };
    assert_eq!((replica, &tasks), (ReplicaId(1), &ids));
    batcher.check_invariants();
    assert_eq!(batcher.hedged_batches(), 1);
    // The original's replica dies: nobody is lost, for the copy runs.
    batcher.handle_replica_down(Time::ZERO.after(6 * MS), ReplicaId(0));
    assert_eq!(batcher.poll_effect(), None);
    batcher.check_invariants();
    let answered = Outcome::Answered { service: 2 * MS };
    batcher.handle_outcome(Time::ZERO.after(7 * MS), replica, batch, answered);
    let left: Vec<_> = std::iter::from_fn(|| batcher.poll_effect()).collect();
    assert_eq!(leaves(&left), ids.iter().map(|&id| (id, Leave::Answered)).collect::<Vec<_>>());
    batcher.check_invariants();
}

fn dispatch_in(effects: Vec<Effect>) -> Option<(BatchId, Vec<TaskId>)> {
    effects.into_iter().find_map(|effect| match effect {
        Effect::Dispatch { batch, tasks, .. } => Some((batch, tasks)),
        Effect::Leave { .. } | Effect::Kill { .. } => None,
    })
}
