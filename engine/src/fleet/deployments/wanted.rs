//! What is wanted of one deployed model, and how it changes: pure. Each transition is one transaction of the store; none
//! is acknowledged before it is durable.

use std::collections::BTreeMap;
use std::time::Duration;

/// A version that was replaced is kept warm for this long, unless the deployment says otherwise: a bad roll-out shows
/// within minutes.
pub const KEEP_WARM: Duration = Duration::from_secs(600);

/// Versions of one model that are kept; the oldest of those nobody could go back to make room.
const VERSIONS_MAX: usize = 100;

/// What a version is to its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Requests that name no version go to it.
    Active,
    /// It comes to life, is checked, and then becomes active.
    Candidate,
    /// It comes to life, is checked, and waits to be promoted.
    Held,
    /// It was active and is kept running for a while, so that going back takes no time.
    Warm,
    /// Its files are there; nothing runs.
    Stopped,
    /// It could not be brought to life or did not pass its check.
    Failed,
}

impl Role {
    const ALL: [Role; 6] =
        [Role::Active, Role::Candidate, Role::Held, Role::Warm, Role::Stopped, Role::Failed];

    pub fn name(self) -> &'static str {
        match self {
            Role::Active => "active",
            Role::Candidate => "candidate",
            Role::Held => "held",
            Role::Warm => "warm",
            Role::Stopped => "stopped",
            Role::Failed => "failed",
        }
    }

    pub fn named(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }

    /// Whether its replicas are to be there.
    pub fn runs(self) -> bool {
        matches!(self, Role::Active | Role::Candidate | Role::Held | Role::Warm)
    }
}

/// Why a version can't be served, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Failure {
    /// A sentence.
    pub error: String,
    /// The last lines that its container wrote.
    #[serde(default)]
    pub output: String,
    /// Probable, where one is known.
    #[serde(default)]
    pub cause: Option<String>,
    #[serde(default)]
    pub fix: Option<String>,
}

/// One deployed version.
#[derive(Clone, Debug, PartialEq)]
pub struct VersionRow {
    pub role: Role,
    /// Of its files.
    pub digest: String,
    pub bytes: u64,
    /// Since 1970, as all times here.
    pub deployed_ms: u64,
    /// Of a warm one.
    pub warm_until_ms: Option<u64>,
    /// Of a failed one.
    pub why: Option<Failure>,
}

/// One deployed model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelRow {
    pub active: Option<u64>,
    /// What a rollback goes to.
    pub previous: Option<u64>,
    /// None: as many as the version declares.
    pub replicas: Option<Replicas>,
    /// In place of what the version declares.
    pub slo: Option<String>,
    pub keep_warm_ms: Option<u64>,
    /// The highest number that was ever given.
    pub last_version: u64,
    pub versions: BTreeMap<u64, VersionRow>,
}

/// How many replicas there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replicas {
    pub min: u32,
    pub max: u32,
}

/// What a deployment may say of its model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// It waits to be promoted.
    pub hold: bool,
    pub keep_warm: Option<Duration>,
    pub replicas: Option<Replicas>,
    pub slo: Option<String>,
}

/// A version's files as they lie on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    pub digest: String,
    pub bytes: u64,
}

/// Why a change is refused; whoever asked for it can do something about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("there is no version {version}; foil ls shows those there are")]
    NoVersion { version: u64 },
    #[error("there is no version to go back to: only one has taken traffic so far")]
    NoPrevious,
    #[error(
        "version {version} takes the traffic; promote another first, or remove the whole model"
    )]
    IsActive { version: u64 },
    #[error("version {version} takes the traffic already")]
    AlreadyActive { version: u64 },
    #[error(
        "there are {VERSIONS_MAX} versions, and all could still be gone back to; remove some: foil rm NAME VERSION"
    )]
    TooMany,
    #[error("{given} replicas can't be: give at least 1, at most {most}, and min not above max")]
    Replicas { given: String, most: u32 },
}

impl Replicas {
    /// The engine's own bound on the replicas of one model.
    pub const MOST: u32 = schemas::lifecycle::REPLICAS_MAX;

    pub fn new(min: u32, max: u32) -> Result<Replicas, Refused> {
        if min == 0 || min > max || max > Replicas::MOST {
            let given = if min == max { min.to_string() } else { format!("{min} to {max}") };
            return Err(Refused::Replicas { given, most: Replicas::MOST });
        }
        Ok(Replicas { min, max })
    }
}

