//! What replicas print, for whoever asks: the last lines of each, and what has come since.

use super::FleetError;
use super::asks::{Output, OutputOf, Printer};
use super::overseer::Overseer;
use crate::fleet::model::Model;

/// Of the version asked for, or the one with the traffic; of one that failed, its last words.
pub(super) fn output(overseer: &Overseer, of: &OutputOf) -> Result<Vec<Output>, FleetError> {
    let version = of.version.or_else(|| with_traffic(overseer, &of.name));
    let models = overseer.shared.models.borrow();
    let mut wanted: Vec<_> = models
        .iter()
        .filter(|model| model.name() == Some(&*of.name))
        .filter(|model| version.is_none_or(|version| model.target.version.0 == version))
        .collect();
    wanted.sort_by_key(|model| model.target.version);
    let found: Vec<_> = wanted.iter().flat_map(|model| of_model(model, of)).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    match last_words(overseer, of, version) {
        _ if !wanted.is_empty() => Ok(Vec::new()),
        Some(words) => Ok(vec![words]),
        None => overseer.find(&of.name).and(Err(FleetError::NoReplica)),
    }
}

fn with_traffic(overseer: &Overseer, name: &str) -> Option<u64> {
    overseer.find(name).ok()?.row.borrow().active
}

fn of_model(model: &Model, of: &OutputOf) -> Vec<Output> {
    let version = model.target.version.0;
    let standings = model.standings().into_iter();
    let wanted = standings.filter(|it| of.replica.is_none_or(|replica| it.replica.0 == replica));
    let outputs = wanted.flat_map(|standing| {
        let replica = standing.replica.0;
        standing.logs.into_iter().map(move |(life, log)| {
            let printer = Printer { version, replica, life };
            let (lines, total) = log.after(seen(of, printer), of.lines);
            Output { printer, lines, total }
        })
    });
    outputs.collect()
}

fn seen(of: &OutputOf, printer: Printer) -> u64 {
    of.seen.iter().find(|(it, _)| *it == printer).map_or(0, |(_, seen)| *seen)
}

fn last_words(overseer: &Overseer, of: &OutputOf, version: Option<u64>) -> Option<Output> {
    let found = overseer.find(&of.name).ok()?;
    let row = found.row.borrow();
    let mut failed = row.versions.iter().rev().filter_map(|(number, row)| {
        let is_wanted = version.is_none_or(|version| version == *number);
        row.why.as_ref().filter(|_| is_wanted).map(|why| (*number, why))
    });
    let (version, why) = failed.next()?;
    let printer = Printer { version, replica: 0, life: 0 };
    let lines: Vec<_> = why.output.lines().map(str::to_owned).collect();
    let (total, skipped) = (lines.len() as u64, seen(of, printer) as usize);
    Some(Output { printer, lines: lines.into_iter().skip(skipped).collect(), total })
}
