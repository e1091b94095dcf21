//! `foil-bench pinning`: what cpusets do for one model's p99 while another takes all the CPU that it can get.
//!
//! Two engines serve the same two models: one whose batches take half a millisecond of CPU, and a hog with a replica for
//! each CPU, always at work. One engine pins them, the quiet model to a CPU and the hog to those that neither it nor the
//! front end has; the other leaves them to the kernel. Windows of both take turns, and the order alternates; only one
//! engine is asked at a time. A request's time counts from when it was due. The figure is the median over the pairs of
//! how many times the pinned p99 is the other; a single request that fails ends the measurement. On a machine of two CPUs
//! the front end shares the quiet model's.
//!
//! Two figures say what that one leaves out: what pinning takes from the hog, and how late the clients were by
//! themselves, for they run wherever there is time, and pinning leaves them more of it.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::arrivals::ArrivalError;
use crate::clients::{Clients, Took, percentile_ms};
use crate::compare::{Spread, ratios, spread};
use crate::http::{Answer, HttpError, connect, exchange_on};
use crate::overhead::OverheadError;
use crate::overhead::flags::{Engine, Runs};
use crate::overhead::servers::{Foil, Server, Workplace};
use crate::report::Table;
use crate::threads;

const QUIET: &str = "quiet";
const HOG: &str = "hog";
/// CPU that a batch takes, in microseconds.
const QUIET_BATCH_US: u32 = 500;
const HOG_BATCH_US: u32 = 20_000;
/// Of each client: together a tenth of what the model can do.
const SENDS_PER_S: f64 = 50.0;
/// Containers, caches and latency profiles settle within this.
const WARM_UP: Duration = Duration::from_secs(1);
const ROW: &str = r#"{"inputs":[{"name":"x","shape":[1,1],"datatype":"FP32","data":[1]}]}"#;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// One line of JSON after the table
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub runs: Runs,
    #[command(flatten)]
    pub engine: Engine,
}