impl ModelRow {
    fn role(&self, version: u64) -> Result<Role, Refused> {
        self.versions.get(&version).map(|row| row.role).ok_or(Refused::NoVersion { version })
    }

    fn set(&mut self, version: u64, role: Role) {
        if let Some(row) = self.versions.get_mut(&version) {
            row.role = role;
            row.warm_until_ms = None;
            row.why = None;
        }
    }

    fn keep_warm(&self) -> u64 {
        self.keep_warm_ms.unwrap_or(KEEP_WARM.as_millis() as u64)
    }

    /// An older candidate gives up: the newest is what is wanted.
    fn give_up_candidates(&mut self) {
        for row in self.versions.values_mut().filter(|row| row.role == Role::Candidate) {
            row.role = Role::Stopped;
        }
    }

    /// A new version, numbered above `at_least` and every one before it.
    pub fn deploy(
        &mut self,
        artifact: Artifact,
        options: &Options,
        at_least: u64,
        now_ms: u64,
    ) -> Result<u64, Refused> {
        self.make_room()?;
        self.replicas = options.replicas.or(self.replicas);
        self.slo = options.slo.clone().or(self.slo.take());
        let keep_warm = options.keep_warm.map(|it| it.as_millis() as u64);
        self.keep_warm_ms = keep_warm.or(self.keep_warm_ms);
        let version = self.last_version.max(at_least) + 1;
        self.last_version = version;
        let role = if options.hold { Role::Held } else { Role::Candidate };
        if role == Role::Candidate {
            self.give_up_candidates();
        }
        let Artifact { digest, bytes } = artifact;
        let row =
            VersionRow { role, digest, bytes, deployed_ms: now_ms, warm_until_ms: None, why: None };
        self.versions.insert(version, row);
        Ok(version)
    }

    fn make_room(&mut self) -> Result<(), Refused> {
        if self.versions.len() < VERSIONS_MAX {
            return Ok(());
        }
        let idle = |row: &VersionRow| matches!(row.role, Role::Stopped | Role::Failed);
        let mut old =
            self.versions.iter().filter(|(v, row)| idle(row) && self.previous != Some(**v));
        let oldest = old.next().map(|(version, _)| *version).ok_or(Refused::TooMany)?;
        self.versions.remove(&oldest);
        Ok(())
    }

    /// A version that is live and checked takes the traffic.
    pub fn activate(&mut self, version: u64, now_ms: u64) -> Result<(), Refused> {
        if self.role(version)? == Role::Active {
            return Err(Refused::AlreadyActive { version });
        }
        let keep_warm = self.keep_warm();
        if let Some(old) = self.active {
            self.set(old, Role::Warm);
            if let Some(row) = self.versions.get_mut(&old) {
                row.warm_until_ms = Some(now_ms.saturating_add(keep_warm));
            }
            self.previous = Some(old);
        }
        self.set(version, Role::Active);
        self.active = Some(version);
        Ok(())
    }

    /// Wants the version active: it becomes a candidate, which takes the traffic once it is live and checked. One that is
    /// so already does at once.
    pub fn promote(&mut self, version: u64) -> Result<(), Refused> {
        if self.role(version)? == Role::Active {
            return Err(Refused::AlreadyActive { version });
        }
        self.give_up_candidates();
        self.set(version, Role::Candidate);
        Ok(())
    }

    /// What a rollback promotes.
    pub fn back(&self) -> Result<u64, Refused> {
        self.previous
            .filter(|version| self.versions.contains_key(version))
            .ok_or(Refused::NoPrevious)
    }

    pub fn fail(&mut self, version: u64, why: Failure) -> Result<(), Refused> {
        if self.role(version)? == Role::Active {
            return Err(Refused::AlreadyActive { version });
        }
        self.set(version, Role::Failed);
        if let Some(row) = self.versions.get_mut(&version) {
            row.why = Some(why);
        }
        Ok(())
    }

    /// Nothing runs of it from now on.
    pub fn stop(&mut self, version: u64) -> Result<(), Refused> {
        if self.role(version)? == Role::Active {
            return Err(Refused::IsActive { version });
        }
        self.set(version, Role::Stopped);
        Ok(())
    }

    pub fn remove(&mut self, version: u64) -> Result<(), Refused> {
        if self.role(version)? == Role::Active {
            return Err(Refused::IsActive { version });
        }
        self.versions.remove(&version);
        self.previous = self.previous.filter(|previous| *previous != version);
        if self.versions.is_empty() {
            self.remove_all();
        }
        Ok(())
    }

