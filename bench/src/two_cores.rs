//! `foil-bench two-cores`: whether requests cost more CPU where two cores serve two models than where one serves one.
//!
//! All engines stay up, each with a model of the least work on each of its cores; the whole tree of one that has one core
//! is pinned to it. Load goes to one subject at a time, in rounds whose order alternates. Every model is asked at the same
//! rate, in open loop, by one request at a time and by 64 at once. Which core accepts a connection is the kernel's choice,
//! so with two cores about half of the requests change core. What a request costs is the run time of the server's tree,
//! and that of the engine alone, by the requests answered: no latency is measured, so the client may share the machine's
//! cores, and sleeps in between.
//!
//! A machine whose cores are both busy may do less on each of them (shared caches, two threads of one core), whatever
//! the engine does. Two engines that share nothing, each with one core and one model, show how much that is.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::address::Stream;
use crate::arrivals::{ArrivalError, Arrivals, Pattern};
use crate::clock::{Clock, nanos, pause};
use crate::compare::{Spread, ratios, spread};
use crate::http::{HttpError, answer_on, connect, send_on};
use crate::overhead::OverheadError;
use crate::overhead::ask::Question;
use crate::overhead::flags::{Engine, Runs};
use crate::overhead::measure::Setup;
use crate::overhead::servers::{Foil, NOOP, Server, Workplace};
use crate::payload::Encoding;
use crate::proc::cpu_ns;
use crate::report::Table;

const MODELS: [&str; 2] = ["first", "second"];
/// Of each model: enough that the kernel spreads them over both cores.
const CONNECTIONS: usize = 64;
/// Low enough that two models, their containers and the client fit two cores several times.
const LOADS: [Load; 2] =
    [Load { at_once: 1, sends_per_s: 300.0 }, Load { at_once: 64, sends_per_s: 20.0 }];
/// Of the row that everybody asks for.
const SEED: u64 = 0;
/// Containers, caches and latency profiles settle within this.
const WARM_UP: Duration = Duration::from_secs(1);
/// A client this far behind its plan no longer asks at the rate it says.
const BEHIND_MAX: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// One line of JSON after the table
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub runs: Runs,
    #[command(flatten)]
    pub engine: Engine,
    /// The two cores; the engine of one model has the first
    #[arg(long, value_delimiter = ',', num_args = 1, default_values_t = [0, 1])]
    pub cores: Vec<usize>,
}

#[derive(Debug, thiserror::Error)]
pub enum TwoCoresError {
    #[error("give two different --cores")]
    Cores,
    #[error("the model '{model}' answered wrongly: {answer}")]
    WrongAnswer { model: &'static str, answer: String },
    #[error(
        "the client fell behind {sends_per_s} sends a second for each model; is the machine busy?"
    )]
    Behind { sends_per_s: f64 },
    #[error(transparent)]
    Arrivals(#[from] ArrivalError),
    #[error(transparent)]
    Server(#[from] OverheadError),
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// What each model is asked.
#[derive(Clone, Copy, Debug)]
struct Load {
    at_once: usize,
    sends_per_s: f64,
}

pub fn run(args: &Args) -> Result<(), TwoCoresError> {
    let [first, second] = args.cores[..] else { return Err(TwoCoresError::Cores) };
    if first == second {
        return Err(TwoCoresError::Cores);
    }
    let setup = args.runs.setup(None)?;
    let workplace = Workplace::create()?;
    let start = |models, cores: &[usize]| Served::start(&args.engine, &workplace, models, cores);
    let one = Subject(vec![start(&MODELS[..1], &[first])?]);
    let two = Subject(vec![start(&MODELS, &[first, second])?]);
    let apart = Subject(vec![start(&MODELS[..1], &[first])?, start(&MODELS[1..], &[second])?]);
    let found = LOADS.iter().map(|&load| {
        let rounds = rounds(&setup, load, [&one, &two, &apart])?;
        Ok((load, Found::of(&rounds).expect("a setup has one pair or more")))
    });
    let found = found.collect::<Result<Vec<_>, TwoCoresError>>()?;
    print!("{}", table(&found));
    if args.json {
        println!("{}", as_json(&found));
    }
    Ok(())
}

/// In one order and then the other, in turns.
fn rounds(setup: &Setup, load: Load, subjects: [&Subject; 3]) -> Result<Vec<Round>, TwoCoresError> {
    for subject in subjects {
        subject.ask(load, WARM_UP, 0)?;
    }
    let mut rounds = Vec::with_capacity(setup.pairs);
    for number in 1..=setup.pairs {
        let mut round = [Sample::default(); 3];
        let forwards = number.is_multiple_of(2);
        for place in if forwards { [0, 1, 2] } else { [2, 1, 0] } {
            round[place] = subjects[place].sample(load, setup.measure, number as u64)?;
        }
        let [one, two, apart] = round;
        rounds.push(Round { one, two, apart });
    }
    Ok(rounds)
}

// ---- engines, and what they are asked ----

/// An engine and its models.
struct Served {
    server: Server,
    models: &'static [&'static str],
}

impl Served {
    fn start(
        engine: &Engine,
        workplace: &Workplace,
        models: &'static [&'static str],
        cores: &[usize],
    ) -> Result<Served, TwoCoresError> {
        let target = format!("models-{}", models.join("-"));
        for model in models {
            workplace.write(&format!("{target}/{model}/1/model.py"), NOOP)?;
        }
        let (program, python) = (&engine.program()?, engine.python.as_deref());
        // Containers stay where their engine is; on two cores the kernel places them.
        let core = (cores.len() == 1).then(|| cores[0]);
        let foil = Foil { program, python, core, cores, target: &target };
        Ok(Served { server: Server::serving(workplace, &foil)?, models })
    }
}

