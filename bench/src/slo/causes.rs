//! Why a request was not answered on time: a name for each miss. Pure.

use std::collections::BTreeMap;

use super::curve::Curve;
use super::tally::{LEAD_NS, Outcome, Played, SLO_NS, outcome};
use crate::timing::ServerTiming;
use crate::trace::{Ended, Record};

/// Names and counts of the misses of a run, those in excluded seconds under a name of their own.
pub(super) fn causes(played: &Played, curve: &Curve) -> BTreeMap<&'static str, u64> {
    let mut causes = BTreeMap::new();
    let counted = |due_ns: u64| due_ns >= LEAD_NS;
    let records = played.records.iter().filter(|record| counted(record.due_ns));
    let mut ended = 0;
    for record in records {
        ended += 1;
        let Some(cause) = cause(record, curve) else { continue };
        let calm = played.is_calm(record.due_ns - LEAD_NS);
        *causes.entry(if calm { cause } else { "in an excluded second" }).or_default() += 1;
    }
    let due = played.due_ns.iter().filter(|&&due_ns| counted(due_ns)).count();
    if due > ended {
        causes.insert("never sent, or never answered", (due - ended) as u64);
    }
    causes
}

/// Milliseconds of answered requests outside queue, lane and model, from their sending: at the median and the 99th
/// percentile. The engine can't see most of it; what it promises is promised without.
pub(super) fn outside_ms(played: &Played) -> Option<(f64, f64)> {
    let of = |record: &Record| match record.ended {
        Ended::Answered { timing: Some(timing), .. } => Some(outside_us(record, timing) / 1e3),
        _ => None,
    };
    let mut all: Vec<f64> = played.records.iter().filter_map(of).collect();
    all.sort_by(f64::total_cmp);
    let at = |share: f64| all.get((all.len() as f64 * share) as usize).copied();
    Some((at(0.5)?, at(0.99)?))
}

fn outside_us(record: &Record, timing: ServerTiming) -> f64 {
    let told_us = f64::from(timing.queue_us) + f64::from(timing.service_us());
    (record.ended_ns - record.sent_ns) as f64 / 1e3 - told_us
}

/// None for a request that was answered on time.
fn cause(record: &Record, curve: &Curve) -> Option<&'static str> {
    Some(match (outcome(record), record.ended) {
        (Outcome::OnTime, _) => return None,
        (Outcome::Refused, _) => "503: turned away by prediction",
        (Outcome::Expired, _) => "504: expired",
        (Outcome::Late, Ended::Answered { timing: Some(timing), .. }) => {
            late(record, timing, curve)
        }
        (Outcome::Late, _) => "late, without the server's timing",
        (Outcome::Failed, Ended::Closed) => "connection closed",
        (Outcome::Failed, Ended::Answered { .. }) => "another status",
    })
}

/// The first stage that by itself took what the answer was too late by; the queue when none did, since the batch
/// could have left earlier.
fn late(record: &Record, timing: ServerTiming, curve: &Curve) -> &'static str {
    let us = |ns: u64| ns as f64 / 1e3;
    let too_late_us = us((record.ended_ns - record.due_ns).saturating_sub(SLO_NS));
    let waited_us = us(record.sent_ns - record.due_ns);
    let expected_us = curve.ms(timing.batch_rows) * 1e3;
    if waited_us >= too_late_us {
        "late: the client sent it late"
    } else if outside_us(record, timing) >= too_late_us {
        "late: on the way, outside queue, lane and model"
    } else if f64::from(timing.lane_us) >= too_late_us {
        "late: in the lane"
    } else if f64::from(timing.service_us()) - expected_us >= too_late_us {
        "late: the model took longer than its curve"
    } else {
        "late: in the queue"
    }
}

#[cfg(test)]
mod tests {
    use super::super::curve::Point;
    use super::*;

    const MS: u64 = 1_000_000;

    fn answered(sent_ms: u64, ended_ms: u64, stages_ms: [u32; 3]) -> Record {
        let [queue_us, lane_us, model_us] = stages_ms.map(|ms| ms * 1_000);
        let timing = Some(ServerTiming { queue_us, lane_us, model_us, batch_rows: 8 });
        let due_ns = LEAD_NS;
        Record {
            due_ns,
            sent_ns: due_ns + sent_ms * MS,
            ended_ns: due_ns + ended_ms * MS,
            ended: Ended::Answered { status: 200, timing },
        }
    }

    /// Batches of 8 take 10 ms.
    fn curve() -> Curve {
        Curve::new(vec![Point { rows: 8, ms: 10.0 }]).expect("a curve")
    }

    #[test]
    fn the_stage_that_took_too_long_is_named() {
        let of = |record: Record| cause(&record, &curve());
        assert_eq!(of(answered(0, 20, [9, 1, 10])), None);
        assert_eq!(of(answered(5, 25, [9, 1, 10])), Some("late: the client sent it late"));
        let outside = Some("late: on the way, outside queue, lane and model");
        assert_eq!(of(answered(0, 25, [5, 1, 10])), outside);
        assert_eq!(of(answered(0, 25, [5, 10, 10])), Some("late: in the lane"));
        let model = Some("late: the model took longer than its curve");
        assert_eq!(of(answered(0, 25, [6, 1, 18])), model);
        assert_eq!(of(answered(0, 25, [14, 1, 10])), Some("late: in the queue"));
    }

    #[test]
    fn the_time_outside_is_what_the_engine_does_not_tell_of() {
        let records = vec![answered(0, 20, [9, 1, 9]), answered(3, 25, [5, 1, 10])];
        let played = Played { records, ..Played::default() };
        assert_eq!(outside_ms(&played), Some((6.0, 6.0)));
        assert_eq!(outside_ms(&Played::default()), None);
    }

    #[test]
    fn every_miss_of_a_run_is_counted_once() {
        let refused = |due_ns: u64| Record {
            due_ns,
            sent_ns: due_ns,
            ended_ns: due_ns + MS,
            ended: Ended::Answered { status: 503, timing: None },
        };
        let records = vec![
            answered(0, 5, [1, 1, 3]),
            refused(LEAD_NS + MS),
            refused(LEAD_NS + 1_500 * MS),
            refused(1),
        ];
        let mut due_ns: Vec<u64> = records.iter().map(|record| record.due_ns).collect();
        due_ns.push(LEAD_NS + 2 * MS);
        let played = Played { due_ns, records, excluded: vec![false, true] };
        let expected = [
            ("503: turned away by prediction", 1),
            ("in an excluded second", 1),
            ("never sent, or never answered", 1),
        ];
        assert_eq!(causes(&played, &curve()), BTreeMap::from(expected));
    }
}