#[derive(Debug, thiserror::Error)]
pub enum PinningError {
    #[error("a machine with one CPU has none to pin a model to; use one with two or more")]
    OneCpu,
    #[error("a request failed: {answer}")]
    Failed { answer: String },
    #[error("no window had a request; give it more --seconds")]
    Empty,
    #[error(transparent)]
    Arrivals(#[from] ArrivalError),
    #[error(transparent)]
    Server(#[from] OverheadError),
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// Which CPUs are whose.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cpus {
    front_end: usize,
    quiet: usize,
    hog: Vec<usize>,
}

/// The last CPU is the quiet model's; the front end has the first where there are three, else shares it.
fn share_out(available: &[usize]) -> Option<Cpus> {
    let (&quiet, others) = available.split_last()?;
    match others {
        [] => None,
        [only] => Some(Cpus { front_end: quiet, quiet, hog: vec![*only] }),
        [first, hog @ ..] => Some(Cpus { front_end: *first, quiet, hog: hog.to_vec() }),
    }
}

pub fn run(args: &Args) -> Result<(), PinningError> {
    let setup = args.runs.setup(None)?;
    let available = threads::allowed();
    let cpus = share_out(&available).ok_or(PinningError::OneCpu)?;
    let workplace = Workplace::create()?;
    let start = |pinned| Bed::start(args, &workplace, &cpus, available.len(), pinned);
    let (pinned, loose) = (start(true)?, start(false)?);
    pinned.window(WARM_UP, 0)?;
    loose.window(WARM_UP, 1)?;
    let mut pairs = Vec::with_capacity(setup.pairs);
    for number in 1..=setup.pairs as u64 {
        let with = || pinned.window(setup.measure, 2 * number);
        let without = || loose.window(setup.measure, 2 * number + 1);
        pairs.push(if number.is_multiple_of(2) {
            (with()?, without()?)
        } else {
            let without = without()?;
            (with()?, without)
        });
    }
    report(args, &cpus, &pairs).ok_or(PinningError::Empty)
}

fn report(args: &Args, cpus: &Cpus, pairs: &[(Window, Window)]) -> Option<()> {
    let of = |figure: fn(&Window) -> f64| {
        let (with, without): (Vec<_>, Vec<_>) =
            pairs.iter().map(|(a, b)| (figure(a), figure(b))).unzip();
        let both: Vec<_> = with.iter().copied().zip(without.iter().copied()).collect();
        Some((spread(&with)?, spread(&without)?, ratios(&both)?))
    };
    let (p99, p50) = (of(|it| it.p99_ms)?, of(|it| it.p50_ms)?);
    let (client, hog) = (of(|it| it.client_p99_ms)?, of(|it| it.hog_per_s)?);
    let mut table = Table::new(&["", "median", "min", "max"]);
    let row = |name: String, it: &Spread| {
        let cells = [it.median, it.min, it.max].map(|value| format!("{value:.3}"));
        [name].into_iter().chain(cells)
    };
    for (name, (with, without, ratio)) in [
        ("quiet p50, ms,", &p50),
        ("quiet p99, ms,", &p99),
        ("client late by itself, p99, ms,", &client),
        ("hog, answers/s,", &hog),
    ] {
        table.row(row(format!("{name} pinned"), with));
        table.row(row(format!("{name} not pinned"), without));
        table.row(row(format!("{name} pinned / not"), ratio));
    }
    print!("{table}");
    println!(
        "front end on CPU {}, quiet model on {}, hog on {:?}",
        cpus.front_end, cpus.quiet, cpus.hog
    );
    if args.json {
        let figures = json!({
            "pinning_p99_ratio": p99.2.median,
            "p99_pinned_ms": p99.0, "p99_loose_ms": p99.1, "p99_ratio": p99.2,
            "p50_pinned_ms": p50.0, "p50_loose_ms": p50.1, "p50_ratio": p50.2,
            "client_p99_pinned_ms": client.0, "client_p99_loose_ms": client.1,
            "hog_pinned_per_s": hog.0, "hog_loose_per_s": hog.1, "hog_ratio": hog.2,
            "pairs": pairs.len(), "failed": 0,
        });
        println!("{figures}");
    }
    Some(())
}

/// How long the quiet model's requests took, and what the hog did meanwhile.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Window {
    p50_ms: f64,
    p99_ms: f64,
    /// How late its clients were by themselves.
    client_p99_ms: f64,
    hog_per_s: f64,
}

impl Window {
    fn of(mut took: Took, hog_per_s: f64) -> Option<Window> {
        let mut at = |percent| percentile_ms(&mut took.all, percent);
        let (p50_ms, p99_ms) = (at(50)?, at(99)?);
        let client_p99_ms = percentile_ms(&mut took.client, 99)?;
        Some(Window { p50_ms, p99_ms, client_p99_ms, hog_per_s })
    }
}

/// One engine with both models.
struct Bed {
    server: Server,
    hogs: usize,
}

impl Bed {
    fn start(
        args: &Args,
        workplace: &Workplace,
        cpus: &Cpus,
        hogs: usize,
        pinned: bool,
    ) -> Result<Bed, PinningError> {
        let repository = if pinned { "pinned" } else { "loose" };
        let models = [
            (QUIET, QUIET_BATCH_US, 1, vec![cpus.quiet]),
            (HOG, HOG_BATCH_US, hogs, cpus.hog.clone()),
        ];
        for (model, batch_us, replicas, on) in models {
            let file = format!("{repository}/{model}/model.toml");
            workplace.write(&file, &settings(batch_us, replicas, pinned.then_some(on)))?;
            workplace.write(&format!("{repository}/{model}/1/keep"), "")?;
        }
        let (program, cores) = (&args.engine.program()?, &[cpus.front_end]);
        let python = args.engine.python.as_deref();
        let foil = Foil { program, python, core: None, cores, target: repository };
        Ok(Bed { server: Server::serving(workplace, &foil)?, hogs })
    }

