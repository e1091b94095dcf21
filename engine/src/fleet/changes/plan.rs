//! What a load has to do: pure, from what the files say now and what is served.

use std::rc::Rc;

use crate::fleet::model::Model;
use crate::fleet::repository::Found;

#[derive(Default)]
pub(super) struct Plan {
    /// To be started, each with the one whose place it takes.
    pub(super) start: Vec<(Found, Option<Rc<Model>>)>,
    /// Versions that are no longer there.
    pub(super) leave: Vec<Rc<Model>>,
}

pub(super) fn plan(found: Vec<Found>, served: &[Rc<Model>]) -> Plan {
    let is_there =
        |model: &Rc<Model>| found.iter().any(|it| it.target.version == model.target.version);
    let leave = served.iter().filter(|model| !is_there(model)).cloned().collect();
    let mut start = Vec::new();
    for found in found {
        let before = served.iter().find(|model| model.target.version == found.target.version);
        if before.is_none_or(|before| has_changed(before, &found)) {
            start.push((found, before.cloned()));
        }
    }
    Plan { start, leave }
}

/// One that has no live replica is worth another try, whatever its files say.
fn has_changed(model: &Model, found: &Found) -> bool {
    model.target != found.target
        || model.class != found.class
        || model.digest.get() != Some(&found.digest)
        || model.live.get() == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::device_groups::DeviceGroups;
    use crate::fleet::target::{Program, Target};
    use crate::ids::{ClassId, Version};

    fn found(version: u64, digest: u64) -> Found {
        let target = Target {
            name: Some("m".into()),
            version: Version(version),
            program: Program::Python { target: "m.py".into() },
            settings: "{}".into(),
            env: Vec::new(),
            devices: DeviceGroups::one(None),
            class: None,
            labels: Default::default(),
            fixed_batches: None,
            warm_up: true,
            queue_tasks_max: None,
            scale: None,
            config: None,
            place: Default::default(),
        };
        Found { target, class: ClassId::DEFAULT, digest }
    }

    fn live(version: u64, digest: u64) -> Rc<Model> {
        let model = Model::new(found(version, 0).target, ClassId::DEFAULT, None);
        model.digest.set(digest).unwrap();
        model.live.set(1);
        model
    }

    fn versions(plan: &Plan) -> (Vec<(u64, bool)>, Vec<u64>) {
        let start = plan.start.iter().map(|(it, before)| (it.target.version.0, before.is_some()));
        (start.collect(), plan.leave.iter().map(|model| model.target.version.0).collect())
    }

    #[test]
    fn what_has_not_changed_stays_and_nothing_is_started() {
        let plan = plan(vec![found(1, 7), found(2, 8)], &[live(1, 7), live(2, 8)]);
        assert_eq!(versions(&plan), (vec![], vec![]));
    }

    #[test]
    fn a_changed_version_is_started_beside_the_old_one_and_a_missing_one_leaves() {
        let plan = plan(vec![found(2, 9), found(3, 1)], &[live(1, 7), live(2, 8)]);
        assert_eq!(versions(&plan), (vec![(2, true), (3, false)], vec![1]));
    }

    #[test]
    fn other_settings_are_a_change_and_so_is_a_model_without_a_live_replica() {
        let mut settings = found(1, 7);
        settings.target.settings = "{\"max_batch\":8}".into();
        assert_eq!(versions(&plan(vec![settings], &[live(1, 7)])).0, [(1, true)]);
        let dead = live(1, 7);
        dead.live.set(0);
        assert_eq!(versions(&plan(vec![found(1, 7)], &[dead])).0, [(1, true)]);
    }
}
