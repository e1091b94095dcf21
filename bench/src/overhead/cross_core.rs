//! What it costs when a connection lives on another core than its model.
//!
//! The engine runs on two cores. Which of them accepted a connection tells its gauge of open connections. The client
//! sits on one of the two cores as well, and is nearer to it; so each place is measured with the client on either
//! core, and the difference is averaged over both. The model's own core is the one that answers sooner.

use std::collections::BTreeMap;
use std::time::Duration;

use super::OverheadError;
use super::measure::Setup;
use super::servers::Server;
use crate::compare::spread;
use crate::driver::drive;
use crate::http::get;
use crate::payload::Encoding;
use crate::plan::{Edge, Plan, Target};
use crate::threads::on_core;

/// The kernel deals connections out by chance: four tries a sample and core make a miss unlikely.
const TRIES_PER_SAMPLE: usize = 8;
const WARM_UP: Duration = Duration::from_millis(200);
const GAUGE: &str = "foil_http_connections{core=\"";

/// By how much p50 at one connection grows, and the medians it comes from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CrossCore {
    pub(super) added_us: f64,
    /// By (client's core, serving core as the engine counts them).
    pub(super) p50_us: BTreeMap<(usize, usize), f64>,
}

/// `None`: not every combination of client and core could be had.
pub(super) fn measure(
    setup: &Setup,
    server: &Server,
    cores: [usize; 2],
) -> Result<Option<CrossCore>, OverheadError> {
    let target = server.target(Encoding::Binary)?;
    let mut samples: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
    for client in cores {
        for _ in 0..TRIES_PER_SAMPLE * setup.pairs {
            let Some((serving, p50_us)) = sample(setup, server, &target, client)? else { continue };
            samples.entry((client, serving)).or_default().push(p50_us);
            let has_enough = |serving| {
                samples.get(&(client, serving)).is_some_and(|found| found.len() >= setup.pairs)
            };
            if (0..cores.len()).all(has_enough) {
                break;
            }
        }
    }
    let medians = samples.into_iter().filter_map(|(at, found)| Some((at, spread(&found)?.median)));
    Ok(added(medians.collect(), cores))
}

fn added(p50_us: BTreeMap<(usize, usize), f64>, clients: [usize; 2]) -> Option<CrossCore> {
    let mean_of = |serving: usize| {
        let of_clients: Option<Vec<f64>> =
            clients.iter().map(|&client| p50_us.get(&(client, serving)).copied()).collect();
        Some(of_clients?.iter().sum::<f64>() / clients.len() as f64)
    };
    let added_us = (mean_of(0)? - mean_of(1)?).abs();
    Some(CrossCore { added_us, p50_us })
}

/// One connection, wherever the kernel puts it. `None` when the gauge doesn't tell where.
fn sample(
    setup: &Setup,
    server: &Server,
    target: &Target,
    client: usize,
) -> Result<Option<(usize, f64)>, OverheadError> {
    // It sleeps, as the core is the engine's too: spinning would take it away.
    let plan = Plan { warm_up: WARM_UP, ..Plan::closed(1, setup.measure) };
    let mut serving = None;
    let measured = on_core(Some(client), || {
        drive(target, &plan, &mut |edge| {
            if edge == Edge::MeasureStarts {
                serving = serving_core(server);
            }
        })
    })??;
    if measured.failures.total() > 0 {
        let failures = measured.failures;
        return Err(OverheadError::Failed { server: server.name, failures });
    }
    Ok(serving.zip(measured.latency.summary().p50_us))
}

/// The only core with an open connection. Others that linger make it unknown, not wrong.
fn serving_core(server: &Server) -> Option<usize> {
    let page = get(server.metrics?, "/metrics").ok()?;
    only_busy_core(&String::from_utf8_lossy(&page.body))
}

fn only_busy_core(page: &str) -> Option<usize> {
    let gauges = page.lines().filter_map(|line| line.strip_prefix(GAUGE)?.split_once("\"} "));
    let mut busy = gauges.filter(|(_, open)| open.parse::<f64>().is_ok_and(|open| open > 0.0));
    let (core, _) = busy.next()?;
    busy.next().is_none().then(|| core.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gauge_tells_the_core_unless_two_have_connections() {
        let page = |first, second| {
            format!(
                "# TYPE foil_http_connections gauge\nfoil_http_connections{{core=\"0\"}} {first}\n\
                 foil_http_connections{{core=\"1\"}} {second}\n# EOF\n"
            )
        };
        assert_eq!(only_busy_core(&page(0, 1)), Some(1));
        assert_eq!(only_busy_core(&page(1, 0)), Some(0));
        assert_eq!(only_busy_core(&page(1, 1)), None);
        assert_eq!(only_busy_core(""), None);
    }

    #[test]
    fn the_clients_own_place_cancels_out() {
        // Near the client costs 30 less; the other core costs 20 more.
        let p50_us =
            BTreeMap::from([((0, 0), 50.0), ((0, 1), 100.0), ((1, 0), 80.0), ((1, 1), 70.0)]);
        assert_eq!(added(p50_us, [0, 1]).map(|found| found.added_us), Some(20.0));
    }

    #[test]
    fn a_missing_combination_gives_no_figure() {
        assert_eq!(added(BTreeMap::from([((0, 0), 50.0)]), [0, 1]), None);
    }
}