    /// The hog is at work all the while.
    fn window(&self, span: Duration, seed: u64) -> Result<Window, PinningError> {
        let done = AtomicBool::new(false);
        let (took, answers) = std::thread::scope(|scope| {
            let hogs: Vec<_> =
                (0..self.hogs).map(|_| scope.spawn(|| self.keep_busy(&done))).collect();
            let took = self.ask(span, seed);
            done.store(true, Ordering::Relaxed);
            let hogs = hogs
                .into_iter()
                .map(|hog| hog.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            let answers: Result<u64, PinningError> = hogs.sum();
            Ok::<_, PinningError>((took?, answers?))
        })?;
        Window::of(took, answers as f64 / span.as_secs_f64()).ok_or(PinningError::Empty)
    }

    /// Returns how often the hog answered.
    fn keep_busy(&self, done: &AtomicBool) -> Result<u64, PinningError> {
        let request = request(HOG, self.server.address);
        let (mut connection, mut answers) = (connect(self.server.address)?, 0);
        while !done.load(Ordering::Relaxed) {
            right(&exchange_on(&mut connection, &request)?)?;
            answers += 1;
        }
        Ok(answers)
    }

    fn ask(&self, span: Duration, seed: u64) -> Result<Took, PinningError> {
        let (address, request) = (self.server.address, &request(QUIET, self.server.address));
        Clients { address, request, sends_per_s: SENDS_PER_S }.ask(span, seed, right)
    }
}

fn settings(batch_us: u32, replicas: usize, cpus: Option<Vec<usize>>) -> String {
    let mut text = format!(
        "runtime = \"native\"\nkind = \"timed\"\nmax_batch = 1\nslo = \"1s\"\nreplicas = {replicas}\n"
    );
    if let Some(cpus) = cpus {
        writeln!(text, "cpus = {cpus:?}").expect("a string grows");
    }
    let env = "TIMED_PER_ROW_US = \"0\"\nTIMED_MODE = \"compute\"\n";
    writeln!(text, "[env]\nTIMED_FIXED_US = \"{batch_us}\"\n{env}").expect("a string grows");
    text
}

fn request(model: &str, host: SocketAddr) -> Vec<u8> {
    let length = ROW.len();
    let head = format!(
        "POST /v2/models/{model}/infer HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{ROW}"
    );
    head.into_bytes()
}

/// Both models answer with what they are asked.
fn right(answer: &Answer) -> Result<(), PinningError> {
    let body = String::from_utf8_lossy(&answer.body);
    if answer.status == 200 && body.contains("\"data\":[1.0]") {
        return Ok(());
    }
    Err(PinningError::Failed { answer: format!("{} {body}", answer.status) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quiet_model_has_a_cpu_that_no_hog_has() {
        let of =
            |front_end, quiet, hog: &[usize]| Some(Cpus { front_end, quiet, hog: hog.to_vec() });
        assert_eq!(share_out(&[0]), None);
        assert_eq!(share_out(&[0, 1]), of(1, 1, &[0]));
        assert_eq!(share_out(&[0, 2, 4, 6]), of(0, 6, &[2, 4]));
    }

    #[test]
    fn a_window_is_the_middle_and_what_one_in_a_hundred_exceeds() {
        let all = (1..=1000).rev().map(|ms| ms * 1_000_000).collect();
        let took = Took { all, client: vec![2_000_000; 1000] };
        let window = Window { p50_ms: 501.0, p99_ms: 991.0, client_p99_ms: 2.0, hog_per_s: 9.0 };
        assert_eq!(Window::of(took, 9.0), Some(window));
        assert_eq!(Window::of(Took::default(), 9.0), None);
    }

    #[test]
    fn only_pinned_models_name_cpus() {
        assert!(settings(500, 1, Some(vec![1, 2])).contains("cpus = [1, 2]\n[env]\n"));
        assert!(!settings(500, 1, None).contains("cpus"));
    }
}
