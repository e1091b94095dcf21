//! The files a run leaves: the whole outcome, its tables, its histograms and the report.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, LineWriter};
use std::path::{Path, PathBuf};

use super::hdr::{Sink, hgrm};
use super::html;
use crate::measured::Measured;
use crate::outcome::{Distribution, Moment, Outcome};

/// What `--out` writes, and what each file is.
const IN_FOLDER: [&str; 6] = [
    "outcome.json",
    "report.html",
    "timeline.csv",
    "percentiles.csv",
    "spans.hlog",
    "latency.hgrm",
];

#[derive(Clone, Debug, Default, clap::Args)]
pub struct FileArgs {
    /// Writes all files of the run into this folder: JSON, HTML, CSV, .hlog and .hgrm
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Writes one file; its end says which: .json, .html, .hlog, .hgrm, percentiles.csv, or .csv for the timeline
    #[arg(long, value_name = "FILE")]
    pub save: Vec<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("'{0}' says not what to write; let it end in .json, .html, .csv, .hlog or .hgrm")]
    Kind(PathBuf),
    #[error("'{path}' can't be written: {source}")]
    Io { path: PathBuf, source: io::Error },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Json,
    Html,
    Timeline,
    Percentiles,
    IntervalLog,
    Percentile,
}

/// All of them could be opened before the run began: an hour's figures aren't lost to a wrong path.
#[derive(Debug)]
pub struct Files {
    wanted: Vec<(Kind, PathBuf)>,
}

impl Files {
    /// Makes the folders and leaves what a file held until there is something new.
    pub fn of(args: &FileArgs) -> Result<Files, FileError> {
        let in_folder = args.out.iter().flat_map(|folder| IN_FOLDER.map(|name| folder.join(name)));
        let paths = in_folder.chain(args.save.iter().cloned());
        let wanted = paths.map(|path| Ok((kind_of(&path)?, path)));
        let wanted = wanted.collect::<Result<Vec<_>, FileError>>()?;
        for (_, path) in &wanted {
            open(path).map_err(|source| failed(path, source))?;
        }
        Ok(Files { wanted })
    }

    /// To be begun before the run, which is then written down while it goes on.
    pub fn interval_log(&self) -> Result<Option<Sink<LineWriter<File>>>, FileError> {
        self.log_path()
            .map(|path| {
                let file = File::create(path).map_err(|source| failed(path, source))?;
                // What a killed run wrote can be read up to its last line.
                Ok(Sink::new(LineWriter::new(file)))
            })
            .transpose()
    }

    /// All the others. Comes back with every path, the log's too.
    pub fn write(&self, outcome: &Outcome, whole: &Measured) -> Result<Vec<&Path>, FileError> {
        for (kind, path) in &self.wanted {
            let written = match text_of(*kind, outcome, whole) {
                Some(text) => fs::write(path, text),
                None => self.copy_log(path),
            };
            written.map_err(|source| failed(path, source))?;
        }
        Ok(self.wanted.iter().map(|(_, path)| path.as_path()).collect())
    }

    fn log_path(&self) -> Option<&Path> {
        let log = self.wanted.iter().find(|(kind, _)| *kind == Kind::IntervalLog);
        log.map(|(_, path)| path.as_path())
    }

