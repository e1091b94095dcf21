//! What one lane costs: round trips awake and asleep, and the gathering of rows.
//!
//! `cargo bench -p shm-rpc [-- --json]`. Two real processes, this program and itself started again, joined over the
//! handshake's socket and pinned. What is compared with something runs beside it in each round, in alternating order;
//! figures are medians over rounds of the p50 of single operations, ratios medians of the rounds' own ratios.
//! The peers that are other programs (iceoryx2, the engine's hand-over, Python's) are joined by `cargo xtask lanes`.

#[path = "lane/futex.rs"]
mod futex;
#[path = "lane/gather.rs"]
mod gather;
#[path = "lane/peer.rs"]
mod peer;
#[path = "lane/report.rs"]
mod report;
#[path = "lane/saturate.rs"]
mod saturate;
#[path = "lane/sleep.rs"]
mod sleep;
#[path = "lane/spin.rs"]
mod spin;

use std::path::PathBuf;
use std::process::ExitCode;

use bench::samples::Plan;
use clap::{Parser, Subcommand, ValueEnum};

use peer::{Cores, Manner, Outcome};
use report::Figures;

/// Fewer give no median worth the name.
const ROUNDS: usize = 7;
const ROUNDS_MAX: usize = 101;
const BATCHES_MAX: u64 = 10_000_000;

#[derive(Parser)]
struct Cli {
    /// One line of JSON instead of the table
    #[arg(long)]
    json: bool,
    /// Interleaved rounds
    #[arg(long, default_value_t = ROUNDS)]
    rounds: usize,
    /// What to measure; everything but `saturate` by default
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Scenario>,
    /// The engine's core and the container's
    #[arg(long, value_delimiter = ',', num_args = 1, default_values_t = [0, 1])]
    cores: Vec<usize>,
    /// Batches that `saturate` sends
    #[arg(long, default_value_t = 100_000)]
    batches: u64,
    /// Batches that `saturate` keeps out at once
    #[arg(long, default_value_t = 1)]
    credits: u32,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Round trips of 3 KiB each way, both sides spinning on cores of their own
    Spin,
    /// Round trips of 3 KiB each way through the doorbells, beside a bare futex
    Sleep,
    /// Rows of 3136 bytes into a slot
    Gather,
    /// As many batches as fit, for whoever counts this process's system calls
    Saturate,
}

/// What the other process is for.
#[derive(Subcommand)]
enum Role {
    #[command(hide = true)]
    Container { socket: PathBuf, manner: Manner },
    #[command(hide = true)]
    Pong { memory: PathBuf, manner: Manner },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.role {
        Some(Role::Container { socket, manner }) => peer::container(socket, *manner),
        Some(Role::Pong { memory, manner }) => futex::pong(memory, *manner),
        None => measure(&cli),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lane: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(cli: &Cli) -> Outcome<()> {
    if !(1..=ROUNDS_MAX).contains(&cli.rounds) || !(1..=BATCHES_MAX).contains(&cli.batches) {
        return Err(format!("use 1 to {ROUNDS_MAX} rounds, 1 to {BATCHES_MAX} batches").into());
    }
    let [engine, container] = cli.cores[..] else { return Err("give two cores".into()) };
    let across = Cores { engine, container };
    if cli.only == [Scenario::Saturate] {
        return saturate::run(across, cli.batches, cli.credits);
    }
    let wanted = |scenario| cli.only.is_empty() || cli.only.contains(&scenario);
    let mut figures = Figures::default();
    for round in 0..cli.rounds {
        eprintln!("lane: round {} of {}", round + 1, cli.rounds);
        if wanted(Scenario::Spin) {
            spin_round(across, &mut figures)?;
        }
        if wanted(Scenario::Sleep) {
            let one_core = Cores { engine, container: engine };
            for pair in 0..SLEEP_PAIRS {
                sleep_pair(round + pair, one_core, report::ONE_CORE, &mut figures)?;
                sleep_pair(round + pair, across, report::ACROSS, &mut figures)?;
            }
        }
        if wanted(Scenario::Gather) {
            for (name, memory, huge_pages) in report::GATHERS {
                if let Some(us) = gather::us_per_mib(engine, memory, huge_pages)? {
                    figures.put(name, us);
                }
            }
        }
    }
    print!("{}", if cli.json { figures.line() } else { figures.table() });
    Ok(())
}

/// Long enough for a steady median, short enough that the rounds share their minute.
const SPIN: Plan = Plan { warm: 10_000, timed: 100_000 };
const SLEEP: Plan = Plan { warm: 300, timed: 3_000 };
/// What waking a halted core costs changes by half from one moment to the next: short pairs, and several a round.
const SLEEP_PAIRS: usize = 3;

fn spin_round(cores: Cores, figures: &mut Figures) -> Outcome<()> {
    if cores.engine == cores.container {
        return Err("two spinning sides need a core each".into());
    }
    figures.put(report::LINE, futex::line_round_trip(cores, SPIN)?.p50_ns);
    let times = spin::round_trip(cores, SPIN)?;
    figures.put(report::SPIN, times.p50_ns);
    figures.put(report::SPIN_P99, times.p99_ns);
    Ok(())
}

fn sleep_pair(
    turn: usize,
    cores: Cores,
    names: report::Sleeping,
    figures: &mut Figures,
) -> Outcome<()> {
    let lane = |figures: &mut Figures| -> Outcome<()> {
        figures.put(names.lane, sleep::round_trip(cores, SLEEP)?.p50_ns / 1e3);
        Ok(())
    };
    let bare = |figures: &mut Figures| -> Outcome<()> {
        figures.put(names.futex, futex::round_trip(cores, SLEEP)?.p50_ns / 1e3);
        Ok(())
    };
    if turn.is_multiple_of(2) {
        lane(figures)?;
        bare(figures)
    } else {
        bare(figures)?;
        lane(figures)
    }
}
