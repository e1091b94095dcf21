//! Where runs take place: one server with its models on one core, a client that never sleeps on another, a watch.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::SloError;
use super::curve::{Curve, Point};
use super::disturbance::{Loss, Watch, Witness, blamed, disturbed};
use super::served::{self, Served, Work};
use super::tally::{LEAD_NS, Played, SECOND_NS};
use crate::arrivals::{Stretch, stretches};
use crate::driver::{DriverError, drive_traced};
use crate::http::get;
use crate::overhead::OverheadError;
use crate::overhead::servers::{Foil, Server, Workplace};
use crate::payload::{Encoding, Input, http_request, payload};
use crate::plan::{Edge, Expect, Load, Plan, Target, Wait};
use crate::threads::on_core;
use crate::timing::ServerTiming;
use crate::trace::{Ended, Trace};

/// Enough that no request waits for one: 14,000 a second for 20 ms are 280.
const CONNECTIONS: usize = 512;

/// A run this long sees connections closed that never sent anything (the engine's `limits.head_s`), again and again. Fewer
/// are opened then; an SLO's worth of requests at seven tenths of the capacity is some fifty.
const IDLE_AFTER_NS: u64 = 10_000_000_000;
const CONNECTIONS_LONG: usize = 128;
const SEED: u64 = 1;
/// What is due last is sent even by a client that was kept from its core just then.
const SEND_GRACE: Duration = Duration::from_millis(50);
/// A size of the curve: some dozens of its batches.
const CURVE_WARM_UP: Duration = Duration::from_millis(150);
const CURVE_MEASURE: Duration = Duration::from_millis(500);

#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) foil: PathBuf,
    pub(super) python: Option<PathBuf>,
    pub(super) server_core: usize,
    pub(super) client_core: usize,
    pub(super) count_disturbed: bool,
}

/// What all runs together had of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shares {
    pub(super) seconds: u64,
    pub(super) excluded: u64,
    /// By steal, the canary and the client; some by several.
    pub(super) blamed: [u64; 3],
    pub(super) requests: u64,
    pub(super) late_sends: u64,
}

pub(super) struct Stage {
    work: Work,
    server: Server,
    watch: Watch,
    client_core: usize,
    count_disturbed: bool,
    shares: Shares,
    // Last: the server ends before its files go.
    _workplace: Workplace,
}

impl Stage {
    pub(super) fn open(place: &Place, work: Work, models: &[Served]) -> Result<Stage, SloError> {
        let replicas = models.iter().map(|model| u64::from(model.replicas)).sum();
        let write =
            |workplace: &Workplace, folder: &str| served::write(workplace, folder, work, models);
        Stage::with(place, work, replicas, write)
    }

