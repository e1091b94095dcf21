//! One peer in one setting on one cell: what was measured, and the file that keeps it, so that a run that was broken off
//! goes on where it ended.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::PeersError;
use super::cell::Cell;
use crate::compare::{Spread, spread};

/// Files of another one are measured anew.
const FORMAT: u32 = 2;

/// Bare hyper, by which the CPU time above it is told.
pub(super) const HYPER: &str = "hyper";
/// Ours with many connections, against ours with the usual ones.
pub(super) const CROWD: &str = "crowd";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Sample {
    pub(super) requests_per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: Option<f64>,
    /// Run time of the server's whole tree.
    pub(super) cpu_us: f64,
    pub(super) client_share: f64,
    pub(super) failures: Failures,
}

/// By kind, as the driver names them; only kinds that there were.
pub(super) type Failures = BTreeMap<String, u64>;

/// Runs that shared the moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Pair {
    pub(super) ours: Sample,
    pub(super) theirs: Sample,
}

/// Equal rates for both, latency from the due time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Open {
    pub(super) rate: f64,
    pub(super) pairs: Vec<Pair>,
}

/// By what and on what it was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Made {
    pub(super) format: u32,
    pub(super) pairs: usize,
    pub(super) seconds: f64,
    pub(super) machine: String,
    pub(super) revision: String,
    pub(super) versions: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) cell: String,
    /// A setting's name, or one of the two above.
    pub(super) against: String,
    pub(super) made: Made,
    pub(super) saturated: Vec<Pair>,
    pub(super) single: Vec<Pair>,
    pub(super) open: Option<Open>,
    /// Ours and theirs.
    pub(super) pss_mib: [f64; 2],
}

impl Made {
    pub(super) fn new(pairs: usize, seconds: f64, machine: &str, revision: &str) -> Made {
        let (machine, revision) = (machine.to_owned(), revision.to_owned());
        Made { format: FORMAT, pairs, seconds, machine, revision, versions: BTreeMap::new() }
    }

    /// Whether what was measured is as good as what is wanted. Another revision's results stay: they say so.
    fn satisfies(&self, wanted: &Made) -> bool {
        self.format == FORMAT
            && self.machine == wanted.machine
            && self.pairs >= wanted.pairs
            && self.seconds >= wanted.seconds
    }
}

impl Record {
    /// Of ours and of theirs.
    pub(super) fn failures(&self) -> [Failures; 2] {
        let of = |take: fn(&Pair) -> &Sample| {
            let mut sum = Failures::new();
            for (kind, count) in self.all_pairs().flat_map(|pair| &take(pair).failures) {
                *sum.entry(kind.clone()).or_default() += count;
            }
            sum
        };
        [of(|pair| &pair.ours), of(|pair| &pair.theirs)]
    }

    /// Pairs during which the client lost its core to others.
    pub(super) fn disturbed(&self, share_min: f64) -> usize {
        let shares =
            self.all_pairs().map(|pair| pair.ours.client_share.min(pair.theirs.client_share));
        shares.filter(|share| *share < share_min).count()
    }

    fn all_pairs(&self) -> impl Iterator<Item = &Pair> {
        let open = self.open.iter().flat_map(|open| &open.pairs);
        self.saturated.iter().chain(&self.single).chain(open)
    }
}

/// The spread of a figure over pairs.
pub(super) fn over(pairs: &[Pair], figure: impl Fn(&Pair) -> f64) -> Option<Spread> {
    spread(&pairs.iter().map(figure).collect::<Vec<_>>())
}

/// A folder of results: `<cell>/<setting>.json`.
pub(super) struct Store(PathBuf);

impl Store {
    pub(super) fn at(folder: &Path) -> Store {
        Store(folder.to_owned())
    }

    /// What is there and as good as wanted.
    pub(super) fn found(&self, cell: Cell, against: &str, wanted: &Made) -> Option<Record> {
        let text = fs::read_to_string(self.file(cell, against)).ok()?;
        let record: Record = serde_json::from_str(&text).ok()?;
        record.made.satisfies(wanted).then_some(record)
    }

    /// Whole or not at all: a run may end at any moment.
    pub(super) fn keep(&self, cell: Cell, record: &Record) -> Result<(), PeersError> {
        let path = self.file(cell, &record.against);
        write_whole(&path, record).map_err(|source| PeersError::Write { path, source })
    }

    fn file(&self, cell: Cell, against: &str) -> PathBuf {
        self.0.join(cell.key()).join(format!("{against}.json"))
    }
}

