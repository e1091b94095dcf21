//! Replicas whose batch is out for too long, and those that are to go.

use super::*;

/// What a batch takes is known to be a millisecond: a second is the longer of the two limits.
const OVERDUE: Duration = Duration::from_millis(1_001);

#[test]
fn a_replica_with_a_batch_that_is_out_for_long_is_not_counted_on_until_it_is_back() {
    let mut scene = Scene::new(config());
    let task = scene.arrive();
    let (batch, _) = scene.dispatched().expect("a replica is idle");
    scene.now = scene.now.after(OVERDUE - 2 * MS);
    scene.batcher.handle_look(scene.now);
    assert_eq!(scene.batcher.live_replicas(), 1);
    scene.now = scene.now.after(2 * MS);
    scene.batcher.handle_look(scene.now);
    assert_eq!(scene.batcher.live_replicas(), 0);
    scene.batcher.check_invariants();
    let service = OVERDUE;
    let outcome = Outcome::Answered { service };
    scene.batcher.handle_outcome(scene.now, ReplicaId(0), batch, outcome);
    assert_eq!(scene.left(), [(task, Leave::Answered)]);
    assert_eq!(scene.batcher.live_replicas(), 1, "it is back in service");
    scene.arrive();
    assert!(scene.dispatched().is_some(), "and is sent the next");
}

#[test]
fn ten_times_what_a_large_batch_takes_is_waited_for() {
    let mut scene = Scene::new(BatcherConfig { batch_timeout: 60_000 * MS, ..config() });
    let profile = LatencyProfile::known(&[(1.0, 1e9), (16.0, 1e9)], [1.0; 100]);
    let controller =
        SloController::with_profile(SloConfig::new(None, u64::from(ROWS_MAX)), profile);
    scene.batcher = Batcher::with_controller(
        BatcherConfig { batch_timeout: 60_000 * MS, ..config() },
        controller,
    );
    scene.batcher.handle_replica_up(scene.now, ReplicaId(0), DeviceClass(0));
    let view = scene.view(1, 0, 100_000 * MS, 100_000 * MS);
    scene.batcher.handle_arrival(scene.now, view).expect("there is room");
    assert!(scene.dispatched().is_some());
    for (waited, live) in [(9_000, 1), (2_500, 0)] {
        scene.now = scene.now.after(waited * MS);
        scene.batcher.handle_look(scene.now);
        assert_eq!(scene.batcher.live_replicas(), live, "after {waited} ms more");
    }
}

#[test]
fn one_that_leaves_answers_what_it_has_and_gets_no_more() {
    let mut scene = Scene::new(config());
    let first = scene.arrive();
    let (batch, _) = scene.dispatched().expect("a replica is idle");
    scene.batcher.handle_replica_leave(scene.now, ReplicaId(0));
    scene.arrive();
    assert_eq!(scene.dispatched(), None);
    assert!(scene.batcher.has_batch(ReplicaId(0)));
    let outcome = Outcome::Answered { service: MS };
    scene.batcher.handle_outcome(scene.now, ReplicaId(0), batch, outcome);
    assert_eq!(scene.effects(), [Effect::Leave { task: first, why: Leave::Answered }]);
    assert!(!scene.batcher.has_batch(ReplicaId(0)), "it may go");
    scene.batcher.handle_replica_up(scene.now, ReplicaId(1), DeviceClass(0));
    assert!(scene.dispatched().is_some(), "another takes what waits");
}

#[test]
fn a_batch_whose_copy_dies_too_was_lost_once_and_its_tasks_run_alone() {
    let mut scene = Scene::new(config());
    let task = scene.arrive();
    let (batch, _) = scene.dispatched().expect("a replica is idle");
    scene.batcher.handle_replica_up(scene.now, ReplicaId(1), DeviceClass(0));
    scene.batcher.send_copy(ReplicaId(1), batch, Time::NEVER);
    scene.batcher.handle_replica_down(scene.now, ReplicaId(0));
    assert_eq!(scene.left(), []);
    scene.batcher.handle_replica_down(scene.now, ReplicaId(1));
    assert_eq!(scene.left(), []);
    scene.batcher.handle_replica_up(scene.now, ReplicaId(0), DeviceClass(0));
    assert_eq!(scene.dispatched().map(|(_, tasks)| tasks), Some(vec![task]));
    scene.batcher.handle_replica_down(scene.now, ReplicaId(0));
    assert_eq!(scene.left(), [(task, Leave::Quarantined)]);
}

#[test]
#[should_panic(expected = "a batch is copied once")]
fn a_suspect_that_runs_alone_counts_as_copied_already() {
    let mut scene = Scene::new(config());
    let task = scene.arrive();
    scene.dispatched().expect("a replica is idle");
    scene.batcher.handle_replica_down(scene.now, ReplicaId(0));
    (0..2).for_each(|id| scene.batcher.handle_replica_up(scene.now, ReplicaId(id), DeviceClass(0)));
    let (alone, tasks) = scene.dispatched().expect("its second run");
    assert_eq!(tasks, [task]);
    scene.batcher.send_copy(ReplicaId(1), alone, Time::NEVER);
}
