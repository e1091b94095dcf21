//! `foil-bench run`: load on one model of an Open Inference Protocol server, shaped by the model's own metadata.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::arrivals::{Arrivals, Pattern};
use crate::driver::{DriverError, drive};
use crate::http::{HttpError, exchange, get};
use crate::measured::Measured;
use crate::payload::{Encoding, Input, PayloadError, http_request, inputs_of, payload};
use crate::plan::{Expect, Load, Plan, Target, Wait};
use crate::record::Summary;
use crate::report::{Table, count, us};
use crate::threads::{PinError, on_core};

/// An hour: long enough for any question, and an end for a forgotten one.
const SECONDS_MAX: f64 = 3_600.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Body {
    Binary,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Gaps {
    Constant,
    Poisson,
}

/// Open loop with `--rate`, closed loop without.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The server, as in http://127.0.0.1:8000
    pub url: String,
    #[arg(long)]
    pub model: String,
    #[arg(long)]
    pub version: Option<u64>,
    #[arg(long, value_enum, default_value = "binary")]
    pub body: Body,
    /// Rows of each request
    #[arg(long, default_value_t = 1)]
    pub rows: u64,
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// Requests a second that are due, whether or not the server keeps up
    #[arg(long)]
    pub rate: Option<f64>,
    /// Gaps between the due times of an open loop
    #[arg(long, value_enum, default_value = "poisson")]
    pub arrivals: Gaps,
    /// Measured time
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Unmeasured time before
    #[arg(long, default_value_t = 1.0)]
    pub warm_up: f64,
    /// Ends the run early after this many
    #[arg(long, default_value_t = u64::MAX)]
    pub requests: u64,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Pins the driver to this core, where it then never sleeps
    #[arg(long)]
    pub core: Option<usize>,
    /// Every answer must equal the first one, byte by byte
    #[arg(long)]
    pub same_answer: bool,
    /// Allows a server on another machine
    #[arg(long)]
    pub allow_remote: bool,
    /// One line of JSON after the table
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("'{url}' is no address; write it as http://host:port")]
    Url { url: String },
    #[error("{address} is on another machine; add --allow-remote if loading it is what you mean")]
    Remote { address: SocketAddr },
    #[error("give --seconds and --warm-up between 0 and {SECONDS_MAX}, and a --rate above 0")]
    Numbers,
    #[error("the server answered {status} to {path}: {body}")]
    Refused { path: String, status: u16, body: String },
    #[error("the metadata of the model are not JSON: {0}")]
    Metadata(serde_json::Error),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Payload(#[from] PayloadError),
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error(transparent)]
    Pin(#[from] PinError),
}

/// True when every answer was right.
pub fn run(args: &Args) -> Result<bool, RunError> {
    let plan = plan_of(args)?;
    let address = address_of(&args.url, args.allow_remote)?;
    let target = target_of(args, address)?;
    let measured = on_core(args.core, || drive(&target, &plan, &mut |_| {}))??;
    print!("{}", table(&measured));
    println!("{}", outcome(&measured));
    if args.json {
        println!("{}", as_json(&measured));
    }
    Ok(measured.failures.total() == 0 && measured.answered > 0)
}

/// Loopback unless told otherwise: nobody should load a stranger's server by a typing error.
pub fn address_of(url: &str, allow_remote: bool) -> Result<SocketAddr, RunError> {
    let wrong = || RunError::Url { url: url.to_owned() };
    let host = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    let mut found = host.to_socket_addrs().map_err(|_| wrong())?;
    let address = found.next().ok_or_else(wrong)?;
    if address.ip().is_loopback() || allow_remote {
        Ok(address)
    } else {
        Err(RunError::Remote { address })
    }
}

