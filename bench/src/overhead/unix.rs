//! What a Unix socket saves a client on the same machine: the same engine and question, over TCP and over the socket.

use super::OverheadError;
use super::measure::{Sample, Setup, calm, sample};
use super::servers::Server;
use crate::compare::{Spread, differences};
use crate::payload::Encoding;
use crate::plan::Target;

/// At one connection a request waits for each step, at 64 the server's core is the bound.
const ALONE: usize = 1;
const SATURATED: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Pair {
    tcp: Sample,
    unix: Sample,
}

/// By how much the socket is better, in pairs that shared the moment.
#[derive(Clone, Debug)]
pub(super) struct Saved {
    pub(super) p50_us: Option<Spread>,
    pub(super) cpu_us: Option<Spread>,
}

pub(super) fn measure(setup: &Setup, server: &Server) -> Result<Saved, OverheadError> {
    let tcp = server.target(Encoding::Binary)?;
    let unix = Target { address: server.socket, ..tcp.clone() };
    let pairs = |connections| {
        let disturbed = |pair: &Pair| pair.tcp.is_disturbed() || pair.unix.is_disturbed();
        calm(setup.pairs, disturbed, |attempt| {
            let run = |target| sample(setup, connections, server, target);
            let before = if attempt % 2 == 0 { Some(run(&tcp)?) } else { None };
            let unix = run(&unix)?;
            let tcp = before.map_or_else(|| run(&tcp), Ok)?;
            Ok::<_, OverheadError>(Pair { tcp, unix })
        })
    };
    Ok(Saved {
        p50_us: saved(&pairs(ALONE)?, |sample| sample.p50_us),
        cpu_us: saved(&pairs(SATURATED)?, |sample| sample.cpu_us),
    })
}

fn saved(pairs: &[Pair], figure: impl Fn(&Sample) -> f64) -> Option<Spread> {
    let pairs = pairs.iter().map(|pair| (figure(&pair.tcp), figure(&pair.unix)));
    differences(&pairs.collect::<Vec<_>>())
}
