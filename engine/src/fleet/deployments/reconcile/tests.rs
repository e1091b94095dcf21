use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::fleet::deployments::wanted::{Artifact, Options, Replicas};

/// A world that does what it is told, in its own time; versions in `broken` never come up, those in `wrong` answer
/// otherwise than expected.
#[derive(Default)]
struct World {
    wanted: ModelRow,
    observed: Observed,
    broken: BTreeSet<u64>,
    wrong: BTreeSet<u64>,
    now_ms: u64,
}

/// What people do.
#[derive(Clone, Debug)]
enum Ask {
    Deploy {
        hold: bool,
        broken: bool,
        wrong: bool,
    },
    Promote(u64),
    Back,
    Remove(u64),
    RemoveAll,
    Scale(u32),
    Slo(u8),
    Wait(u64),
    /// The engine is killed and starts again.
    Restart,
    /// One thing that was begun comes to its end.
    Progress(u8),
    Act,
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        3 => (any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.2))
            .prop_map(|(hold, broken, wrong)| Ask::Deploy { hold, broken, wrong }),
        2 => (1..8u64).prop_map(Ask::Promote),
        2 => Just(Ask::Back),
        1 => (1..8u64).prop_map(Ask::Remove),
        1 => Just(Ask::RemoveAll),
        1 => (1..4u32).prop_map(Ask::Scale),
        1 => (0..3u8).prop_map(Ask::Slo),
        1 => (0..900_000u64).prop_map(Ask::Wait),
        1 => Just(Ask::Restart),
        9 => any::<u8>().prop_map(Ask::Progress),
        12 => Just(Ask::Act),
    ]
}

impl World {
    fn ask(&mut self, ask: &Ask) {
        // What is refused changes nothing.
        let mut wanted = self.wanted.clone();
        let done = match *ask {
            Ask::Deploy { hold, broken, wrong } => {
                let artifact = Artifact { digest: String::new(), bytes: 1 };
                let at_least =
                    self.observed.files.iter().chain(self.observed.versions.keys()).max();
                let options = Options { hold, ..Options::default() };
                let at_least = at_least.copied().unwrap_or_default();
                wanted.deploy(artifact, &options, at_least, self.now_ms).map(|version| {
                    self.observed.files.push(version);
                    broken.then(|| self.broken.insert(version));
                    wrong.then(|| self.wrong.insert(version));
                })
            }
            Ask::Promote(version) => wanted.promote(version),
            Ask::Back => wanted.back().and_then(|version| wanted.promote(version)),
            Ask::Remove(version) => wanted.remove(version),
            Ask::RemoveAll => {
                let last_version = wanted.last_version;
                wanted = ModelRow { last_version, ..ModelRow::default() };
                Ok(())
            }
            Ask::Scale(count) => {
                wanted.replicas = Replicas::new(count, count).ok();
                Ok(())
            }
            Ask::Slo(ms) => {
                wanted.slo = (ms > 0).then(|| format!("{ms}ms"));
                Ok(())
            }
            Ask::Wait(ms) => {
                self.now_ms += ms;
                Ok(())
            }
            Ask::Restart => {
                self.observed.versions.clear();
                Ok(())
            }
            Ask::Progress(which) => {
                self.progress(which.into());
                Ok(())
            }
            Ask::Act => {
                self.act();
                return;
            }
        };
        if done.is_ok() {
            self.wanted = wanted;
        }
    }

    fn begun(&self) -> Vec<u64> {
        let versions = self.observed.versions.iter();
        let under_way =
            |phase: &Phase| matches!(phase, Phase::Loading | Phase::Checking | Phase::Leaving);
        versions.filter(|(_, seen)| under_way(&seen.phase)).map(|(version, _)| *version).collect()
    }

    fn progress(&mut self, which: usize) {
        let begun = self.begun();
        let Some(&version) = begun.get(which % begun.len().max(1)) else { return };
        let (broken, wrong) = (self.broken.contains(&version), self.wrong.contains(&version));
        let is_active = self.wanted.active == Some(version);
        let seen = self.observed.versions.get_mut(&version).unwrap();
        seen.phase = match seen.phase {
            Phase::Leaving => {
                self.observed.versions.remove(&version);
                return;
            }
            // The active one is tried for ever.
            Phase::Loading if broken && is_active => Phase::Loading,
            Phase::Loading if broken => Phase::Failed(Failure::default()),
            Phase::Loading => Phase::Live,
            _ if wrong => Phase::Failed(Failure::default()),
            _ => Phase::Checked,
        };
    }

