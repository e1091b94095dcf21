//! B11: unlike replicas of one model on the real engine. A bulk device that is fast for many (`15 + 0.25 b` ms) and two
//! quick ones that are fast for few (`1.5 + 5 b` ms), behind one queue, beside two models, one for each kind, among which
//! somebody split the requests by hand. Those are the design's devices, deadlines and rates at a fifth of their speed, so
//! that neither the server's one core nor a machine's usual noise decides.
//!
//! Two classes: urgent requests bring a deadline of 25 ms, normal ones have the model's 125 ms. A mix's figure is the mean
//! of both classes' shares on time, so that neither is bought with the other. The static split is the best of a grid, tried
//! on the very mix. Then the urgent share shifts within a run: the split stays the one that was best before.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::SloError;
use super::figures::Figures;
use super::served::Work;
use super::stage::{Place, Stage};
use super::tally::{LEAD_NS, Played, SECOND_NS};
use crate::arrivals::{Stretch, stretches};
use crate::overhead::OverheadError;
use crate::overhead::servers::Workplace;
use crate::payload::{Encoding, Input, http_request, payload};
use crate::plan::{Expect, Request, Target, Transport};
use crate::trace::{Ended, Record};

/// By class: urgent, normal.
const DEADLINES_MS: [u64; 2] = [25, 125];
/// Share of urgent requests, and after the shift.
const URGENT: f64 = 0.15;
const URGENT_SHIFTED: f64 = 0.4;
/// Requests a second of the mixes; and of the one that shifts.
const RATES: [f64; 4] = [200.0, 600.0, 1_200.0, 1_800.0];
const RATE_SHIFTED: f64 = 1_200.0;
/// Of each class, the share that goes to the quick devices: what somebody would try.
const SPLITS: [[f64; 2]; 5] = [[1.0, 0.0], [0.85, 0.0], [0.7, 0.0], [1.0, 0.05], [0.85, 0.1]];
const SEED: u64 = 11;

const BOTH: &str = "unlike";
const BULK: &str = "bulk";
const QUICK: &str = "quick";
/// Replicas of the model for both kinds, and again those of the models for one.
const BULKS: u64 = 1;
const QUICKS: u64 = 2;
const BULK_ENV: &str = "TIMED_FIXED_US = \"15000\"\nTIMED_PER_ROW_US = \"250\"\n";
const QUICK_ENV: &str = "TIMED_FIXED_US = \"1500\"\nTIMED_PER_ROW_US = \"5000\"\n";

/// Who answers what.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    OneQueue,
    /// The shares of each class that go to the quick model.
    Split([f64; 2]),
}

/// The requests of a run: when each is due and of which class.
struct Mix {
    due_ns: Vec<u64>,
    classes: Vec<usize>,
    span_ns: u64,
}

pub(super) fn measure(place: &Place, seconds: u32, figures: &mut Figures) -> Result<(), SloError> {
    let mut stage = Stage::with(place, Work::Sleep, 2 * (BULKS + QUICKS), write)?;
    let mut before = Way::Split(SPLITS[0]);
    let mut gains = Vec::with_capacity(RATES.len());
    for rate in RATES {
        let mix = Mix::steady(rate, URGENT, seconds).ok_or(SloError::NoLoad)?;
        let ours = of_both(stage.shares_of(Way::OneQueue, &mix, 0)?);
        let (best, apart) = stage.best_split(&mix)?;
        figures.put(&format!("B11_one_queue_{rate}"), ours);
        figures.put(&format!("B11_best_split_{rate}"), apart);
        gains.push(ours - apart);
        if rate == RATE_SHIFTED {
            before = best;
        }
    }
    figures.put("B11_vs_static", lowest(&gains));
    let mix = Mix::shifting(RATE_SHIFTED, seconds).ok_or(SloError::NoLoad)?;
    let after_ns = u64::from(seconds) * SECOND_NS;
    let [urgent, normal] = stage.shares_of(Way::OneQueue, &mix, after_ns)?;
    let [split_urgent, split_normal] = stage.shares_of(before, &mix, after_ns)?;
    figures.put("B11_urgent_gain", urgent - split_urgent);
    figures.put("B11_shifted_urgent", urgent);
    figures.put("B11_shifted_normal", normal);
    figures.put("B11_shifted_urgent_split", split_urgent);
    figures.put("B11_shifted_normal_split", split_normal);
    figures.add(stage.shares());
    Ok(())
}