    /// What is deployed by this name next has nothing of it but higher numbers.
    pub fn remove_all(&mut self) {
        *self = ModelRow { last_version: self.last_version, ..ModelRow::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact() -> Artifact {
        Artifact { digest: "d".into(), bytes: 1 }
    }

    fn deployed(row: &mut ModelRow, options: &Options) -> u64 {
        row.deploy(artifact(), options, 0, 1000).unwrap()
    }

    /// Two versions, the second active since `now` 5000.
    fn rolled() -> ModelRow {
        let mut row = ModelRow::default();
        let first = deployed(&mut row, &Options::default());
        row.activate(first, 2000).unwrap();
        let second = deployed(&mut row, &Options::default());
        row.activate(second, 5000).unwrap();
        row
    }

    fn roles(row: &ModelRow) -> Vec<Role> {
        row.versions.values().map(|row| row.role).collect()
    }

    #[test]
    fn a_version_that_takes_over_leaves_the_old_one_warm() {
        let row = rolled();
        assert_eq!(roles(&row), [Role::Warm, Role::Active]);
        assert_eq!((row.active, row.previous), (Some(2), Some(1)));
        assert_eq!(row.versions[&1].warm_until_ms, Some(5000 + 600_000));
    }

    #[test]
    fn what_was_set_goes_with_the_last_version() {
        let mut row = ModelRow::default();
        let options = Options { hold: true, ..Options::default() };
        let held = deployed(&mut row, &options);
        row.replicas = Some(Replicas { min: 2, max: 2 });
        row.remove(held).unwrap();
        assert_eq!(row, ModelRow { last_version: held, ..ModelRow::default() });
    }

    #[test]
    fn numbers_are_never_given_twice() {
        let mut row = rolled();
        row.remove(1).unwrap();
        assert_eq!(row.deploy(artifact(), &Options::default(), 7, 0), Ok(8));
        row.remove(8).unwrap();
        assert_eq!(deployed(&mut row, &Options::default()), 9);
    }

    #[test]
    fn only_the_newest_candidate_stays_and_a_held_one_is_none() {
        let mut row = rolled();
        let third = deployed(&mut row, &Options::default());
        let held = deployed(&mut row, &Options { hold: true, ..Options::default() });
        assert_eq!(roles(&row)[2..], [Role::Candidate, Role::Held]);
        row.promote(held).unwrap();
        assert_eq!(row.versions[&third].role, Role::Stopped);
        assert_eq!(row.versions[&held].role, Role::Candidate);
    }

    #[test]
    fn a_second_rollback_goes_forward_again() {
        let mut row = rolled();
        for expected in [1, 2, 1] {
            let back = row.back().unwrap();
            assert_eq!(back, expected);
            row.promote(back).unwrap();
            row.activate(back, 9000).unwrap();
        }
        row.remove(2).unwrap();
        assert_eq!(row.back(), Err(Refused::NoPrevious));
    }

    #[test]
    fn the_active_one_is_neither_removed_nor_stopped_nor_failed() {
        let mut row = rolled();
        assert_eq!(row.remove(2), Err(Refused::IsActive { version: 2 }));
        assert_eq!(row.stop(2), Err(Refused::IsActive { version: 2 }));
        assert!(row.fail(2, Failure::default()).is_err());
        assert_eq!(row.promote(3), Err(Refused::NoVersion { version: 3 }));
    }

    #[test]
    fn what_was_said_of_a_model_stays_until_it_is_said_otherwise() {
        let mut row = ModelRow::default();
        let replicas = Some(Replicas { min: 1, max: 3 });
        let options = Options { replicas, slo: Some("20ms".into()), ..Options::default() };
        deployed(&mut row, &options);
        deployed(&mut row, &Options::default());
        assert_eq!((row.replicas, row.slo.as_deref()), (replicas, Some("20ms")));
        assert!(Replicas::new(0, 1).is_err() && Replicas::new(3, 2).is_err());
    }

    #[test]
    fn the_oldest_that_nobody_goes_back_to_makes_room() {
        let mut row = rolled();
        while row.versions.len() < VERSIONS_MAX {
            let version = deployed(&mut row, &Options::default());
            row.fail(version, Failure::default()).unwrap();
        }
        let version = deployed(&mut row, &Options::default());
        assert_eq!(row.versions.len(), VERSIONS_MAX);
        assert!(!row.versions.contains_key(&3) && row.versions.contains_key(&1));
        row.stop(version).unwrap();
    }
}
