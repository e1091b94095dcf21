//! One run of the engine given to the simulator: the same arrivals, batches as slow as they were.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::SloError;
use super::tally::{Played, SLO_MS};
use crate::timing::ServerTiming;
use crate::trace::Ended;

/// As the simulator's `--replay` reads it.
pub(super) fn capture(played: &Played, replicas: u32) -> Value {
    let all = played.whole();
    json!({
        "slo_ms": SLO_MS,
        "replicas": replicas,
        "arrivals_ns": played.due_ns,
        "batches": batches(played),
        "on_time": all.on_time,
        "late": all.late,
        "shed": all.due - all.on_time - all.late,
    })
}

/// Rows and service time of every batch, in the order of their first answers. All answers of one batch tell the same
/// of it, to the microsecond; two batches that tell the same are told apart by their number of answers.
fn batches(played: &Played) -> Vec<(u32, u32)> {
    let mut answers: BTreeMap<ServerTiming, u32> = BTreeMap::new();
    let mut batches = Vec::new();
    for record in &played.records {
        let Ended::Answered { timing: Some(timing), .. } = record.ended else { continue };
        // Tasks of one batch waited for different times.
        let batch = ServerTiming { queue_us: 0, ..timing };
        let seen = answers.entry(batch).or_default();
        if seen.is_multiple_of(timing.batch_rows) {
            batches.push((timing.batch_rows, timing.service_us()));
        }
        *seen += 1;
    }
    batches
}

/// On-time answers of the engine over those of the simulator.
pub(super) fn engine_over_simulator(
    simulator: &Path,
    file: &Path,
    played: &Played,
    replicas: u32,
) -> Result<f64, SloError> {
    std::fs::write(file, capture(played, replicas).to_string()).map_err(SloError::Simulator)?;
    let arguments = ["--bars", "none", "--json", "--replay"];
    let mut command = Command::new(simulator);
    command.args(arguments).arg(file).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().map_err(SloError::Simulator)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let replayed = replayed_on_time(&text).filter(|_| output.status.success());
    let replayed = replayed.ok_or(SloError::NoReplay)?;
    Ok(played.whole().on_time as f64 / replayed)
}

/// From the last line of what the simulator printed.
fn replayed_on_time(text: &str) -> Option<f64> {
    let figures: Value = serde_json::from_str(text.lines().last()?).ok()?;
    figures["replay_on_time"].as_f64().filter(|count| *count > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Record;

    fn answered(queue_us: u32, batch_rows: u32, model_us: u32) -> Record {
        let timing = Some(ServerTiming { queue_us, lane_us: 10, model_us, batch_rows });
        let ended = Ended::Answered { status: 200, timing };
        Record { due_ns: 0, sent_ns: 0, ended_ns: 1_000_000, ended }
    }

    #[test]
    fn a_batch_is_told_once_however_many_it_answered() {
        let records = vec![
            answered(1, 2, 500),
            answered(9, 1, 300),
            answered(2, 2, 500),
            answered(3, 2, 500),
            answered(4, 2, 500),
        ];
        let due_ns = vec![0; 6];
        let played = Played { due_ns, records, excluded: vec![] };
        assert_eq!(batches(&played), [(2, 510), (1, 310), (2, 510)]);
        let capture = capture(&played, 4);
        assert_eq!((&capture["on_time"], &capture["shed"]), (&json!(5), &json!(1)));
        assert_eq!((&capture["slo_ms"], &capture["replicas"]), (&json!(20.0), &json!(4)));
        assert_eq!(capture["batches"][0], json!([2, 510]));
    }

    #[test]
    fn the_simulators_last_line_tells() {
        let text = "seeds 1 to 5\n{\"replay_on_time\": 90, \"replay_total\": 100}\n";
        assert_eq!(replayed_on_time(text), Some(90.0));
        assert_eq!(replayed_on_time("no json"), None);
        assert_eq!(replayed_on_time("{\"replay_on_time\": 0}"), None);
    }
}