fn plan_of(args: &Args) -> Result<Plan, RunError> {
    let span = |seconds: f64| {
        let sane = (0.0..=SECONDS_MAX).contains(&seconds);
        sane.then(|| Duration::from_secs_f64(seconds)).ok_or(RunError::Numbers)
    };
    let load = match args.rate {
        None => Load::Closed,
        Some(rate) => {
            let pattern = match args.arrivals {
                Gaps::Constant => Pattern::Constant,
                Gaps::Poisson => Pattern::Poisson,
            };
            Load::Open(Arrivals::new(pattern, rate, args.seed).ok_or(RunError::Numbers)?)
        }
    };
    Ok(Plan {
        connections: args.connections,
        connections_max: args.connections,
        load,
        wait: if args.core.is_some() { Wait::Spin } else { Wait::Sleep },
        warm_up: span(args.warm_up)?,
        measure: span(args.seconds)?,
        requests_max: args.requests,
    })
}

fn target_of(args: &Args, address: SocketAddr) -> Result<Target, RunError> {
    let path = model_path(args);
    let inputs = inputs_of(&metadata(address, &path)?, args.rows)?;
    let request = request_of(args, address, &path, &inputs);
    let first = exchange(address, &request)?;
    if first.status != 200 {
        return Err(refused(format!("{path}/infer"), first.status, &first.body));
    }
    let expect =
        Expect { status: Some(200), body: args.same_answer.then_some(first.body), values: None };
    Ok(Target::one(address, request, expect))
}

fn model_path(args: &Args) -> String {
    let version = args.version.map_or_else(String::new, |version| format!("/versions/{version}"));
    format!("/v2/models/{}{version}", args.model)
}

fn metadata(address: SocketAddr, path: &str) -> Result<Value, RunError> {
    let answer = get(address, path)?;
    if answer.status != 200 {
        return Err(refused(path.to_owned(), answer.status, &answer.body));
    }
    serde_json::from_slice(&answer.body).map_err(RunError::Metadata)
}

fn request_of(args: &Args, address: SocketAddr, path: &str, inputs: &[Input]) -> Vec<u8> {
    let encoding = match args.body {
        Body::Binary => Encoding::Binary,
        Body::Json => Encoding::Json,
    };
    let payload = payload(encoding, inputs, args.seed);
    http_request(&address.to_string(), &format!("{path}/infer"), &payload)
}

fn refused(path: String, status: u16, body: &[u8]) -> RunError {
    RunError::Refused { path, status, body: String::from_utf8_lossy(body).into_owned() }
}

fn table(measured: &Measured) -> Table {
    let mut table = Table::new(&["µs", "p50", "p99", "p99.9", "max"]);
    let rows = [
        ("latency (from the due time)", measured.latency.summary()),
        ("service (from the send)", measured.service.summary()),
        ("send lag", measured.send_lag.summary()),
    ];
    for (name, Summary { p50_us, p99_us, p999_us, max_us, .. }) in rows {
        table.row([name.to_owned(), us(p50_us), us(p99_us), us(p999_us), us(max_us)]);
    }
    table
}

fn outcome(measured: &Measured) -> String {
    let rate = count(measured.requests_per_second());
    let answered = count(measured.answered as f64);
    match measured.failures.total() {
        0 => format!("{answered} answers, {rate} a second, no failures"),
        _ => format!("{answered} answers, {rate} a second, failures: {:?}", measured.failures),
    }
}

fn as_json(measured: &Measured) -> Value {
    json!({
        "answered": measured.answered,
        "requests_per_second": measured.requests_per_second(),
        "latency": measured.latency.summary(),
        "service": measured.service.summary(),
        "send_lag": measured.send_lag.summary(),
        "failures": measured.failures,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_loaded_unless_told_otherwise() {
        assert!(address_of("http://127.0.0.1:8000/", false).is_ok());
        assert!(address_of("[::1]:8000", false).is_ok());
        assert!(matches!(address_of("http://192.0.2.1:80", false), Err(RunError::Remote { .. })));
        assert!(address_of("http://192.0.2.1:80", true).is_ok());
        assert!(matches!(address_of("http://nothing", false), Err(RunError::Url { .. })));
    }
}
