//! A replica that is fast for many beside two that are fast for few.

use super::*;

const SLO: Duration = Duration::from_millis(125);
const BULK: ReplicaId = ReplicaId(0);
const QUICK: [ReplicaId; 2] = [ReplicaId(1), ReplicaId(2)];

/// What `15 + 0.25 b` and `1.5 + 5 b` milliseconds are known to take, where one batch in fifty takes 1.2 times that.
fn scene() -> Scene {
    let slo = SloConfig::new(Some(SLO), u64::from(ROWS_MAX));
    let ratios = || (0..1000).map(|nth| if nth % 50 == 0 { 1.2 } else { 1.0 });
    let affine = |fixed: f64, each: f64| {
        let centre = |cost: f64| (cost, (fixed + each * cost) * 1e6);
        LatencyProfile::known(&[1.0, 2.0, 4.0, 8.0, 16.0].map(centre), ratios())
    };
    let controller = SloController::with_profiles(slo, vec![affine(15.0, 0.25), affine(1.5, 5.0)]);
    let mut scene = Scene::new(config());
    scene.batcher =
        Batcher::with_controller(BatcherConfig { slo: Some(SLO), ..config() }, controller);
    scene.batcher.handle_replica_up(scene.now, BULK, DeviceClass(0));
    for quick in QUICK {
        scene.batcher.handle_replica_up(scene.now, quick, DeviceClass(1));
    }
    scene
}

/// What is sent now, and to whom.
fn sent(scene: &mut Scene) -> Vec<(ReplicaId, BatchId, Vec<TaskId>)> {
    let sent = |effect| match effect {
        Effect::Dispatch { replica, batch, tasks } => Some((replica, batch, tasks)),
        _ => None,
    };
    scene.effects().into_iter().filter_map(sent).collect()
}

/// The bulk replica has had a batch for 10 of its 15.25 ms.
fn with_a_bulk_batch(scene: &mut Scene) -> BatchId {
    scene.arrive_hard(SLO);
    let [(replica, batch, _)] = &sent(scene)[..] else { panic!("one replica takes it") };
    assert_eq!(*replica, BULK, "there is time enough");
    scene.wait(10 * MS);
    *batch
}

#[test]
fn a_quick_replica_takes_what_the_bulk_class_would_hardly_finish_while_another_is_idle() {
    let mut scene = scene();
    with_a_bulk_batch(&mut scene);
    let urgent = scene.arrive_hard(25 * MS);
    let taken = sent(&mut scene);
    assert!(
        matches!(&taken[..], [(replica, _, tasks)] if QUICK.contains(replica) && *tasks == [urgent])
    );
    scene.arrive_hard(25 * MS);
    assert_eq!(
        sent(&mut scene),
        [],
        "the last idle one is kept for those that nobody else can finish"
    );
}

#[test]
fn the_bulk_class_passes_over_those_its_batch_may_miss_though_all_others_are_busy() {
    let mut scene = scene();
    let batch = with_a_bulk_batch(&mut scene);
    for _ in QUICK {
        scene.arrive_hard(8 * MS);
    }
    assert_eq!(sent(&mut scene).len(), QUICK.len());
    scene.arrive_hard(21 * MS);
    let normal = scene.arrive_hard(SLO);
    scene.wait(5 * MS);
    assert_eq!(sent(&mut scene), [], "no replica is idle");
    let outcome = Outcome::Answered { service: 15 * MS };
    scene.batcher.handle_outcome(scene.now, BULK, batch, outcome);
    let taken = sent(&mut scene);
    assert!(
        matches!(&taken[..], [(BULK, _, tasks)] if *tasks == [normal]),
        "in 16 ms it may make the urgent one, but not surely: {taken:?}"
    );
}