/// Engines that are asked at once.
struct Subject(Vec<Served>);

impl Subject {
    /// What requests at this rate cost, of which each got its right answer.
    fn sample(&self, load: Load, span: Duration, seed: u64) -> Result<Sample, TwoCoresError> {
        let tree: Vec<u32> = self.0.iter().flat_map(|it| it.server.processes()).collect();
        let engine: Vec<u32> = self.0.iter().map(|it| it.server.engine()).collect();
        let before = [cpu_ns(&tree), cpu_ns(&engine)];
        let answered = self.ask(load, span, seed)?;
        let after = [cpu_ns(&tree), cpu_ns(&engine)];
        let us = |at: usize| (after[at] - before[at]) as f64 / 1e3 / answered as f64;
        Ok(Sample { tree_us: us(0), engine_us: us(1) })
    }

    /// All models at once; returns how many answers came.
    fn ask(&self, load: Load, span: Duration, seed: u64) -> Result<u64, TwoCoresError> {
        let asked = self.0.iter().flat_map(|it| it.models.iter().map(|model| (&it.server, *model)));
        std::thread::scope(|scope| {
            let clients = asked.enumerate().map(|(index, (server, model))| {
                let seed = seed << 1 | index as u64;
                scope.spawn(move || Client::open(server, model)?.ask(load, span, seed))
            });
            let clients: Vec<_> = clients.collect();
            let answered = clients.into_iter().map(|client| {
                client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            answered.sum()
        })
    }
}

struct Client<'a> {
    server: &'a Server,
    question: Question<'static>,
    connections: Vec<Stream>,
    request: Vec<u8>,
}

impl<'a> Client<'a> {
    fn open(server: &'a Server, model: &'static str) -> Result<Client<'a>, TwoCoresError> {
        let connections = (0..CONNECTIONS).map(|_| connect(server.address));
        let connections = connections.collect::<Result<_, _>>()?;
        let question = Question { dialect: server.dialect, encoding: Encoding::Binary, model };
        let request = question.request(server.address, SEED);
        Ok(Client { server, question, connections, request })
    }

    /// As many at once as the load says, the connections in turn.
    fn ask(&mut self, load: Load, span: Duration, seed: u64) -> Result<u64, TwoCoresError> {
        let Load { at_once, sends_per_s } = load;
        let due = Arrivals::of(&Pattern::Poisson, Some(sends_per_s), seed)?;
        let (clock, mut answered) = (Clock::start(), 0);
        for due_ns in due.take_while(|&due_ns| due_ns < nanos(span)) {
            let now_ns = clock.now_ns();
            if now_ns > due_ns + nanos(BEHIND_MAX) {
                return Err(TwoCoresError::Behind { sends_per_s });
            }
            pause(Duration::from_nanos(due_ns.saturating_sub(now_ns)));
            self.connections.rotate_left(at_once % CONNECTIONS);
            self.exchange(at_once)?;
            answered += at_once as u64;
        }
        Ok(answered)
    }

    fn exchange(&mut self, at_once: usize) -> Result<(), TwoCoresError> {
        let Client { server, question, connections, request } = self;
        let connections = &mut connections[..at_once];
        connections.iter_mut().try_for_each(|connection| send_on(connection, request))?;
        for connection in connections {
            let answer = answer_on(connection)?;
            if answer.status != 200 || !server.is_right(question, SEED, &answer.body) {
                let body = String::from_utf8_lossy(&answer.body);
                let answer = format!("{} {body}", answer.status);
                return Err(TwoCoresError::WrongAnswer { model: question.model, answer });
            }
        }
        Ok(())
    }
}

