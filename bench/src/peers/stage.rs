//! One cell after the other, one peer's setting after the other, and what of it is there already.

use std::collections::BTreeMap;
use std::fs;

use super::PeersError;
use super::cell::Cell;
use super::check::Reference;
use super::launch::{self, Place, python};
use super::load::{self, Asked, CONNECTIONS};
use super::record::{CROWD, HYPER, Made, Record, Store, over};
use super::settings::{Peer, Setting, of_peer};
use crate::overhead::ask::{Dialect, Question};
use crate::overhead::measure::Setup;
use crate::overhead::servers::{Server, Workplace};

pub(super) struct Run<'a> {
    pub(super) setup: Setup,
    pub(super) place: Place,
    pub(super) store: &'a Store,
    pub(super) wanted: Made,
    pub(super) fresh: bool,
    /// What could not be measured, and why.
    pub(super) skipped: Vec<(String, String)>,
}

/// Ours and the floor, up for as long as a cell takes.
struct Stage<'a> {
    cell: Cell,
    workplace: &'a Workplace,
    reference: &'a Reference,
    floor: Asked<'a>,
    ours: Asked<'a>,
}

impl Run<'_> {
    /// What goes wrong with a peer is written down; what goes wrong with ours ends the run.
    pub(super) fn cell(&mut self, cell: Cell, peers: &[&'static Peer]) -> Result<(), PeersError> {
        let settings = self.missing(cell, peers);
        let alone: Vec<&str> =
            self.alone(cell).into_iter().filter(|name| self.is_missing(cell, name)).collect();
        if settings.is_empty() && alone.is_empty() {
            eprintln!("peers: {cell}: all there");
            return Ok(());
        }
        let with = peers.iter().find(|peer| self.is_set_up(peer));
        let with = with.ok_or_else(|| PeersError::NoReference { cell: cell.to_string() })?;
        let workplace = Workplace::create()?;
        let reference = Reference::compute(&self.place, with.name, cell.model)?;
        let floor = launch::floor(&self.place, &workplace, cell)?;
        let ours = launch::ours(&self.place, &workplace, cell)?;
        reference.check(&ours, &question(cell, ours.dialect))?;
        let stage = Stage {
            cell,
            workplace: &workplace,
            reference: &reference,
            floor: Asked::new(&floor, &question(cell, floor.dialect))?,
            ours: Asked::new(&ours, &question(cell, ours.dialect))?,
        };
        for name in alone {
            let record = if name == CROWD { self.crowd(&stage) } else { self.hyper(&stage) };
            self.keep(cell, &record?)?;
        }
        for (peer, setting) in settings {
            match self.against(&stage, peer, setting) {
                Ok(record) => self.keep(cell, &record)?,
                Err(error) => self.skip(&format!("{} on {cell}", setting.name), &error.to_string()),
            }
        }
        Ok(())
    }

    fn keep(&self, cell: Cell, record: &Record) -> Result<(), PeersError> {
        let rps = |of: fn(&super::record::Pair) -> f64| {
            over(&record.saturated, of).map_or(0.0, |it| it.median)
        };
        let (ours, theirs) = (
            rps(|pair| pair.ours.requests_per_second),
            rps(|pair| pair.theirs.requests_per_second),
        );
        eprintln!("peers: {cell}: {} {theirs:.0}/s, ours {ours:.0}/s", record.against);
        self.store.keep(cell, record)
    }

    fn skip(&mut self, what: &str, why: &str) {
        eprintln!("peers: {what} is left out: {why}");
        let why = why.lines().last().unwrap_or("no reason given");
        self.skipped.push((what.to_owned(), why.to_owned()));
    }

    // ---- what is to do ----

    fn is_set_up(&self, peer: &Peer) -> bool {
        let failed = self.skipped.iter().any(|(what, _)| what == peer.name);
        !failed && self.place.python(peer.name).is_file()
    }

    fn is_missing(&self, cell: Cell, against: &str) -> bool {
        self.fresh || self.store.found(cell, against, &self.wanted).is_none()
    }

    fn missing(
        &mut self,
        cell: Cell,
        peers: &[&'static Peer],
    ) -> Vec<(&'static Peer, &'static Setting)> {
        let mut found = Vec::new();
        for &peer in peers {
            if self.is_set_up(peer) {
                found.extend(of_peer(peer.name, cell.form).map(|setting| (peer, setting)));
            } else if !self.skipped.iter().any(|(what, _)| what == peer.name) {
                self.skip(peer.name, "its environment is not there");
            }
        }
        found.retain(|(_, setting)| self.is_missing(cell, setting.name));
        found
    }

    /// What is measured without a peer's server. The right answers need a peer's Python all the same.
    fn alone(&self, cell: Cell) -> Vec<&'static str> {
        if cell.is_first() { vec![HYPER, CROWD] } else { vec![HYPER] }
    }

    // ---- doing it ----

    fn hyper(&self, stage: &Stage<'_>) -> Result<Record, PeersError> {
        let record = self.compared(stage, HYPER, &stage.floor)?;
        Ok(self.finished(record, stage, stage.floor.server))
    }

    fn crowd(&self, stage: &Stage<'_>) -> Result<Record, PeersError> {
        let saturated = load::crowd(&self.setup, &stage.ours)?;
        let record = Record { saturated, ..self.blank(stage.cell, CROWD) };
        Ok(self.finished(record, stage, stage.ours.server))
    }

    fn against(
        &self,
        stage: &Stage<'_>,
        peer: &Peer,
        setting: &Setting,
    ) -> Result<Record, PeersError> {
        let server = launch::peer(&self.place, stage.workplace, peer, setting, stage.cell)?;
        let question = question(stage.cell, server.dialect);
        stage.reference.check(&server, &question)?;
        let theirs = Asked::new(&server, &question)?;
        let mut record = self.compared(stage, setting.name, &theirs)?;
        if stage.cell.is_first() && setting.is_batching() {
            let rate = over(&record.saturated, |pair| pair.theirs.requests_per_second);
            let half = rate.map_or(0.0, |rate| rate.median / 2.0);
            record.open = load::open(&self.setup, half, &stage.ours, &theirs)?;
        }
        stage.reference.check(&server, &question)?;
        record.made.versions = versions(&self.place, peer);
        Ok(self.finished(record, stage, &server))
    }

    fn compared(
        &self,
        stage: &Stage<'_>,
        against: &str,
        theirs: &Asked<'_>,
    ) -> Result<Record, PeersError> {
        let saturated = load::closed(&self.setup, CONNECTIONS, &stage.ours, theirs)?;
        let single = load::closed(&self.setup, 1, &stage.ours, theirs)?;
        Ok(Record { saturated, single, ..self.blank(stage.cell, against) })
    }

    fn blank(&self, cell: Cell, against: &str) -> Record {
        Record {
            cell: cell.to_string(),
            against: against.to_owned(),
            made: self.wanted.clone(),
            saturated: Vec::new(),
            single: Vec::new(),
            open: None,
            pss_mib: [0.0; 2],
        }
    }

    /// Memory is read last, when all has been touched that will be.
    fn finished(&self, record: Record, stage: &Stage<'_>, theirs: &Server) -> Record {
        Record { pss_mib: [stage.ours.server.pss_mib(), theirs.pss_mib()], ..record }
    }
}

fn question(cell: Cell, dialect: Dialect) -> Question<'static> {
    Question { dialect, encoding: cell.form.encoding(), model: cell.model }
}

/// Of the peer's packages, as its own Python tells them; none where it doesn't.
fn versions(place: &Place, peer: &Peer) -> BTreeMap<String, String> {
    const PROGRAM: &str = "import sys, importlib.metadata as m\n\
        print('\\n'.join(f'{p} {m.version(p)}' for p in sys.argv[1:]))\n\
        print('python', sys.version.split()[0])";
    let mut command = python(&place.python(peer.name), &place.shared());
    let told = command.args(["-c", PROGRAM]).args(peer.packages).output();
    let told =
        told.map_or_else(|_| String::new(), |it| String::from_utf8_lossy(&it.stdout).into_owned());
    let pairs = told.lines().filter_map(|line| line.split_once(' '));
    pairs.map(|(name, version)| (name.to_owned(), version.to_owned())).collect()
}

/// The processor, how many of them, and the kernel.
pub(super) fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models = cpus.lines().filter_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let names: Vec<&str> = models.map(|(_, name)| name).collect();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let name = names.first().copied().unwrap_or("unknown processor");
    format!("{} × {name}, Linux {}", names.len(), kernel.trim())
}
