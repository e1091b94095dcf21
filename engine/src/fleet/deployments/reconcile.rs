//! What to do next for one model: a pure function of what is wanted, what is there and the time.
//!
//! Called again after every change, it leads from wherever things stand to what is wanted. It never gives traffic to a
//! version that is not live and checked, and never takes away the one that has it.

use std::collections::BTreeMap;

use super::wanted::{Failure, ModelRow, Replicas, Role};

/// How far a version that runs, or was to run, has come.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// It waits for its turn, starts, loads, warms up.
    Loading,
    /// It came up, with as many of its replicas as came in time.
    Live,
    /// Its answer to its sample is looked at.
    Checking,
    /// Live, and its answer was right, or there is none to compare with.
    Checked,
    /// It was brought up and could not be.
    Failed(Failure),
    /// It answers what it accepted, and ends.
    Leaving,
}

/// One version as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub phase: Phase,
    /// Requests that name it find it.
    pub published: bool,
    /// The SLO that it was started with, in place of its own.
    pub slo: Option<String>,
    /// Between how many replicas it was told to stay; None: as many as it declares.
    pub bounds: Option<Replicas>,
}

/// All there is of one model besides what is wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    pub versions: BTreeMap<u64, Seen>,
    /// Versions whose files lie there, wanted or not.
    pub files: Vec<u64>,
}

/// One thing to do. What takes long is only begun; its end is the next thing observed.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Bring it to life beside what runs.
    Start(u64),
    /// Compare its answer to its sample.
    Check(u64),
    /// Let requests that name it find it.
    Publish(u64),
    /// It takes the traffic from now on; the old one is kept warm.
    Activate(u64),
    /// It won't be tried again.
    Fail(u64, Failure),
    /// Nobody has gone back to it in time, or it can't be kept warm.
    Expire(u64),
    /// Between so many replicas; how many, its load says.
    Scale(u64, Replicas),
    /// The same version with other settings comes up beside it and takes its place.
    Replace(u64),
    /// It answers what it accepted, and ends.
    Retire(u64),
    RemoveFiles(u64),
}

/// What to do, and when to look again if nothing happens before.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    Do(Action),
    /// Until something changes, or this time.
    Wait {
        until_ms: Option<u64>,
    },
}

pub fn next(wanted: &ModelRow, observed: &Observed, now_ms: u64) -> Next {
    let action = ending(wanted, observed)
        .or_else(|| of_active(wanted, observed))
        .or_else(|| coming(wanted, observed))
        .or_else(|| of_warm(wanted, observed, now_ms));
    match action {
        Some(action) => Next::Do(action),
        None => Next::Wait { until_ms: next_expiry(wanted) },
    }
}

/// What is not wanted ends first: it frees what others need.
fn ending(wanted: &ModelRow, observed: &Observed) -> Option<Action> {
    let runs = |version: &u64| wanted.versions.get(version).is_some_and(|row| row.role.runs());
    let mut unwanted = observed
        .versions
        .iter()
        .filter(|(version, seen)| !runs(version) && !matches!(seen.phase, Phase::Leaving));
    if let Some((version, _)) = unwanted.next() {
        return Some(Action::Retire(*version));
    }
    let free = |version: &&u64| {
        !wanted.versions.contains_key(version) && !observed.versions.contains_key(version)
    };
    observed.files.iter().find(free).map(|version| Action::RemoveFiles(*version))
}

fn of_active(wanted: &ModelRow, observed: &Observed) -> Option<Action> {
    let version = wanted.active?;
    let Some(seen) = observed.versions.get(&version) else { return Some(Action::Start(version)) };
    if !matches!(seen.phase, Phase::Live | Phase::Checked) {
        return None;
    }
    if seen.slo != wanted.slo {
        return Some(Action::Replace(version));
    }
    let other = wanted.replicas.filter(|bounds| seen.bounds != Some(*bounds));
    other.map(|bounds| Action::Scale(version, bounds))
}

/// A version on its way to traffic.
fn coming(wanted: &ModelRow, observed: &Observed) -> Option<Action> {
    let on_its_way = |role| matches!(role, Role::Candidate | Role::Held);
    let mut coming = wanted.versions.iter().filter(|(_, row)| on_its_way(row.role));
    coming.find_map(|(&version, row)| {
        let Some(seen) = observed.versions.get(&version) else {
            return Some(Action::Start(version));
        };
        match &seen.phase {
            Phase::Live => Some(Action::Check(version)),
            Phase::Failed(why) => Some(Action::Fail(version, why.clone())),
            Phase::Checked if row.role == Role::Candidate => Some(Action::Activate(version)),
            Phase::Checked if !seen.published => Some(Action::Publish(version)),
            Phase::Checked | Phase::Loading | Phase::Checking | Phase::Leaving => None,
        }
    })
}

/// One that can't be kept warm is not tried again: its files stay.
fn of_warm(wanted: &ModelRow, observed: &Observed, now_ms: u64) -> Option<Action> {
    let mut warm = wanted.versions.iter().filter(|(_, row)| row.role == Role::Warm);
    warm.find_map(|(&version, row)| {
        if row.warm_until_ms.is_none_or(|until| until <= now_ms) {
            return Some(Action::Expire(version));
        }
        let active_is_up = || {
            let active = wanted.active.and_then(|active| observed.versions.get(&active));
            active.is_none_or(|seen| matches!(seen.phase, Phase::Live | Phase::Checked))
        };
        match observed.versions.get(&version) {
            // After a restart the one with the traffic comes first.
            None => active_is_up().then_some(Action::Start(version)),
            Some(Seen { phase: Phase::Failed(_), .. }) => Some(Action::Expire(version)),
            Some(Seen { phase: Phase::Live | Phase::Checked, published: false, .. }) => {
                Some(Action::Publish(version))
            }
            Some(_) => None,
        }
    })
}

fn next_expiry(wanted: &ModelRow) -> Option<u64> {
    let warm = wanted.versions.values().filter(|row| row.role == Role::Warm);
    warm.filter_map(|row| row.warm_until_ms).min()
}

#[cfg(test)]
mod tests;
