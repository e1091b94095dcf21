//! What a request asks of the allocator, once all is warm: how often, how much, and from where.
//!
//! `cargo bench -p engine --bench allocations [-- --json]`. The walk is that of the benchmark `instructions`: hyper,
//! tokio and the engine count, the clients and the container do not. `--sites` shows the lines that allocate.

use std::backtrace::Backtrace;
use std::collections::BTreeMap;
use std::process::ExitCode;

use bench::payload::Encoding;
use bench::report::Table;
use clap::Parser;
use serde_json::{Map, Value};

use self::counted::{REQUESTS, WARM_REQUESTS};
use self::tracing::{Detail, close, open, paused};
use self::walk::{Load, Outcome, Walk};

#[path = "corridor/counted.rs"]
mod counted;
#[path = "corridor/readings.rs"]
mod readings;
#[path = "corridor/tracing.rs"]
mod tracing;
#[path = "corridor/walk.rs"]
mod walk;

/// Backtraces cost milliseconds each.
const TRACED_REQUESTS: u64 = 128;

#[derive(Parser)]
struct Cli {
    /// End with one line of JSON
    #[arg(long)]
    json: bool,
    /// Show where allocations come from, line by line
    #[arg(long)]
    sites: bool,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match measure(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("allocations: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(cli: &Cli) -> Outcome<()> {
    let mut table = Table::new(&["a request", "allocations", "bytes", "batch"]);
    let (mut figures, mut all_sites) = (Map::new(), Vec::new());
    for (name, encoding) in [("binary", Encoding::Binary), ("json", Encoding::Json)] {
        for connections in [1, 64] {
            let name = format!("{name}_batch_{connections}");
            let walk = warmed_up(Load { encoding, connections })?;
            let found = count(&walk);
            let cells = [found.allocations, found.bytes, found.rows_per_batch];
            table.row([name.clone()].into_iter().chain(cells.map(|cell| format!("{cell:.2}"))));
            figures.insert(format!("{name}_allocations"), found.allocations.into());
            figures.insert(format!("{name}_bytes"), found.bytes.into());
            if cli.sites {
                all_sites.push(by_site(&name, &sites(&walk)));
            }
        }
    }
    print!("{table}");
    all_sites.iter().for_each(|sites| print!("\n{sites}"));
    if cli.json {
        println!("{}", Value::Object(figures));
    }
    Ok(())
}

fn warmed_up(load: Load) -> Outcome<Walk> {
    let walk = Walk::start(load, paused)?;
    walk.ask(WARM_REQUESTS);
    Ok(walk)
}

/// A request's, on average.
struct Found {
    allocations: f64,
    bytes: f64,
    rows_per_batch: f64,
}

fn count(walk: &Walk) -> Found {
    open(Detail::Counts);
    walk.ask(REQUESTS);
    let (account, _) = close();
    let requests = REQUESTS as f64;
    Found {
        allocations: account.allocations as f64 / requests,
        bytes: account.bytes as f64 / requests,
        rows_per_batch: walk.rows_per_batch(),
    }
}

/// A request's, on average, that come from one place.
#[derive(Default)]
struct Site {
    allocations: f64,
    bytes: f64,
}

fn sites(walk: &Walk) -> BTreeMap<String, Site> {
    open(Detail::Sites);
    walk.ask(TRACED_REQUESTS);
    let (_, traced) = close();
    let mut sites = BTreeMap::<String, Site>::new();
    for (backtrace, bytes) in &traced {
        let site = sites.entry(origin(backtrace)).or_default();
        site.allocations += 1.0 / TRACED_REQUESTS as f64;
        site.bytes += *bytes as f64 / TRACED_REQUESTS as f64;
    }
    sites
}

/// The line that wanted memory, without the standard library's, and where it is another crate's our line that called it.
fn origin(backtrace: &Backtrace) -> String {
    let text = backtrace.to_string();
    let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix("at "));
    let mut known = lines.filter_map(line_of);
    let Some(first) = known.next() else { return "unknown".to_owned() };
    let caller = known.find(|line| line.is_ours);
    match caller.filter(|_| !first.is_ours) {
        Some(ours) => format!("{} from {}", first.place, ours.place),
        None => first.place,
    }
}

struct Line {
    is_ours: bool,
    /// The file, from the workspace's root or its crate's name, and the number.
    place: String,
}

/// `None`: the standard library's, or this benchmark's.
fn line_of(at: &str) -> Option<Line> {
    let (place, _column) = at.rsplit_once(':')?;
    if place.contains("/library/") || place.contains("/benches/") {
        return None;
    }
    if let Some((_, in_registry)) = place.split_once("/registry/src/") {
        let (_index, place) = in_registry.split_once('/')?;
        return Some(Line { is_ours: false, place: place.to_owned() });
    }
    let here = env!("CARGO_MANIFEST_DIR");
    let root = here.strip_suffix("engine").unwrap_or(here);
    let place = match place.strip_prefix("./") {
        Some(of_this_crate) => format!("engine/{of_this_crate}"),
        None => place.strip_prefix(root).unwrap_or(place).to_owned(),
    };
    Some(Line { is_ours: true, place })
}

fn by_site(name: &str, sites: &BTreeMap<String, Site>) -> Table {
    let mut table = Table::new(&[name, "allocations", "bytes"]);
    let mut sites: Vec<_> = sites.iter().collect();
    sites.sort_by(|a, b| b.1.allocations.total_cmp(&a.1.allocations));
    for (origin, site) in sites {
        let cells = [site.allocations, site.bytes].map(|cell| format!("{cell:.2}"));
        table.row([origin.clone()].into_iter().chain(cells));
    }
    table
}
