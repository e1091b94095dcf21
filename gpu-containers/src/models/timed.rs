//! Takes a known time for a batch: `fixed + per_row · rows`, asleep or at work. For measuring what forms the batches.
//!
//! Settings come from the environment, `[env]` in model.toml: `TIMED_FIXED_US` and `TIMED_PER_ROW_US` in microseconds,
//! fractions allowed, and `TIMED_MODE`, `sleep` (the default) or `compute`. A computing model counts the time its own
//! thread ran: what others take from its core makes the batch longer, as it would any model's.

use std::path::Path;
use std::time::Duration;

use schemas::lifecycle::ModelSpec;
use schemas::tensor::{DType, Dim};

use super::{spec, tensor};
use crate::batch::{Batch, Outputs};
use crate::clock::{Clock, thread_cpu_ns};
use crate::model::{LoadError, Model, Refusal};

const FIXED_US: &str = "TIMED_FIXED_US";
const PER_ROW_US: &str = "TIMED_PER_ROW_US";
const MODE: &str = "TIMED_MODE";
/// A longer batch is a mistake in the unit.
const SPAN_MAX_US: f64 = 60e6;
/// Additions between two looks at the thread's clock: about a microsecond.
const ADDITIONS_PER_LOOK: u32 = 1_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Sleep,
    Compute,
}

#[derive(Debug, Default, PartialEq)]
pub struct Timed {
    fixed_us: f64,
    per_row_us: f64,
    mode: Mode,
}

impl Model for Timed {
    fn describe(&self) -> ModelSpec {
        let of = |name| vec![tensor(name, DType::F32, &[Dim::Batch, Dim::Fixed(1)])];
        spec("timed", of("x"), of("output"))
    }

    fn load(&mut self, _directory: &Path) -> Result<(), LoadError> {
        *self = configured(|name| std::env::var(name).ok())?;
        Ok(())
    }

    fn predict(&mut self, batch: &Batch<'_>, outputs: &mut Outputs) -> Result<(), Refusal> {
        let clock = Clock::start();
        let span = self.span(batch.rows)?;
        match self.mode {
            Mode::Sleep => clock.sleep_until(span),
            Mode::Compute => compute(span),
        }
        outputs.numbers(&[u64::from(batch.rows), 1], batch.inputs[0].f32());
        Ok(())
    }
}

impl Timed {
    fn span(&self, rows: u32) -> Result<Duration, Refusal> {
        let us = self.fixed_us + self.per_row_us * f64::from(rows);
        if us > SPAN_MAX_US {
            let message = format!(
                "{rows} rows would take {us} µs, more than {SPAN_MAX_US}; lower {PER_ROW_US}"
            );
            return Err(Refusal::Raised(message));
        }
        Ok(Duration::from_nanos((us * 1e3) as u64))
    }
}

fn configured(get: impl Fn(&'static str) -> Option<String>) -> Result<Timed, LoadError> {
    let fixed_us = micros(FIXED_US, get(FIXED_US))?;
    let per_row_us = micros(PER_ROW_US, get(PER_ROW_US))?;
    let mode = match get(MODE).as_deref() {
        None | Some("sleep") => Mode::Sleep,
        Some("compute") => Mode::Compute,
        Some(other) => {
            let message = format!("is '{other}'; write sleep or compute");
            return Err(LoadError::Setting { name: MODE, message });
        }
    };
    Ok(Timed { fixed_us, per_row_us, mode })
}

fn micros(name: &'static str, given: Option<String>) -> Result<f64, LoadError> {
    let wrong = |message: String| LoadError::Setting { name, message };
    let text = given.ok_or_else(|| wrong("is missing from [env] in model.toml".into()))?;
    let sane = text.parse().ok().filter(|us: &f64| (0.0..=SPAN_MAX_US).contains(us));
    sane.ok_or_else(|| wrong(format!("is '{text}'; write microseconds from 0 to {SPAN_MAX_US}")))
}

/// Keeps the core busy until this thread has run for `span`.
fn compute(span: Duration) {
    let end_ns = thread_cpu_ns() + span.as_nanos() as u64;
    let mut sum = 0_u32;
    while thread_cpu_ns() < end_ns {
        for number in 0..ADDITIONS_PER_LOOK {
            sum = std::hint::black_box(sum.wrapping_add(number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(settings: &[(&'static str, &str)]) -> Result<Timed, String> {
        let get = |name| {
            let found = settings.iter().find(|(given, _)| *given == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        configured(get).map_err(|error| error.to_string())
    }

    #[test]
    fn a_batch_takes_the_fixed_time_and_that_of_its_rows() {
        let timed = of(&[(FIXED_US, "2000"), (PER_ROW_US, "0.5")]).unwrap();
        assert_eq!(timed.span(32), Ok(Duration::from_micros(2016)));
        assert_eq!(timed.mode, Mode::Sleep);
        let computing = of(&[(FIXED_US, "1"), (PER_ROW_US, "0"), (MODE, "compute")]).unwrap();
        assert_eq!(computing.mode, Mode::Compute);
    }

    #[test]
    fn a_wrong_setting_is_named_with_what_to_write() {
        assert!(of(&[(FIXED_US, "1")]).unwrap_err().contains("TIMED_PER_ROW_US is missing"));
        for wrong in ["-1", "NaN", "soon", "1e9"] {
            let error = of(&[(FIXED_US, wrong), (PER_ROW_US, "1")]).unwrap_err();
            assert!(error.contains("TIMED_FIXED_US is") && error.contains(wrong), "{error}");
        }
        let error = of(&[(FIXED_US, "1"), (PER_ROW_US, "1"), (MODE, "spin")]).unwrap_err();
        assert!(error.contains("sleep or compute"), "{error}");
    }

    #[test]
    fn a_batch_that_would_take_minutes_is_refused() {
        let timed = of(&[(FIXED_US, "0"), (PER_ROW_US, "60000000")]).unwrap();
        assert!(timed.span(1).is_ok());
        assert!(timed.span(2).is_err());
    }

    #[test]
    fn computing_takes_the_time_of_the_thread_and_sleeping_that_of_the_clock() {
        let span = Duration::from_millis(3);
        let before_ns = thread_cpu_ns();
        compute(span);
        assert!(thread_cpu_ns() - before_ns >= 3_000_000);
        let clock = Clock::start();
        clock.sleep_until(span);
        assert!(clock.now_ns() >= 3_000_000);
    }
}