    /// With a repository of models that `write` makes in a folder of the workplace, when all their replicas are up.
    pub(super) fn with(
        place: &Place,
        work: Work,
        replicas: u64,
        write: impl FnOnce(&Workplace, &str) -> Result<(), OverheadError>,
    ) -> Result<Stage, SloError> {
        const FOLDER: &str = "models";
        let workplace = Workplace::create()?;
        write(&workplace, FOLDER)?;
        let (core, cores) = (Some(place.server_core), [place.server_core]);
        let (program, python) = (place.foil.as_path(), place.python.as_deref());
        let foil = Foil { program, python, core, cores: &cores, target: FOLDER };
        let server = Server::serving(&workplace, &foil)?.with_replicas(replicas)?;
        let cores = [place.server_core, place.client_core];
        let watch = Watch::start(place.server_core, cores, server.engine());
        watch.rest(work.shares_the_core());
        Ok(Stage {
            work,
            server,
            watch,
            client_core: place.client_core,
            count_disturbed: place.count_disturbed,
            shares: Shares::default(),
            _workplace: workplace,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.server.address
    }

    pub(super) fn shares(&self) -> Shares {
        self.shares
    }

    /// Plays these stretches of Poisson arrivals, with a lead at the rate of the first.
    pub(super) fn play(
        &mut self,
        model: &Served,
        plan: &[Stretch],
        seed: u64,
    ) -> Result<Played, SloError> {
        let first = plan.first().ok_or(SloError::NoLoad)?;
        let lead = Stretch { span_ns: LEAD_NS, rate: first.rate };
        let all: Vec<Stretch> = std::iter::once(lead).chain(plan.iter().copied()).collect();
        let due_ns = stretches(&all, seed).ok_or(SloError::NoLoad)?;
        let span_ns: u64 = all.iter().map(|stretch| stretch.span_ns).sum();
        let target = self.target(model)?;
        self.play_listed(&target, due_ns, span_ns)
    }

    /// Plays requests that are due at these times, the first of them in the lead.
    pub(super) fn play_listed(
        &mut self,
        target: &Target,
        due_ns: Vec<u64>,
        span_ns: u64,
    ) -> Result<Played, SloError> {
        let (trace, started_ns) = self.drive(target, Load::Listed(due_ns.clone()), span_ns)?;
        let seconds = (span_ns - LEAD_NS).div_ceil(SECOND_NS) as usize;
        let losses = self.losses(&trace, started_ns);
        let from_ns = started_ns + LEAD_NS;
        let excluded = disturbed(&losses, from_ns, seconds);
        for (sum, more) in self.shares.blamed.iter_mut().zip(blamed(&losses, from_ns, seconds)) {
            *sum += more;
        }
        let mut played = Played { due_ns, records: trace.records, excluded };
        self.shares.seconds += seconds as u64;
        self.shares.excluded += seconds as u64 - played.calm_seconds();
        if self.count_disturbed {
            played.excluded.fill(false);
        }
        self.shares.requests += played.due_ns.len() as u64;
        self.shares.late_sends += played.late_sends();
        Ok(played)
    }

    /// What a batch of each size takes when the next ones wait already.
    pub(super) fn curve(&mut self) -> Result<Curve, SloError> {
        let sizes = self.work.sizes().iter();
        let points = sizes.map(|&rows| Ok(Point { rows, ms: self.batch_ms(rows)? }));
        let points = points.collect::<Result<Vec<Point>, SloError>>()?;
        Curve::new(points).ok_or(SloError::NoLoad)
    }

    /// As the engine tells it, from departure to reply. On a shared core from one batch to the next: the engine's work
    /// for the requests of a batch takes its time too, within it or between two.
    fn batch_ms(&self, rows: u32) -> Result<f64, SloError> {
        let target = self.target(&Served::full(rows))?;
        let plan = Plan {
            wait: Wait::Spin,
            warm_up: CURVE_WARM_UP,
            ..Plan::closed(2 * rows as usize, CURVE_MEASURE)
        };
        let driven = on_core(Some(self.client_core), || drive_traced(&target, &plan, &mut |_| {}));
        let (_, trace) = driven??;
        let ms = if self.work.shares_the_core() {
            median_cycle_ms(&trace, rows)
        } else {
            median_service_ms(&trace, rows)
        };
        ms.ok_or(SloError::NoBatches { rows })
    }

    /// How many requests the model's batching turned away, by reason.
    pub(super) fn shed_reasons(&self, model: &Served) -> Result<BTreeMap<String, u64>, SloError> {
        let page = get(self.server.address, &format!("/v2/models/{}/batching", model.name()))?;
        let page: serde_json::Value =
            serde_json::from_slice(&page.body).map_err(|_| SloError::NoReasons)?;
        let totals = page["shed"]["total"].as_object().ok_or(SloError::NoReasons)?;
        Ok(totals.iter().map(|(why, count)| (why.clone(), count.as_u64().unwrap_or(0))).collect())
    }

    fn drive(&self, target: &Target, load: Load, span_ns: u64) -> Result<(Trace, u64), SloError> {
        let connections = if span_ns < IDLE_AFTER_NS { CONNECTIONS } else { CONNECTIONS_LONG };
        let measure = Duration::from_nanos(span_ns) + SEND_GRACE;
        let plan = Plan { load, wait: Wait::Spin, ..Plan::closed(connections, measure) };
        let (clock, mut started_ns) = (self.watch.clock(), 0);
        let mut at_edge = |edge| {
            if edge == Edge::MeasureStarts {
                started_ns = clock.now_ns();
            }
        };
        let driven = on_core(Some(self.client_core), || -> Result<_, DriverError> {
            drive_traced(target, &plan, &mut at_edge)
        });
        let (_, trace) = driven??;
        Ok((trace, started_ns))
    }

    fn losses(&self, trace: &Trace, started_ns: u64) -> Vec<Loss> {
        let mut losses = self.watch.losses_from(started_ns);
        losses.extend(trace.stalls.iter().map(|stall| Loss {
            ended_ns: started_ns + stall.ended_ns,
            span_ns: stall.span_ns,
            witness: Witness::Client,
        }));
        losses
    }

    fn target(&self, model: &Served) -> Result<Target, SloError> {
        let input = Input::fp32("x", &[1, self.work.row()]);
        let payload = payload(Encoding::Binary, std::slice::from_ref(&input), SEED);
        let (address, path) = (self.server.address, format!("/v2/models/{}/infer", model.name()));
        let request = http_request(&address.to_string(), &path, &payload);
        Ok(Target::one(address, request, Expect { status: Some(200), ..Expect::default() }))
    }
}

/// Of the batches of that many rows, as the engine tells: from departure to reply.
fn median_service_ms(trace: &Trace, rows: u32) -> Option<f64> {
    let took_us = full(trace, rows).map(|(_, timing)| u64::from(timing.service_us()));
    median(took_us.collect()).map(|us| us / 1e3)
}

/// From one batch's last answer to the next one's: one replica's batches are answered one after the other.
fn median_cycle_ms(trace: &Trace, rows: u32) -> Option<f64> {
    let ended_ns: Vec<u64> = full(trace, rows).map(|(ended_ns, _)| ended_ns).collect();
    let batches = ended_ns.chunks_exact(rows as usize);
    let last_ns: Vec<u64> = batches.filter_map(|answers| answers.last().copied()).collect();
    median(last_ns.windows(2).map(|pair| pair[1] - pair[0]).collect()).map(|ns| ns / 1e6)
}

/// When answers from batches of that many rows came, and what the engine says of them.
fn full(trace: &Trace, rows: u32) -> impl Iterator<Item = (u64, ServerTiming)> + '_ {
    trace.records.iter().filter_map(move |record| match record.ended {
        Ended::Answered { status: 200, timing: Some(timing) } if timing.batch_rows == rows => {
            Some((record.ended_ns, timing))
        }
        _ => None,
    })
}

fn median(mut values: Vec<u64>) -> Option<f64> {
    values.sort_unstable();
    values.get(values.len() / 2).map(|&value| value as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Record;

    fn traced(records: Vec<Record>) -> Trace {
        let mut trace = Trace::default();
        trace.records = records;
        trace
    }

    fn record(ended_us: u64, batch_rows: u32, model_us: u32) -> Record {
        let timing = Some(ServerTiming { queue_us: 5, lane_us: 100, model_us, batch_rows });
        let ended = Ended::Answered { status: 200, timing };
        Record { due_ns: 0, sent_ns: 0, ended_ns: ended_us * 1_000, ended }
    }

    #[test]
    fn only_full_batches_make_the_curve() {
        let trace = traced(vec![
            record(1, 8, 900),
            record(2, 8, 3_900),
            record(3, 8, 1_900),
            record(4, 3, 9_000),
        ]);
        assert_eq!(median_service_ms(&trace, 8), Some(2.0));
        assert_eq!(median_service_ms(&trace, 4), None);
    }

    #[test]
    fn a_cycle_is_from_the_end_of_a_batch_to_that_of_the_next() {
        let ends_us = [990, 1_000, 3_000, 3_010, 4_000, 5_000, 11_000, 11_020];
        let trace = traced(ends_us.map(|us| record(us, 2, 500)).to_vec());
        assert_eq!(median_cycle_ms(&trace, 2), Some(2.01));
        assert_eq!(median_cycle_ms(&trace, 8), None);
    }
}