/// Not a number if one of them is none.
fn lowest(gains: &[f64]) -> f64 {
    // `min` would pass over what is no number.
    let lower = |least, gain: f64| if gain < least || gain.is_nan() { gain } else { least };
    gains.iter().copied().fold(f64::INFINITY, lower)
}

fn of_both(shares: [f64; 2]) -> f64 {
    (shares[0] + shares[1]) / 2.0
}

impl Stage {
    /// The best of the grid on this mix, with its figure; not a number if that of a split is none.
    fn best_split(&mut self, mix: &Mix) -> Result<(Way, f64), SloError> {
        let mut best = (Way::Split(SPLITS[0]), f64::NEG_INFINITY);
        for split in SPLITS.map(Way::Split) {
            let figure = of_both(self.shares_of(split, mix, 0)?);
            if figure > best.1 || figure.is_nan() {
                best = (split, figure);
            }
        }
        Ok(best)
    }

    /// By class, the share on time of what was due later than `from_ns` after the lead.
    fn shares_of(&mut self, way: Way, mix: &Mix, from_ns: u64) -> Result<[f64; 2], SloError> {
        let requests = way.requests(&self.address().to_string(), &mix.classes);
        let target =
            Target { address: self.address().into(), transport: Transport::Http1, requests };
        let played = self.play_listed(&target, mix.due_ns.clone(), mix.span_ns)?;
        let shares = shares(&played, &mix.classes, from_ns);
        let [urgent, normal] = shares.map(|share| share * 100.0);
        println!(
            "{way:?}: {} due, urgent {urgent:.1} %, normal {normal:.1} % on time",
            mix.due_ns.len()
        );
        Ok(shares)
    }
}

impl Mix {
    fn steady(rate: f64, urgent: f64, seconds: u32) -> Option<Mix> {
        Mix::of(rate, u64::from(seconds) * SECOND_NS, |_| urgent)
    }

    /// Twice as long; from the middle on more are urgent.
    fn shifting(rate: f64, seconds: u32) -> Option<Mix> {
        let half_ns = u64::from(seconds) * SECOND_NS;
        let urgent = |due_ns| if due_ns < LEAD_NS + half_ns { URGENT } else { URGENT_SHIFTED };
        Mix::of(rate, 2 * half_ns, urgent)
    }

    fn of(rate: f64, span_ns: u64, urgent: impl Fn(u64) -> f64) -> Option<Mix> {
        let span_ns = LEAD_NS + span_ns;
        let due_ns = stretches(&[Stretch { span_ns, rate }], SEED)?;
        let mut rng = SmallRng::seed_from_u64(SEED);
        let class = |due_ns: &u64| usize::from(rng.random::<f64>() >= urgent(*due_ns));
        let classes = due_ns.iter().map(class).collect();
        Some(Mix { due_ns, classes, span_ns })
    }
}

impl Way {
    /// One for each that is due.
    fn requests(self, host: &str, classes: &[usize]) -> Vec<Request> {
        let mut rng = SmallRng::seed_from_u64(SEED ^ 1);
        let made = [QUICK, BULK, BOTH].map(|model| [0, 1].map(|class| request(host, model, class)));
        let [quick, bulk, both] = made;
        let of_class = |class: usize| match self {
            Way::OneQueue => both[class].clone(),
            Way::Split(shares) if rng.random::<f64>() < shares[class] => quick[class].clone(),
            Way::Split(_) => bulk[class].clone(),
        };
        classes.iter().copied().map(of_class).collect()
    }
}

fn request(host: &str, model: &str, class: usize) -> Request {
    let payload = payload(Encoding::Binary, &[Input::fp32("x", &[1, 1])], SEED);
    let bytes = http_request(host, &format!("/v2/models/{model}/infer"), &payload);
    let line_ends = bytes.windows(2).position(|pair| pair == b"\r\n").map_or(0, |at| at + 2);
    let (line, rest) = bytes.split_at(line_ends);
    let deadline = format!("X-Request-Timeout-Ms: {}\r\n", DEADLINES_MS[class]);
    let bytes = [line, deadline.as_bytes(), rest].concat();
    Request { bytes, expect: Expect { status: Some(200), ..Expect::default() } }
}

