//! Batches of which parts were handed on.

use super::*;

fn part(scene: &mut Scene, batch: BatchId, ends: Time) {
    scene.batcher.handle_part(scene.now, ReplicaId(0), batch, ends);
    assert_eq!(scene.effects(), [], "a part by itself changes nothing");
}

fn is_killed(scene: &mut Scene) -> bool {
    scene.effects().iter().any(|effect| matches!(effect, Effect::Kill { .. }))
}

#[test]
fn each_part_gives_the_batch_as_long_again() {
    let mut scene = Scene::new(config());
    scene.arrive();
    let (batch, _) = scene.dispatched().expect("a replica is idle");
    for _ in 0..5 {
        scene.wait(1_500 * MS);
        assert!(!is_killed(&mut scene));
        part(&mut scene, batch, Time::NEVER);
    }
    scene.wait(2_000 * MS);
    assert!(is_killed(&mut scene));
}

#[test]
fn the_late_limit_is_for_the_first_part_and_the_end_for_the_last() {
    let mut scene = Scene::new(config());
    let task = scene.arrive_hard(1_000 * MS);
    let (batch, _) = scene.dispatched().expect("a replica is idle");
    let ends = scene.now.after(1_800 * MS);
    part(&mut scene, batch, ends);
    scene.wait(1_700 * MS);
    assert_eq!(scene.left(), []);
    scene.wait(100 * MS);
    assert_eq!(scene.left(), [(task, Leave::DeadlinePassed)]);
}

#[test]
fn a_task_with_a_part_out_is_not_run_again() {
    for begun in [false, true] {
        let mut scene = Scene::new(config());
        let task = scene.arrive();
        let (batch, _) = scene.dispatched().expect("a replica is idle");
        if begun {
            part(&mut scene, batch, Time::NEVER);
        }
        scene.batcher.handle_replica_down(scene.now, ReplicaId(0));
        let lost: &[_] = if begun { &[(task, Leave::Quarantined)] } else { &[] };
        assert_eq!(scene.left(), lost);
    }
}

#[test]
fn a_part_of_a_batch_that_is_back_or_that_was_given_up_is_no_news() {
    let mut scene = Scene::new(config());
    scene.arrive();
    let (batch, _) = scene.dispatched().expect("a replica is idle");
    scene.wait(2_000 * MS);
    assert!(is_killed(&mut scene));
    part(&mut scene, batch, Time::NEVER);
    scene.batcher.handle_replica_down(scene.now, ReplicaId(0));
    part(&mut scene, batch, Time::NEVER);
}
