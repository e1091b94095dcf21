//! `foil-bench reload`: what a model that is loaded anew costs its neighbours.
//!
//! One engine serves two models. One is asked in open loop, at a rate far below what it can do; a request's time counts
//! from when it was due. In half of the windows the other model is changed and loaded anew once a second: a process
//! starts, is warmed up, takes the old one's place, and the old one ends. Windows with and without take turns, and the
//! order alternates. The figure is the median over the pairs of how much the neighbour's p99 differs; a single request
//! that fails ends the measurement.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::arrivals::ArrivalError;
use crate::clients::{Clients, percentile_ms};
use crate::clock::{Clock, nanos, pause};
use crate::compare::{Spread, differences, spread};
use crate::http::{Answer, HttpError, exchange};
use crate::overhead::OverheadError;
use crate::overhead::ask::{Dialect, Question};
use crate::overhead::flags::{Engine, Runs};
use crate::overhead::servers::{NOOP, Server, Workplace, free_address};
use crate::payload::Encoding;
use crate::report::Table;

const NEIGHBOUR: &str = "neighbour";
const CHANGING: &str = "changing";
const REPOSITORY: &str = "repository";
/// Of the row that everybody asks for.
const SEED: u64 = 0;
/// Of each client: together a tenth of what a core answers, so that a queue says something.
const SENDS_PER_S: f64 = 100.0;
/// From the start of one load to that of the next, if it is over by then.
const RELOAD_EVERY: Duration = Duration::from_secs(1);
/// Containers, caches and latency profiles settle within this.
const WARM_UP: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// One line of JSON after the table
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub runs: Runs,
    #[command(flatten)]
    pub engine: Engine,
    /// The front end's cores
    #[arg(long, value_delimiter = ',', num_args = 1, default_values_t = [0])]
    pub cores: Vec<usize>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("the neighbour failed a request: {answer}")]
    Failed { answer: String },
    #[error("the model was not loaded anew: {answer}")]
    NotLoaded { answer: String },
    #[error("no window had a request; give it more --seconds")]
    Empty,
    #[error(transparent)]
    Arrivals(#[from] ArrivalError),
    #[error(transparent)]
    Server(#[from] OverheadError),
    #[error(transparent)]
    Http(#[from] HttpError),
}

pub fn run(args: &Args) -> Result<(), ReloadError> {
    let setup = args.runs.setup(None)?;
    let workplace = Workplace::create()?;
    let bed = Bed::start(args, &workplace)?;
    bed.ask(WARM_UP, 0)?;
    bed.reload(0)?;
    let mut pairs = Vec::with_capacity(setup.pairs);
    let mut loads = 0;
    for number in 1..=setup.pairs as u64 {
        let quiet = || bed.ask(setup.measure, 2 * number);
        let loud = || bed.ask_while_loading(setup.measure, 2 * number + 1);
        let (without, (with, count)) = if number.is_multiple_of(2) {
            (quiet()?, loud()?)
        } else {
            let loud = loud()?;
            (quiet()?, loud)
        };
        loads += count;
        pairs.push((p99_ms(with)?, p99_ms(without)?));
    }
    report(args, &pairs, loads).ok_or(ReloadError::Empty)
}

fn report(args: &Args, pairs: &[(f64, f64)], loads: u64) -> Option<()> {
    let of = |side: fn(&(f64, f64)) -> f64| spread(&pairs.iter().map(side).collect::<Vec<_>>());
    let (with, without, added) = (of(|it| it.0)?, of(|it| it.1)?, differences(pairs)?);
    let mut table = Table::new(&["neighbour's p99, ms", "median", "min", "max"]);
    let row = |name: &str, it: &Spread| {
        let cells = [it.median, it.min, it.max].map(|value| format!("{value:.3}"));
        [name.to_owned()].into_iter().chain(cells)
    };
    table.row(row("with loads", &with));
    table.row(row("without", &without));
    table.row(row("added", &added));
    print!("{table}");
    println!("{loads} loads in {} pairs; no request failed", pairs.len());
    if args.json {
        let figures = json!({
            "reload_neighbour_p99_added_ms": added.median,
            "reload_neighbour_p99_added": added,
            "neighbour_p99_with_ms": with,
            "neighbour_p99_without_ms": without,
            "pairs": pairs.len(),
            "loads": loads,
            "failed": 0,
        });
        println!("{figures}");
    }
    Some(())
}

fn p99_ms(mut times: Vec<u64>) -> Result<f64, ReloadError> {
    percentile_ms(&mut times, 99).ok_or(ReloadError::Empty)
}

/// The engine, its models, and who asks them.
struct Bed<'w> {
    workplace: &'w Workplace,
    server: Server,
    admin: SocketAddr,
    question: Question<'static>,
    request: Vec<u8>,
}

impl<'w> Bed<'w> {
    fn start(args: &Args, workplace: &'w Workplace) -> Result<Bed<'w>, ReloadError> {
        for model in [NEIGHBOUR, CHANGING] {
            workplace.write(&model_file(model), NOOP)?;
        }
        let [http, grpc, metrics, admin] = [(); 4].map(|()| free_address("foil"));
        let (http, admin) = (http?, admin?);
        let cores = args.cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let mut command = Command::new(args.engine.program()?);
        command.arg("serve").arg(workplace.file(REPOSITORY)).args(["--cores", &cores]);
        command.args(["--http", &http.to_string(), "--admin", &admin.to_string()]);
        command.args(["--grpc", &grpc?.to_string(), "--metrics", &metrics?.to_string()]);
        // A measurement starts from nothing that an earlier one left.
        command.env("FOIL_STATE", "none");
        if let Some(python) = &args.engine.python {
            command.env("FOIL_PYTHON", python);
        }
        let server = Server::start(workplace, "foil", Dialect::Oip, http, None, command)?;
        let server = server.ready("/v2/health/ready")?;
        let (dialect, encoding) = (Dialect::Oip, Encoding::Binary);
        let question = Question { dialect, encoding, model: NEIGHBOUR };
        let request = question.request(http, SEED);
        Ok(Bed { workplace, server, admin, question, request })
    }

    /// How long each of the neighbour's requests took from when it was due.
    fn ask(&self, span: Duration, seed: u64) -> Result<Vec<u64>, ReloadError> {
        let (address, request) = (self.server.address, &self.request);
        let clients = Clients { address, request, sends_per_s: SENDS_PER_S };
        Ok(clients.ask(span, seed, |answer| self.right(answer))?.all)
    }

    fn right(&self, answer: &Answer) -> Result<(), ReloadError> {
        if answer.status == 200 && self.server.is_right(&self.question, SEED, &answer.body) {
            return Ok(());
        }
        let body = String::from_utf8_lossy(&answer.body);
        Err(ReloadError::Failed { answer: format!("{} {body}", answer.status) })
    }

    /// The same, and how often the other model was loaded meanwhile.
    fn ask_while_loading(&self, span: Duration, seed: u64) -> Result<(Vec<u64>, u64), ReloadError> {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let loader = scope.spawn(|| self.keep_loading(&done, seed));
            let times = self.ask(span, seed);
            done.store(true, Ordering::Relaxed);
            let loads = loader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok((times?, loads?))
        })
    }

    fn keep_loading(&self, done: &AtomicBool, seed: u64) -> Result<u64, ReloadError> {
        let mut loads = 0;
        while !done.load(Ordering::Relaxed) {
            let clock = Clock::start();
            self.reload(seed << 16 | loads)?;
            loads += 1;
            let rest = nanos(RELOAD_EVERY).saturating_sub(clock.now_ns());
            pause(Duration::from_nanos(rest));
        }
        Ok(loads)
    }

    /// `mark`: makes the file another than it was.
    fn reload(&self, mark: u64) -> Result<(), ReloadError> {
        self.workplace.write(&model_file(CHANGING), &format!("{NOOP}\n# {mark}\n"))?;
        let admin = self.admin;
        let path = format!("/v2/repository/models/{CHANGING}/load");
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: {admin}\r\nContent-Length: 2\r\n\r\n{{}}");
        let answer = exchange(admin, head.as_bytes())?;
        if answer.status == 200 {
            return Ok(());
        }
        let body = String::from_utf8_lossy(&answer.body);
        Err(ReloadError::NotLoaded { answer: format!("{} {body}", answer.status) })
    }
}

fn model_file(model: &str) -> String {
    format!("{REPOSITORY}/{model}/1/model.py")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_p99_is_what_one_in_a_hundred_exceeds() {
        let times = (1..=1000).rev().map(|ms| ms * 1_000_000).collect();
        assert!((p99_ms(times).expect("there are times") - 991.0).abs() < 1e-9);
        assert!((p99_ms(vec![5_000_000]).expect("there is one") - 5.0).abs() < 1e-9);
        assert!(matches!(p99_ms(Vec::new()), Err(ReloadError::Empty)));
    }
}