    /// Of several logs the first was written during the run.
    fn copy_log(&self, to: &Path) -> io::Result<()> {
        match self.log_path() {
            Some(first) if first != to => fs::copy(first, to).map(|_bytes| ()),
            _ => Ok(()),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().append(true).create(true).open(path)
}

/// One text into one file.
pub fn save(path: &Path, text: &str) -> Result<(), FileError> {
    fs::write(path, text).map_err(|source| failed(path, source))
}

fn failed(path: &Path, source: io::Error) -> FileError {
    FileError::Io { path: path.to_owned(), source }
}

fn kind_of(path: &Path) -> Result<Kind, FileError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let end = name.rsplit_once('.').map(|(_, end)| end).unwrap_or_default();
    match end {
        "json" => Ok(Kind::Json),
        "html" => Ok(Kind::Html),
        "csv" if name.ends_with("percentiles.csv") => Ok(Kind::Percentiles),
        "csv" => Ok(Kind::Timeline),
        "hlog" => Ok(Kind::IntervalLog),
        "hgrm" => Ok(Kind::Percentile),
        _ => Err(FileError::Kind(path.to_owned())),
    }
}

/// None: written already.
fn text_of(kind: Kind, outcome: &Outcome, whole: &Measured) -> Option<String> {
    match kind {
        Kind::Json => Some(json(outcome)),
        Kind::Html => Some(html::render(outcome)),
        Kind::Timeline => Some(timeline(&outcome.timeline)),
        Kind::Percentiles => Some(percentiles(outcome)),
        Kind::IntervalLog => None,
        Kind::Percentile => Some(hgrm(&whole.latency)),
    }
}

/// The whole outcome.
pub fn json(outcome: &Outcome) -> String {
    let text = serde_json::to_string_pretty(outcome);
    text.expect("an outcome has only text keys") + "\n"
}

/// One line a stretch; empty where there is nothing to say.
pub fn timeline(moments: &[Moment]) -> String {
    let mut out = String::from(
        "at_s,due_per_second,answered_per_second,failures,p50_us,p99_us,max_us,send_lag_p99_us\n",
    );
    for moment in moments {
        let us = [moment.p50_us, moment.p99_us, moment.max_us, moment.send_lag_p99_us].map(figure);
        let _always_ok = writeln!(
            out,
            "{:.3},{:.3},{:.3},{},{}",
            moment.at_s,
            moment.due_per_second,
            moment.answered_per_second,
            moment.failures,
            us.join(",")
        );
    }
    out
}

/// One line for each point of each curve.
pub fn percentiles(outcome: &Outcome) -> String {
    let mut curves: Vec<(&str, &Distribution)> = vec![
        ("latency", &outcome.latency),
        ("service", &outcome.service),
        ("send_lag", &outcome.send_lag),
        ("read_lag", &outcome.read_lag),
        ("blocked", &outcome.blocked),
    ];
    if let Some(stages) = &outcome.stages {
        curves.extend([
            ("network", &stages.network),
            ("queue", &stages.queue),
            ("lane", &stages.lane),
            ("model", &stages.model),
        ]);
    }
    let mut out = String::from("of,share,us\n");
    for (name, curve) in curves {
        for (share, us) in &curve.percentiles {
            let _always_ok = writeln!(out, "{name},{share},{us}");
        }
    }
    out
}

fn figure(us: Option<f64>) -> String {
    us.map_or_else(String::new, |us| us.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::examples::{good, stretches, unanswered};

    #[test]
    fn a_folder_gets_every_kind_once() {
        let kinds: Vec<Kind> =
            IN_FOLDER.iter().map(|name| kind_of(Path::new(name)).expect("a kind")).collect();
        for kind in [
            Kind::Json,
            Kind::Html,
            Kind::Timeline,
            Kind::Percentiles,
            Kind::IntervalLog,
            Kind::Percentile,
        ] {
            assert_eq!(kinds.iter().filter(|found| **found == kind).count(), 1, "{kind:?}");
        }
    }

    #[test]
    fn a_name_that_says_nothing_is_refused_before_the_run() {
        for name in ["report", "report.pdf", "json", ""] {
            let args = FileArgs { out: None, save: vec![PathBuf::from(name)] };
            assert!(matches!(Files::of(&args), Err(FileError::Kind(_))), "{name}");
        }
    }

    /// Ours, and gone afterwards.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let name = format!("foil-bench-{name}-{}", std::process::id());
            Folder(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _gone = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn all_files_are_written_and_the_json_is_whole() {
        let folder = Folder::new("all");
        let second = folder.0.join("more/second.hlog");
        let args = FileArgs { out: Some(folder.0.clone()), save: vec![second.clone()] };
        let files = Files::of(&args).expect("a folder");
        let (outcome, stretch) = (good(), &stretches(1)[0]);
        let mut sink = files.interval_log().expect("a file").expect("is wanted");
        sink.begin("load", 0).expect("a head").end().expect("no error");
        let written = files.write(&outcome, stretch).expect("written");
        assert_eq!(written.len(), IN_FOLDER.len() + 1);
        for path in written {
            assert!(fs::metadata(path).expect("is there").len() > 0, "{path:?}");
        }
        let read = |path: &Path| fs::read_to_string(path).expect("text");
        assert_eq!(read(&second), read(&folder.0.join("spans.hlog")));
        let json: serde_json::Value =
            serde_json::from_str(&read(&folder.0.join("outcome.json"))).expect("JSON");
        assert_eq!(json["latency"]["samples"], 20_000);
        assert_eq!(json["timeline"].as_array().map(Vec::len), Some(outcome.timeline.len()));
    }

    #[test]
    fn a_path_that_can_not_be_written_is_refused_before_the_run_and_nothing_is_lost() {
        let folder = Folder::new("refused");
        let kept = folder.0.join("kept.json");
        fs::create_dir_all(&folder.0).expect("a folder");
        fs::write(&kept, "an older run").expect("a file");
        let impossible = kept.join("below-a-file.json");
        let args = FileArgs { out: None, save: vec![kept.clone(), impossible] };
        assert!(matches!(Files::of(&args), Err(FileError::Io { .. })));
        assert_eq!(fs::read_to_string(&kept).expect("text"), "an older run");
    }

    #[test]
    fn tables_have_as_many_cells_as_columns() {
        for outcome in [good(), unanswered()] {
            for text in [timeline(&outcome.timeline), percentiles(&outcome)] {
                let columns = |line: &str| line.split(',').count();
                let header = columns(text.lines().next().expect("a header"));
                assert!(text.lines().all(|line| columns(line) == header), "{text}");
            }
        }
        assert!(timeline(&unanswered().timeline).lines().nth(1).expect("a line").ends_with(",,,"));
    }
}
