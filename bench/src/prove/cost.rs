//! What the generator itself takes, beside the bare hyper server that it drives: bounds, not predictions.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Args, Check, ProveError, drive, on_floor, plain_get};
use crate::arrivals::{Arrivals, Pattern};
use crate::compare::ratios;
use crate::payload::floats;
use crate::payload::{Input, Payload, http_request};
use crate::plan::{Expect, Load, Plan, Target, Wait};
use crate::proc::{cpu_ns, tree};

const SPAN: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_millis(300);
const CONNECTIONS: usize = 64;
/// Of what hyper takes for the same request.
const SHARE_MAX: f64 = 0.6;
const RATE: f64 = 30_000.0;
const LAG_MAX_US: f64 = 100.0;

pub(super) fn checks(args: &Args) -> Result<Vec<Check>, ProveError> {
    on_floor(args, |address, server| {
        let mut checks = Vec::new();
        let bodies = [("no body", plain_get(address)), ("3,136 B", post(address))];
        for (name, target) in &bodies {
            let mut pairs = Vec::new();
            for _ in 0..args.pairs {
                pairs.push(cpu_us(args, target, server)?);
            }
            let share = ratios(&pairs).ok_or(ProveError::TooFew("no pairs"))?.median;
            let name = format!("CPU a request, {name}: ours over bare hyper's");
            checks.push(Check::at_most(name, SHARE_MAX, share));
        }
        let lag_us = lag_us(args, &bodies[1].1)?;
        let name = "30,000/s open loop: send lag p99, µs";
        checks.push(Check::at_most(name, LAG_MAX_US, lag_us));
        Ok(checks)
    })
}

/// Ours and the server's for one run, in µs a request.
fn cpu_us(args: &Args, target: &Target, server: u32) -> Result<(f64, f64), ProveError> {
    let plan = Plan::closed(CONNECTIONS, SPAN);
    let processes = tree(server);
    let before_ns = cpu_ns(&processes);
    let whole = drive(args, target, &plan)?;
    let server_ns = cpu_ns(&processes) - before_ns;
    if whole.answered == 0 {
        return Err(ProveError::TooFew("bare hyper did not answer"));
    }
    let us = |ns: u64| ns as f64 / 1e3 / whole.answered as f64;
    Ok((us(whole.own_cpu_ns), us(server_ns)))
}

fn lag_us(args: &Args, target: &Target) -> Result<f64, ProveError> {
    let arrivals = Arrivals::of(&Pattern::Poisson, Some(RATE), 1)?;
    let plan = Plan {
        connections_max: CONNECTIONS * 8,
        load: Load::Open(arrivals),
        wait: Wait::Spin,
        warm_up: WARM_UP,
        ..Plan::closed(CONNECTIONS, SPAN * 2)
    };
    let whole = drive(args, target, &plan)?;
    let ns = whole.send_lag.percentile_ns(0.99, 1).ok_or(ProveError::TooFew("nothing sent"))?;
    Ok(ns as f64 / 1e3)
}

fn post(address: SocketAddr) -> Target {
    let input = Input::fp32("x", &[1, 784]);
    let body = floats(&input, 1).into_iter().flat_map(f32::to_le_bytes).collect();
    let payload = Payload { content_type: "application/octet-stream", header_bytes: None, body };
    let request = http_request(&address.to_string(), "/", &payload);
    Target::one(address, request, Expect::default())
}