fn shares(played: &Played, classes: &[usize], from_ns: u64) -> [f64; 2] {
    let counts = |due_ns: u64| {
        let after_ns = due_ns.checked_sub(LEAD_NS).filter(|after_ns| *after_ns >= from_ns);
        after_ns.is_some_and(|after_ns| played.is_calm(after_ns))
    };
    let (mut due, mut on_time) = ([0_u64; 2], [0_u64; 2]);
    for (_, class) in played.due_ns.iter().zip(classes).filter(|it| counts(*it.0)) {
        due[*class] += 1;
    }
    for record in played.records.iter().filter(|record| counts(record.due_ns)) {
        let nth = played.due_ns.partition_point(|due_ns| *due_ns < record.due_ns);
        let Some(&class) = classes.get(nth) else { continue };
        on_time[class] += u64::from(is_on_time(record, class));
    }
    [0, 1].map(|class| on_time[class] as f64 / due[class] as f64)
}

fn is_on_time(record: &Record, class: usize) -> bool {
    let within = record.ended_ns - record.due_ns <= DEADLINES_MS[class] * 1_000_000;
    within && matches!(record.ended, Ended::Answered { status: 200, .. })
}

/// One model with both kinds of device, and one for each kind.
fn write(workplace: &Workplace, folder: &str) -> Result<(), OverheadError> {
    let timed = "runtime = \"native\"\nkind = \"timed\"\nmax_batch = 256\nlate = \"shed\"\n";
    let [urgent_ms, normal_ms] = DEADLINES_MS;
    let group = |name: &str, replicas: u64, env: &str| {
        format!("[[devices]]\nname = \"{name}\"\nreplicas = {replicas}\n[devices.env]\n{env}")
    };
    let (bulk, quick) = (group(BULK, BULKS, BULK_ENV), group(QUICK, QUICKS, QUICK_ENV));
    let models = [
        (BOTH, normal_ms, format!("{bulk}{quick}")),
        (BULK, normal_ms, bulk),
        (QUICK, urgent_ms, quick),
    ];
    for (name, slo_ms, groups) in models {
        let settings = format!("{timed}slo = \"{slo_ms}ms\"\n{groups}");
        workplace.write(&format!("{folder}/{name}/model.toml"), &settings)?;
        workplace.write(&format!("{folder}/{name}/1/README"), "")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_is_held_to_its_own_deadline_after_the_shift_only() {
        let record = |after_ms: u64, took_ms: u64| {
            let due_ns = LEAD_NS + after_ms * 1_000_000;
            let ended = Ended::Answered { status: 200, timing: None };
            Record { due_ns, sent_ns: due_ns, ended_ns: due_ns + took_ms * 1_000_000, ended }
        };
        let records = vec![record(1, 90), record(1_001, 24), record(1_002, 26), record(1_003, 26)];
        let due_ns = records.iter().map(|record| record.due_ns).collect();
        let played = Played { due_ns, records, excluded: vec![false; 2] };
        assert_eq!(shares(&played, &[0, 0, 0, 1], SECOND_NS), [0.5, 1.0]);
    }

    #[test]
    fn a_mix_that_was_disturbed_throughout_is_not_left_out_of_the_lowest() {
        assert!((lowest(&[0.1, -0.2, 0.3]) - -0.2).abs() < 1e-9);
        assert!(lowest(&[0.1, f64::NAN, 0.3]).is_nan());
    }

    #[test]
    fn a_mix_shifts_in_its_middle() {
        let mix = Mix::shifting(1_000.0, 10).expect("a load");
        let urgent = |later: bool| {
            let half_ns = LEAD_NS + 10 * SECOND_NS;
            let of_half =
                mix.due_ns.iter().zip(&mix.classes).filter(|it| (*it.0 >= half_ns) == later);
            let classes: Vec<usize> = of_half.map(|it| *it.1).collect();
            classes.iter().filter(|class| **class == 0).count() as f64 / classes.len() as f64
        };
        assert!(
            (urgent(false) - URGENT).abs() < 0.02 && (urgent(true) - URGENT_SHIFTED).abs() < 0.02
        );
    }

    #[test]
    fn a_split_sends_each_class_its_way_with_its_deadline() {
        let requests = Way::Split([1.0, 0.0]).requests("host", &[0, 1]);
        let text = |nth: usize| String::from_utf8_lossy(&requests[nth].bytes).into_owned();
        assert!(
            text(0).starts_with(
                "POST /v2/models/quick/infer HTTP/1.1\r\nX-Request-Timeout-Ms: 25\r\n"
            )
        );
        assert!(
            text(1).starts_with(
                "POST /v2/models/bulk/infer HTTP/1.1\r\nX-Request-Timeout-Ms: 125\r\n"
            )
        );
    }
}
