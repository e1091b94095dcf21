//! Outcomes for the tests of this room: made of real histograms, judged by the real judge.

use std::time::Duration;

use serde_json::json;

use super::html::{Better, Compared, RateRow, RowState};
use crate::environment::Environment;
use crate::measured::Measured;
use crate::outcome::{Circumstances, Outcome};
use crate::record::Latencies;
use crate::session::{STRETCH, Sight};
use crate::timing::ServerTiming;
use crate::verdict::{Terms, judge};

const PER_STRETCH: u64 = 1_000;
const SLO: Duration = Duration::from_millis(20);

/// Latencies from 100 µs upward, the longest some 10 times the median.
fn stretch(lag_us: u64) -> Measured {
    let mut measured = Measured {
        due: PER_STRETCH,
        sent: PER_STRETCH,
        answered: PER_STRETCH,
        window: STRETCH,
        own_cpu_ns: 20_000_000,
        ..Measured::default()
    };
    let timing = ServerTiming { queue_us: 12, lane_us: 20, model_us: 40, batch_rows: 1 };
    for index in 0..PER_STRETCH {
        let service_ns = 100_000 + 1_000_000 / (PER_STRETCH - index);
        measured.service.record(service_ns);
        measured.latency.record(service_ns + lag_us * 1_000);
        measured.send_lag.record(lag_us * 1_000);
        measured.read_lag.record(3_000);
        measured.stages.record(service_ns, timing);
    }
    measured
}

pub(crate) fn stretches(count: u64) -> Vec<Measured> {
    (0..count).map(|index| stretch(5 + index)).collect()
}

fn outcome_of(stretches: &[Measured]) -> Outcome {
    let (mut whole, mut timeline) = (Measured::default(), Vec::new());
    for stretch in stretches {
        whole.add(stretch);
        timeline.push(Sight { at: whole.window, stretch, whole: &whole }.into());
    }
    let terms = Terms { open_loop: true, slo: Some(SLO), connections_max: 64 };
    Outcome::new(
        &whole,
        Circumstances {
            never_sleeps: false,
            load: "open loop, Poisson, 2,000 requests/s".to_owned(),
            scenario: json!({ "model": "noop", "url": "http://127.0.0.1:8000", "slo_ms": 20.0 }),
            verdict: judge(&whole, terms),
            environment: environment(),
            timeline,
        },
    )
}

fn environment() -> Environment {
    Environment {
        at_unix_s: 1_795_649_164,
        cpu: "a processor".to_owned(),
        cores: 2,
        memory_mib: 8_192,
        kernel: "6.1".to_owned(),
        governor: None,
        cpu_quota: None,
        steal_share: Some(0.012),
        version: "0.1.0",
        git_revision: Some("abcdef012345+".to_owned()),
        server: Some("foil".to_owned()),
        command_line: vec!["foil-bench".to_owned(), "run".to_owned()],
    }
}

pub(crate) fn good() -> Outcome {
    outcome_of(&stretches(20))
}

/// Late, and short of what was due.
pub(crate) fn invalid() -> Outcome {
    let mut stretches: Vec<Measured> = (0..20).map(|_| stretch(700)).collect();
    stretches[3].due += 2 * PER_STRETCH;
    outcome_of(&stretches)
}

pub(crate) fn failing() -> Outcome {
    let mut stretches = stretches(20);
    let bad = &mut stretches[7];
    bad.failures.wrong_status = 480;
    bad.failures.closed = 20;
    bad.answered -= 500;
    (0..400).for_each(|_| bad.blocked.record(9_000_000));
    outcome_of(&stretches)
}

pub(crate) fn partial() -> Outcome {
    let mut stretches = stretches(3);
    stretches[2].stopped = true;
    outcome_of(&stretches)
}

/// Too short for any tail.
pub(crate) fn short() -> Outcome {
    let mut few = Measured { due: 9, sent: 9, answered: 9, window: STRETCH, ..Measured::default() };
    for spans in [&mut few.latency, &mut few.service, &mut few.send_lag, &mut few.read_lag] {
        (1..=9).for_each(|us: u64| spans.record(us * 1_000));
    }
    outcome_of(&[few])
}

pub(crate) fn unanswered() -> Outcome {
    let mut silent = Measured { due: 900, sent: 900, window: STRETCH, ..Measured::default() };
    silent.failures.refused = 900;
    silent.send_lag = Latencies::default();
    outcome_of(&[silent.clone(), silent])
}

/// Rates in steps of 1,000; the last two miss.
pub(crate) fn rates_of(count: usize) -> Vec<RateRow> {
    let row = |index: usize| {
        let (rate, missed) = ((index + 1) as f64 * 1_000.0, index + 2 >= count);
        RateRow {
            rate,
            answered_per_second: Some(if missed { 6_100.0 } else { rate }),
            p50_us: Some(200.0 * 1.2f64.powi(index as i32)),
            tail_us: Some(if missed { 90_000.0 } else { 900.0 * 1.4f64.powi(index as i32) }),
            failures: 0,
            state: if missed { RowState::Missed } else { RowState::Held },
            evidence: "2 of 2 runs".to_owned(),
        }
    };
    (0..count).map(row).collect()
}

pub(crate) fn compared(name: &str, ratio: f64, better: Better) -> Compared {
    Compared {
        name: name.to_owned(),
        first: "50.0 µs".to_owned(),
        second: "40.0 µs".to_owned(),
        ratio,
        low: ratio - 0.02,
        high: ratio + 0.02,
        better,
    }
}
