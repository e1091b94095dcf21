//! What reading a request's JSON takes: one body of 784 values, from bytes to rows of float32.
//!
//! `cargo bench -p engine --bench json_scanner [-- --json]`. Three ways to write the values: with four decimals, as
//! most clients round them; in the shortest form that reads back the same, as libraries print them; and whole. Batches
//! of bodies are timed, so that the clock does not count; bodies take turns, so that no branch predictor learns one.

use std::hint::black_box;
use std::process::ExitCode;

use bench::clock::Clock;
use bench::compare::spread;
use bench::micro::{Cli, Outcome, Rounds, run};
use bench::report::Table;
use bench::threads::on_core;
use engine::codec::json_tensor::parse_request;

const ROUNDS: Rounds = Rounds { usual: 21, max: 1001 };
/// Times all bodies are read in a round, and in the first one that does not count.
const PASSES: usize = 50;

const VALUES: usize = 784;
/// More values than a branch predictor remembers.
const BODIES: usize = 32;

fn main() -> ExitCode {
    run("json_scanner", ROUNDS, measure)
}

fn measure(cli: &Cli, rounds: usize) -> Outcome<()> {
    let mut table = Table::new(&["json_scanner", "ns a body", "min", "max", "bytes", "MB/s"]);
    let mut figures = serde_json::Map::new();
    for (name, write) in KINDS {
        let bodies: Vec<String> = (0..BODIES).map(|number| body(number, write)).collect();
        let bytes = bodies.iter().map(String::len).sum::<usize>() as f64 / BODIES as f64;
        let took_ns = on_core(Some(cli.core), || read_often(&bodies, rounds))??;
        let found = spread(&took_ns).ok_or("nothing was measured")?;
        let cells = [found.median, found.min, found.max, bytes, bytes * 1e3 / found.median];
        let cells = cells.map(|value| format!("{value:.0}"));
        table.row([name.to_owned()].into_iter().chain(cells));
        figures.insert(format!("json_{name}_ns"), found.median.round().into());
    }
    print!("{table}");
    if cli.json {
        println!("{}", serde_json::Value::Object(figures));
    }
    Ok(())
}

/// Nanoseconds a body took, on average in each round.
fn read_often(bodies: &[String], rounds: usize) -> Outcome<Vec<f64>> {
    read(bodies)?;
    (0..rounds).map(|_| read(bodies)).collect()
}

fn read(bodies: &[String]) -> Outcome<f64> {
    let clock = Clock::start();
    for _ in 0..PASSES {
        for body in bodies {
            let request = parse_request(black_box(body).as_bytes());
            black_box(request.map_err(|fault| format!("{fault:?}"))?);
        }
    }
    Ok(clock.now_ns() as f64 / (PASSES * bodies.len()) as f64)
}

// ---- bodies ----

type Write = fn(u64) -> String;

const KINDS: [(&str, Write); 3] = [
    ("four_decimals", |bits| format!("{:.4}", unit(bits))),
    ("shortest", |bits| format!("{}", unit(bits) as f32)),
    ("integers", |bits| format!("{}", bits % 256)),
];

fn body(number: usize, write: Write) -> String {
    let first = (number * VALUES) as u64;
    let values: Vec<String> =
        (first..first + VALUES as u64).map(|nth| write(scattered(nth))).collect();
    format!(
        r#"{{"inputs":[{{"name":"x","shape":[1,{VALUES}],"datatype":"FP32","data":[{}]}}]}}"#,
        values.join(",")
    )
}

/// The same bits at every run (SplitMix64, Steele et al. 2014).
fn scattered(nth: u64) -> u64 {
    let mut bits = nth.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// From 0 to 1.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}