    /// One action; None: there is none.
    fn act(&mut self) -> Option<Action> {
        let Next::Do(action) = next(&self.wanted, &self.observed, self.now_ms) else { return None };
        let seen = |world: &World, version| world.observed.versions.get(&version).cloned();
        match action.clone() {
            Action::Start(version) => {
                assert!(seen(self, version).is_none(), "started twice");
                assert!(self.wanted.versions[&version].role.runs());
                let bounds = self.wanted.replicas;
                let slo = self.wanted.slo.clone();
                let new = Seen { phase: Phase::Loading, published: false, slo, bounds };
                self.observed.versions.insert(version, new);
            }
            Action::Check(version) => self.seen(version).phase = Phase::Checking,
            Action::Publish(version) => {
                assert!(matches!(self.seen(version).phase, Phase::Checked | Phase::Live));
                self.seen(version).published = true;
            }
            Action::Activate(version) => {
                assert_eq!(self.seen(version).phase, Phase::Checked, "only what was found good");
                assert!(!self.broken.contains(&version) && !self.wrong.contains(&version));
                self.wanted.activate(version, self.now_ms).unwrap();
            }
            Action::Fail(version, why) => self.wanted.fail(version, why).unwrap(),
            Action::Expire(version) => self.wanted.stop(version).unwrap(),
            Action::Scale(version, bounds) => self.seen(version).bounds = Some(bounds),
            Action::Replace(version) => self.seen(version).slo = self.wanted.slo.clone(),
            Action::Retire(version) => {
                assert_ne!(self.wanted.active, Some(version), "the one with the traffic stays");
                self.seen(version).phase = Phase::Leaving;
            }
            Action::RemoveFiles(version) => {
                assert!(!self.wanted.versions.contains_key(&version));
                assert!(seen(self, version).is_none(), "it still runs");
                self.observed.files.retain(|other| *other != version);
            }
        }
        Some(action)
    }

    fn seen(&mut self, version: u64) -> &mut Seen {
        self.observed.versions.get_mut(&version).expect("it is there")
    }

    /// Everything that is begun comes to its end, and everything that is to be done is done.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.act().is_some() {
                continue;
            }
            let before = self.observed.clone();
            (0..self.begun().len()).for_each(|which| self.progress(which));
            if self.observed == before && self.act().is_none() {
                return;
            }
        }
        panic!("it never comes to rest: {:?} {:?}", self.wanted, self.observed);
    }

    /// What runs is what is wanted, and nothing else is left.
    fn is_as_wanted(&self) {
        for (version, row) in &self.wanted.versions {
            let seen = self.observed.versions.get(version);
            let is_up = seen.is_some_and(|seen| matches!(seen.phase, Phase::Live | Phase::Checked));
            match row.role {
                Role::Active => assert!(is_up || self.broken.contains(version)),
                Role::Held | Role::Warm => {
                    assert!(is_up || self.wanted.active.is_some_and(|it| self.broken.contains(&it)))
                }
                Role::Candidate => panic!("a candidate neither took the traffic nor failed"),
                Role::Stopped | Role::Failed => assert_eq!(seen, None),
            }
        }
        let known = |version: &u64| self.wanted.versions.contains_key(version);
        assert!(self.observed.versions.keys().all(known), "nothing runs that nobody wants");
        assert!(self.observed.files.iter().all(known), "no file lies there that nobody wants");
        if let Some(seen) = self.wanted.active.and_then(|it| self.observed.versions.get(&it))
            && matches!(seen.phase, Phase::Live | Phase::Checked)
        {
            assert_eq!(seen.slo, self.wanted.slo);
            let wanted = self.wanted.replicas;
            assert!(wanted.is_none() || seen.bounds == wanted);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn from_wherever_things_stand_it_comes_to_what_is_wanted(asks in prop::collection::vec(ask(), 0..80)) {
        let mut world = World::default();
        for ask in &asks {
            world.ask(ask);
            let active = world.wanted.versions.values().filter(|row| row.role == Role::Active);
            let count = active.count();
            prop_assert_eq!(count, usize::from(world.wanted.active.is_some()), "one active version at most");
        }
        world.settle();
        world.is_as_wanted();
    }

    #[test]
    fn a_version_that_was_warm_long_enough_ends_and_its_files_stay(keep in 1..100_000u64) {
        let mut world = World::default();
        let deploy = Ask::Deploy { hold: false, broken: false, wrong: false };
        world.ask(&deploy);
        world.settle();
        world.wanted.keep_warm_ms = Some(keep);
        world.ask(&deploy);
        world.settle();
        prop_assert_eq!(next(&world.wanted, &world.observed, world.now_ms), Next::Wait { until_ms: Some(keep) });
        world.now_ms += keep;
        world.settle();
        prop_assert_eq!(world.wanted.versions[&1].role, Role::Stopped);
        prop_assert_eq!(world.observed.files, vec![1, 2]);
    }
}

#[test]
fn a_failing_version_never_gets_traffic() {
    for (broken, wrong) in [(true, false), (false, true)] {
        let mut world = World::default();
        world.ask(&Ask::Deploy { hold: false, broken: false, wrong: false });
        world.settle();
        world.ask(&Ask::Deploy { hold: false, broken, wrong });
        world.settle();
        assert_eq!(world.wanted.active, Some(1));
        assert_eq!(world.wanted.versions[&2].role, Role::Failed);
        assert!(!world.observed.versions.contains_key(&2));
    }
}

#[test]
fn going_back_to_a_warm_version_takes_one_step() {
    let mut world = World::default();
    for _ in 0..2 {
        world.ask(&Ask::Deploy { hold: false, broken: false, wrong: false });
        world.settle();
    }
    world.ask(&Ask::Back);
    assert_eq!(world.act(), Some(Action::Activate(1)));
}