fn write_whole(file: &Path, record: &Record) -> io::Result<()> {
    file.parent().map_or(Ok(()), fs::create_dir_all)?;
    let unfinished = file.with_extension("part");
    fs::write(&unfinished, serde_json::to_string_pretty(record)?)?;
    fs::rename(&unfinished, file)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::peers) fn sample(requests_per_second: f64, p50_us: f64, cpu_us: f64) -> Sample {
        let p99_us = Some(2.0 * p50_us);
        Sample {
            requests_per_second,
            p50_us,
            p99_us,
            cpu_us,
            client_share: 1.0,
            failures: Failures::new(),
        }
    }

    /// Ours serve 70,000 a second at 80 µs; the other is so many times slower in both.
    pub(in crate::peers) fn record(cell: &str, against: &str, times: f64) -> Record {
        let pair = |slow: f64| Pair {
            ours: sample(70_000.0 / slow, 80.0 * slow, 14.0 * slow),
            theirs: sample(70_000.0 / slow / times, 80.0 * slow * times, 14.0 * slow * times),
        };
        let pairs = vec![pair(1.0), pair(1.7), pair(1.2)];
        Record {
            cell: cell.to_owned(),
            against: against.to_owned(),
            made: Made::new(3, 1.0, "a machine", "abc"),
            saturated: pairs.clone(),
            single: pairs.clone(),
            open: Some(Open { rate: 10_000.0, pairs }),
            pss_mib: [40.0, 120.0],
        }
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("peers-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    #[test]
    fn a_finished_part_is_found_again_and_only_while_it_is_good_enough() {
        let folder = folder("found");
        let (store, cell) = (Store::at(&folder), Cell::from_name("noop/bin").expect("a cell"));
        let done = record("noop/bin", "mosec_1ms", 3.0);
        store.keep(cell, &done).expect("a folder for temporary files");
        let found = |wanted: &Made| store.found(cell, "mosec_1ms", wanted);
        assert_eq!(found(&done.made).as_ref(), Some(&done));
        let other = Made { revision: "def".to_owned(), ..done.made.clone() };
        assert!(found(&other).is_some(), "another revision's result stays");
        assert_eq!(found(&Made { pairs: 7, ..done.made.clone() }), None);
        assert_eq!(found(&Made { seconds: 2.0, ..done.made.clone() }), None);
        assert_eq!(found(&Made { machine: "another".to_owned(), ..done.made.clone() }), None);
        assert_eq!(store.found(cell, "triton_1ms", &done.made), None);
        fs::remove_dir_all(&folder).expect("it was made above");
    }

    #[test]
    fn a_torn_file_is_as_good_as_none() {
        let folder = folder("torn");
        let (store, cell) = (Store::at(&folder), Cell::from_name("mlp/json").expect("a cell"));
        let done = record("mlp/json", "mosec_off", 3.0);
        store.keep(cell, &done).expect("a folder for temporary files");
        let file = folder.join("mlp_json/mosec_off.json");
        let text = fs::read_to_string(&file).expect("just written");
        fs::write(&file, &text[..text.len() / 2]).expect("just written");
        assert_eq!(store.found(cell, "mosec_off", &done.made), None);
        fs::remove_dir_all(&folder).expect("it was made above");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let folder = folder("unwritable");
        fs::write(&folder, "no folder").expect("a folder for temporary files");
        let cell = Cell::from_name("mlp/json").expect("a cell");
        let error = Store::at(&folder).keep(cell, &record("mlp/json", "mosec_off", 3.0));
        let error = error.expect_err("a file has no files in it").to_string();
        assert!(error.contains("mlp_json/mosec_off.json"), "{error}");
        fs::remove_file(&folder).expect("it was made above");
    }

    #[test]
    fn failures_and_disturbances_of_every_run_count() {
        let mut done = record("noop/bin", "mosec_1ms", 3.0);
        let of = |kind: &str, count| Failures::from([(kind.to_owned(), count)]);
        done.single[1].theirs.failures = of("closed", 4);
        done.saturated[0].theirs.failures = of("closed", 3);
        done.saturated[0].ours.failures = of("wrong_body", 1);
        done.open.as_mut().expect("made so").pairs[2].ours.client_share = 0.5;
        assert_eq!(done.failures(), [of("wrong_body", 1), of("closed", 7)]);
        assert_eq!(done.disturbed(0.93), 1);
    }
}
