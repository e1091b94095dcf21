//! Looks at intervals at the models that may run on several kinds of device: what was measured of them by now, and what
//! should be. The thinking is [`appraisal`](super::appraisal)'s; where a replica goes is its keeper's affair.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::learned;
use super::model::{Model, Place};
use super::placement::Curve;
use super::scaling;
use super::supervisor::Shared;
use crate::dispatch::LearnedProfile;
use crate::ids::{DeviceClass, ReplicaId};

/// Nanoseconds.
const MILLISECOND: f64 = 1e6;

/// Until the fleet ends.
pub async fn keep_reviewing(shared: Rc<Shared>) {
    let every = Duration::from_secs(shared.config.limits.review_s);
    let mut stopping = shared.stopping.subscribe();
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        let models = shared.models.borrow().clone();
        for model in models.iter().filter(|model| has_a_choice(model)) {
            review(&shared, model).await;
        }
    }
}

fn has_a_choice(model: &Model) -> bool {
    model.place.get() == Place::Served
        && model.target.devices.options(ReplicaId(0)).nth(1).is_some()
}

async fn review(shared: &Rc<Shared>, model: &Rc<Model>) {
    let Some(known) = model.established.get() else { return };
    let Some(learned) = learned::read(&known.control).await else { return };
    *model.measured.borrow_mut() = curves(&learned);
    if !may_try(shared, model) {
        return;
    }
    let options = model.target.devices.options(ReplicaId(0)).map(|(class, _)| class);
    let measured = model.measured.borrow();
    let unmeasured = options.filter(|class| !measured.contains_key(class));
    if let Some(class) = model.trials.borrow_mut().next(unmeasured) {
        scaling::try_on(shared, model, class);
    }
}

fn curves(learned: &[LearnedProfile]) -> BTreeMap<DeviceClass, Curve> {
    let curve = |profile: &LearnedProfile| {
        let points = profile.buckets.iter().map(|it| (it.cost, it.service / MILLISECOND));
        Curve::new(points.filter(|(cost, _)| *cost >= 1.0)).ok()
    };
    learned.iter().filter_map(|it| Some((it.device, curve(it)?))).collect()
}

/// A trial is a replica more beside those that serve, and only a warm-up measures.
fn may_try(shared: &Shared, model: &Model) -> bool {
    let warms_up = shared.config.warm_up && model.target.warm_up;
    let learns = model.target.fixed_batches.is_none();
    let keepers = model.keepers.borrow();
    let alone = keepers.iter().all(|kept| kept.replica.0 < model.replicas());
    let settled = model.live.get() > 0 && model.others_may_start.get() && alone;
    let room = model.replicas() < model.replicas_max();
    let stays = !*model.stopping.borrow() && !shared.handing_over.get();
    warms_up && learns && settled && room && stays
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::Bucket;

    #[test]
    fn a_curve_is_made_of_what_was_learned() {
        let bucket = |cost, service| Bucket { weight: 3.0, cost, service };
        let profile =
            |device, buckets| LearnedProfile { device: DeviceClass(device), batches: 6, buckets };
        let learned = [profile(0, vec![bucket(1.0, 2e6), bucket(4.0, 5e6)]), profile(1, vec![])];
        let curves = curves(&learned);
        assert_eq!(
            curves.keys().collect::<Vec<_>>(),
            [&DeviceClass(0)],
            "the other was not measured"
        );
        let curve = &curves[&DeviceClass(0)];
        assert_eq!((curve.single_ms(), curve.ms(2.0)), (2.0, 3.0));
    }
}
