//! What this program does for people instead of serving: ask a GPU, measure a model without an engine, make weights.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use gpu_containers::bare::{Asked, measure};
use gpu_containers::device::{CudaError, Wanted};
use gpu_containers::models::embedding_mlp::weights::{Random, Shape};
use gpu_containers::models::saved::FILE;
use gpu_containers::probe;
use schemas::tensor::DType;

/// For the help of who serves.
pub(crate) const NAMED: &str = "Also: foil-container probe | bench | weights, each with --help.";
/// There is no driver, so there is nothing to ask: another answer than a failure.
const NO_DRIVER: u8 = 3;

#[derive(Debug, Parser)]
#[command(name = "foil-container")]
struct Tools {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Debug, Subcommand)]
enum Tool {
    /// What the GPUs of this machine can do, by CUDA. Exits with 3 where there is no driver.
    Probe {
        /// Only this one.
        #[arg(long)]
        uuid: Option<String>,
        /// For programs.
        #[arg(long)]
        json: bool,
        /// Hold a context until the input ends: what a probe starts to see what one costs.
        #[arg(long, hide = true)]
        hold: bool,
    },
    /// Runs a model in a bare loop, without an engine. Prints one line of JSON.
    Bench(Bench),
    /// Makes weights at random for a model of any size, to measure and to test with.
    Weights(Weights),
}

#[derive(Debug, clap::Args)]
struct Bench {
    #[arg(long)]
    kind: BenchKind,
    /// The version's directory, with its weights.
    #[arg(long, value_name = "DIRECTORY")]
    path: PathBuf,
    /// Rows of each batch.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Batches under way at a time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=2))]
    depth: u32,
    /// auto: as a container would, from FOIL_GPU and CUDA_VISIBLE_DEVICES.
    #[arg(long, default_value = "auto")]
    device: On,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BenchKind {
    #[value(name = "embedding_mlp")]
    EmbeddingMlp,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum On {
    Auto,
    Cpu,
    Gpu,
}

#[derive(Debug, clap::Args)]
struct Weights {
    /// Where model.safetensors goes.
    #[arg(long, value_name = "DIRECTORY")]
    path: PathBuf,
    #[arg(long, default_value_t = 10_000, value_parser = size())]
    vocabulary: u32,
    /// Numbers of one embedding.
    #[arg(long, default_value_t = 256, value_parser = size())]
    dim: u32,
    /// Outputs of each layer but the last.
    #[arg(long, default_value = "512,512", value_delimiter = ',', value_parser = size())]
    hidden: Vec<u32>,
    /// Outputs of the last layer.
    #[arg(long, default_value_t = 16, value_parser = size())]
    classes: u32,
    /// Ids of one row.
    #[arg(long, default_value_t = 32, value_parser = size())]
    ids: u32,
    /// Of the ids.
    #[arg(long, default_value = "i64")]
    dtype: IdType,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum IdType {
    I32,
    I64,
}

/// A size of none is a mistake, and one above this is, too.
fn size() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=100_000_000)
}

/// Runs a tool if the first argument names one.
pub(crate) fn asked_for() -> Option<ExitCode> {
    let first = std::env::args().nth(1)?;
    let known = Tools::command().find_subcommand(&first).is_some();
    known.then(|| run(Tools::parse().tool))
}

fn run(tool: Tool) -> ExitCode {
    let done = match tool {
        Tool::Probe { uuid, hold: true, .. } => probe::hold(uuid.as_deref()).map_err(Failed::from),
        Tool::Probe { uuid, json, .. } => probe(uuid.as_deref(), json),
        Tool::Bench(bench) => bench.run(),
        Tool::Weights(weights) => weights.make(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed { message, exit }) => {
            eprintln!("error: {message}");
            exit
        }
    }
}

struct Failed {
    message: String,
    exit: ExitCode,
}

impl Failed {
    fn saying(message: impl ToString) -> Failed {
        Failed { message: message.to_string(), exit: ExitCode::FAILURE }
    }
}

impl From<CudaError> for Failed {
    fn from(error: CudaError) -> Failed {
        let mut failed = Failed::saying(&error);
        if let CudaError::NoLibrary { .. } = error {
            failed.exit = ExitCode::from(NO_DRIVER);
        }
        failed
    }
}

fn probe(uuid: Option<&str>, json: bool) -> Result<(), Failed> {
    let report = probe::report(uuid)?;
    let text =
        if json { serde_json::to_string(&report) } else { serde_json::to_string_pretty(&report) };
    println!("{}", text.map_err(Failed::saying)?);
    Ok(())
}

impl Bench {
    fn run(self) -> Result<(), Failed> {
        let BenchKind::EmbeddingMlp = self.kind;
        let wanted = match self.device {
            On::Cpu => Wanted::Cpu,
            On::Auto => Wanted::of_environment(),
            On::Gpu => match Wanted::of_environment() {
                Wanted::Cpu => Wanted::Gpu(None),
                gpu => gpu,
            },
        };
        let Bench { batch, depth, seconds, .. } = self;
        let asked = Asked { wanted, batch, depth, seconds };
        let measured = measure(&self.path, &asked).map_err(Failed::saying)?;
        println!("{}", serde_json::to_string(&measured).map_err(Failed::saying)?);
        Ok(())
    }
}

impl Weights {
    fn make(self) -> Result<(), Failed> {
        let ids = match self.dtype {
            IdType::I32 => DType::I32,
            IdType::I64 => DType::I64,
        };
        let shape = Shape {
            vocabulary: self.vocabulary as usize,
            width: self.dim as usize,
            per_row: self.ids as usize,
            ids,
        };
        let hidden = self.hidden.iter().map(|&size| size as usize).collect();
        let random = Random { shape, hidden, outputs: self.classes as usize, seed: self.seed };
        let file = random.weights().serialize().map_err(Failed::saying)?;
        let path = self.path.join(FILE);
        let shown = path.display();
        std::fs::create_dir_all(&self.path)
            .and_then(|()| std::fs::write(&path, file))
            .map_err(|error| Failed::saying(format!("cannot write {shown}: {error}")))?;
        println!("{shown}");
        Ok(())
    }
}
