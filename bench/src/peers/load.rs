//! Runs against ours and against another, in turns. All that is known here of the load driver is in [`plan`] and
//! [`target`].

use std::time::Duration;

use serde::Serialize;

use super::PeersError;
use super::record::{Failures, Open, Pair, Sample};
use crate::arrivals::{Arrivals, Pattern};
use crate::overhead::OverheadError;
use crate::overhead::ask::Question;
use crate::overhead::measure::{CLIENT_SHARE_MIN, Setup, calm, watched};
use crate::overhead::servers::Server;
use crate::plan::{Load, Plan, Target, Wait};
use crate::threads::on_core;

pub(super) const CONNECTIONS: usize = 64;
pub(super) const CONNECTIONS_CROWD: usize = 256;
/// Connections, caches and the allocator settle within this.
const WARM_UP: Duration = Duration::from_millis(300);
const SEED: u64 = 1;
const TRIES: usize = 3;

/// A server and what it is asked.
pub(super) struct Asked<'a> {
    pub(super) server: &'a Server,
    target: Target,
}

impl<'a> Asked<'a> {
    pub(super) fn new(
        server: &'a Server,
        question: &Question<'_>,
    ) -> Result<Asked<'a>, PeersError> {
        let request = question.request(server.address, SEED);
        let first = question.ask(server.address, &request)?.body;
        // A row's sum is the same in any batch, byte by byte; a product of matrices is not, nor an answer that bears the
        // request's own number.
        let repeats = question.ask(server.address, &request)?.body == first;
        let body = (question.model == "noop" && repeats).then_some(first);
        Ok(Asked { server, target: question.target(server.address, request, body) })
    }
}

fn plan(connections: usize, load: Load, measure: Duration) -> Plan {
    Plan { load, wait: Wait::Spin, warm_up: WARM_UP, ..Plan::closed(connections, measure) }
}

/// Closed loop, both over so many connections.
pub(super) fn closed(
    setup: &Setup,
    connections: usize,
    ours: &Asked<'_>,
    theirs: &Asked<'_>,
) -> Result<Vec<Pair>, PeersError> {
    let of = |asked| sample(setup, asked, &plan(connections, Load::Closed, setup.measure));
    pairs(setup, || of(ours), || of(theirs))
}

/// Both under the same arrivals, twice as long, so that there is a p99 to speak of.
pub(super) fn open(
    setup: &Setup,
    rate: f64,
    ours: &Asked<'_>,
    theirs: &Asked<'_>,
) -> Result<Option<Open>, PeersError> {
    let Ok(arrivals) = Arrivals::of(&Pattern::Constant, Some(rate), SEED) else { return Ok(None) };
    let plan = plan(CONNECTIONS, Load::Open(arrivals), 2 * setup.measure);
    let pairs = pairs(setup, || sample(setup, ours, &plan), || sample(setup, theirs, &plan))?;
    Ok(Some(Open { rate, pairs }))
}

/// Ours with many connections beside ours with the usual number.
pub(super) fn crowd(setup: &Setup, ours: &Asked<'_>) -> Result<Vec<Pair>, PeersError> {
    let of =
        |connections| move || sample(setup, ours, &plan(connections, Load::Closed, setup.measure));
    pairs(setup, of(CONNECTIONS_CROWD), of(CONNECTIONS))
}

fn pairs(
    setup: &Setup,
    mut ours: impl FnMut() -> Result<Sample, PeersError>,
    mut theirs: impl FnMut() -> Result<Sample, PeersError>,
) -> Result<Vec<Pair>, PeersError> {
    let is_disturbed =
        |pair: &Pair| pair.ours.client_share.min(pair.theirs.client_share) < CLIENT_SHARE_MIN;
    calm(setup.pairs, is_disturbed, |attempt| {
        if attempt % 2 == 0 {
            let (theirs, ours) = (theirs()?, ours()?);
            return Ok(Pair { ours, theirs });
        }
        let (ours, theirs) = (ours()?, theirs()?);
        Ok(Pair { ours, theirs })
    })
}

/// Failures are counted, not hidden. A run without a single answer, on a machine that was elsewhere, is tried again.
fn sample(setup: &Setup, asked: &Asked<'_>, plan: &Plan) -> Result<Sample, PeersError> {
    for _ in 0..TRIES {
        if let Some(sample) = tried(setup, asked, plan)? {
            return Ok(sample);
        }
    }
    Err(OverheadError::Silent { server: asked.server.name }.into())
}

fn tried(setup: &Setup, asked: &Asked<'_>, plan: &Plan) -> Result<Option<Sample>, PeersError> {
    let ran = on_core(setup.client_core, || watched(asked.server, &asked.target, plan));
    let ran = ran.map_err(OverheadError::from)??;
    let Some(p50_us) = ran.p50_us.filter(|_| ran.cpu_us.is_finite()) else { return Ok(None) };
    Ok(Some(Sample {
        requests_per_second: ran.requests_per_second,
        p50_us,
        p99_us: ran.p99_us,
        cpu_us: ran.cpu_us,
        client_share: ran.client_share,
        failures: kinds(&ran.failures),
    }))
}

fn kinds(failures: &impl Serialize) -> Failures {
    let counts = serde_json::to_value(failures).unwrap_or_default();
    let counts = counts.as_object().into_iter().flatten();
    let counts = counts.filter_map(|(kind, count)| Some((kind.clone(), count.as_u64()?)));
    counts.filter(|(_, count)| *count > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kinds_of_failures_that_happened_are_named() {
        let failures = crate::measured::Failures { closed: 3, ..Default::default() };
        assert_eq!(kinds(&failures), Failures::from([("closed".to_owned(), 3)]));
    }
}
