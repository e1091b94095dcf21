//! `foil-bench synthetic`: the server as a command.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::{Behaviour, Delay, Stall, Synthetic};
use crate::clock::nanos;
use crate::span;
use crate::threads::{PinError, pin};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// How long each answer takes
    #[arg(long, default_value = "2ms", value_parser = span::parse)]
    delay: Duration,
    /// Delays are exponential, with --delay as their mean
    #[arg(long)]
    exponential: bool,
    /// One after the other, each for --delay: a server with a capacity
    #[arg(long, conflicts_with = "exponential")]
    queue: bool,
    /// Once nothing leaves for so long, beginning --stall-at after the first request
    #[arg(long, value_parser = span::parse)]
    stall: Option<Duration>,
    #[arg(long, default_value = "5s", value_parser = span::parse)]
    stall_at: Duration,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Pins the server to this core
    #[arg(long)]
    core: Option<usize>,
}

#[derive(Debug, thiserror::Error)]
pub enum SyntheticError {
    #[error("the synthetic server failed: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Pin(#[from] PinError),
}

/// Serves until the process is ended.
pub fn run(args: &Args) -> Result<(), SyntheticError> {
    args.core.map_or(Ok(()), pin)?;
    let us = u64::try_from(args.delay.as_micros()).unwrap_or(u64::MAX);
    let delay = match (args.exponential, args.queue) {
        (true, _) => Delay::Exponential { mean_us: us },
        (false, true) => Delay::Queue { us },
        (false, false) => Delay::Constant { us },
    };
    let start_ns = nanos(args.stall_at);
    let stall = args.stall.map(|span| Stall { start_ns, span_ns: nanos(span) });
    let mut server = Synthetic::bind(args.listen, Behaviour::new(delay, stall, args.seed))?;
    println!("listening on http://{}", server.address()?);
    Ok(server.serve(&|| false)?)
}