// ---- what was found ----

/// CPU of a request, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    /// Of the engine and its containers.
    tree_us: f64,
    engine_us: f64,
}

/// Runs that shared the moment.
#[derive(Clone, Copy, Debug)]
struct Round {
    one: Sample,
    two: Sample,
    /// Two engines, each with one core and one model.
    apart: Sample,
}

/// CPU of a request, and how the three compare in each round.
struct Spreads {
    one: Spread,
    two: Spread,
    apart: Spread,
    two_by_one: Spread,
    two_by_apart: Spread,
}

impl Spreads {
    fn of(rounds: &[Round], figure: fn(&Sample) -> f64) -> Option<Spreads> {
        let of = |sample: fn(&Round) -> &Sample| -> Vec<f64> {
            rounds.iter().map(|round| figure(sample(round))).collect()
        };
        let (one, two, apart) = (of(|it| &it.one), of(|it| &it.two), of(|it| &it.apart));
        let by = |other: &[f64]| {
            let pairs = two.iter().copied().zip(other.iter().copied());
            ratios(&pairs.collect::<Vec<_>>())
        };
        Some(Spreads {
            two_by_one: by(&one)?,
            two_by_apart: by(&apart)?,
            one: spread(&one)?,
            two: spread(&two)?,
            apart: spread(&apart)?,
        })
    }

    fn rows(&self) -> [(&'static str, Spread); 5] {
        [
            ("us_one_core", self.one),
            ("us_two_cores", self.two),
            ("us_two_engines", self.apart),
            ("two_cores_by_one", self.two_by_one),
            ("two_cores_by_two_engines", self.two_by_apart),
        ]
    }
}

struct Found {
    /// Of the engine and its containers.
    tree: Spreads,
    engine: Spreads,
}

impl Found {
    fn of(rounds: &[Round]) -> Option<Found> {
        let tree = Spreads::of(rounds, |it| it.tree_us)?;
        Some(Found { tree, engine: Spreads::of(rounds, |it| it.engine_us)? })
    }

    fn sides(&self) -> [(&'static str, &Spreads); 2] {
        [("tree", &self.tree), ("engine", &self.engine)]
    }
}

fn table(all: &[(Load, Found)]) -> Table {
    let mut table = Table::new(&["CPU of a request", "median", "min", "max"]);
    for (Load { at_once, .. }, found) in all {
        for (side, spreads) in found.sides() {
            for (row, found) in spreads.rows() {
                let cells = [found.median, found.min, found.max].map(|value| format!("{value:.2}"));
                table.row([format!("c{at_once} {side} {row}")].into_iter().chain(cells));
            }
        }
    }
    table
}

fn as_json(all: &[(Load, Found)]) -> Value {
    let mut figures = Map::new();
    for (Load { at_once, .. }, found) in all {
        figures
            .insert(format!("two_cores_cpu_ratio_c{at_once}"), found.tree.two_by_one.median.into());
        for (side, spreads) in found.sides() {
            let rows =
                spreads.rows().into_iter().map(|(row, found)| (row.to_owned(), json!(found)));
            figures.insert(format!("{side}_c{at_once}"), Value::Object(rows.collect()));
        }
    }
    Value::Object(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_moment_that_hits_both_engines_does_not_show_in_the_ratio() {
        let round = |slow: f64| {
            let sample = |us: f64| Sample { tree_us: us * slow, engine_us: us * slow / 2.0 };
            Round { one: sample(100.0), two: sample(105.0), apart: sample(102.0) }
        };
        let found = Found::of(&[round(1.0), round(1.7), round(1.2)]).expect("there are rounds");
        let all = [(LOADS[0], found)];
        let json = as_json(&all);
        let ratio = json["two_cores_cpu_ratio_c1"].as_f64().expect("a number");
        assert!((ratio - 1.05).abs() < 1e-9, "{ratio}");
        assert_eq!(json["engine_c1"]["us_one_core"]["median"], 60.0);
        let sharing = json["tree_c1"]["two_cores_by_two_engines"]["median"].as_f64();
        assert!(sharing.is_some_and(|ratio| (ratio - 105.0 / 102.0).abs() < 1e-9), "{sharing:?}");
        assert!(table(&all).to_string().contains("120.00"), "the median of one core");
    }

    #[test]
    fn no_rounds_are_no_finding() {
        assert!(Found::of(&[]).is_none());
    }
}
