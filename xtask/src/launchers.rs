//! What a request costs a model in Docker: sets up, makes the image, then `foil-bench launchers` measures.

use crate::images::{self, Name};
use crate::neighbours::in_pairs;
use crate::setup::setup;
use crate::shell::Done;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Interleaved pairs of runs.
    #[arg(long, default_value_t = 9)]
    pairs: usize,
    /// Seconds of each run.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// The last line is a JSON object.
    #[arg(long)]
    json: bool,
    /// What the image stands on, as in `cargo xtask images`.
    #[arg(long, value_name = "IMAGE")]
    base: Option<String>,
}

pub(crate) fn launchers(arguments: &Arguments) -> Done {
    setup()?;
    images::make(&[Name::Python], arguments.base.as_deref())?;
    in_pairs("launchers", arguments.pairs, arguments.seconds, arguments.json)
}
