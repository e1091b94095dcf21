//! The command line of a micro benchmark on one core, and how it ends.

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// How often a benchmark repeats itself; the median counts.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    /// Fewer give no median worth the name.
    pub usual: usize,
    /// An end for a slip of the keyboard.
    pub max: usize,
}

/// What a benchmark is asked for.
#[derive(Debug, Parser)]
pub struct Cli {
    /// End with one line of JSON
    #[arg(long)]
    pub json: bool,
    /// Rounds, of which the median counts
    #[arg(long)]
    rounds: Option<usize>,
    /// The core to run on
    #[arg(long, default_value_t = 0)]
    pub core: usize,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// Runs `measure(what was asked for, rounds)` and says by name why it can't.
pub fn run(name: &str, rounds: Rounds, measure: impl Fn(&Cli, usize) -> Outcome<()>) -> ExitCode {
    let cli = Cli::parse();
    let wanted = cli.rounds.unwrap_or(rounds.usual);
    let measured = if (1..=rounds.max).contains(&wanted) {
        measure(&cli, wanted)
    } else {
        Err(format!("use 1 to {} rounds", rounds.max).into())
    };
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}
