//! The models under test, as model repositories: what each takes, and how its batches are formed. Pure, but for writing.

use crate::overhead::OverheadError;
use crate::overhead::servers::Workplace;

const MLP: &str = include_str!("../../models/mlp.py");
/// `2 + 0.25 b` ms, the device of the literature and of the simulator.
const FIXED_US: u32 = 2_000;
const PER_ROW_US: u32 = 250;
/// A curve is measured with full batches: longer than a batch takes, so that each is.
const FILL_MS: u32 = 50;

/// What a model does with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Sleeps a known time: replicas don't share a core that way.
    Sleep,
    /// Computes for a known time, on the server's core.
    Compute,
    /// A multi-layer perceptron in NumPy, on the server's core.
    Mlp,
}

impl Work {
    /// As in the keys of the result.
    pub(super) fn name(self) -> &'static str {
        match self {
            Work::Sleep => "timed",
            Work::Compute => "compute",
            Work::Mlp => "mlp",
        }
    }

    /// Whether its batches and the engine's own work take turns on one core.
    pub(super) fn shares_the_core(self) -> bool {
        self != Work::Sleep
    }

    /// Numbers in a row.
    pub(super) fn row(self) -> u64 {
        match self {
            Work::Sleep | Work::Compute => 1,
            Work::Mlp => 784,
        }
    }

    pub(super) fn batch_max(self) -> u32 {
        match self {
            Work::Sleep | Work::Compute => 64,
            Work::Mlp => 256,
        }
    }

    /// Batches whose time is measured; between them the curve is straight.
    pub(super) fn sizes(self) -> &'static [u32] {
        match self {
            Work::Sleep | Work::Compute => &[1, 2, 4, 8, 16, 24, 32, 48, 56, 64],
            Work::Mlp => &[1, 4, 16, 32, 64, 96, 128, 192, 256],
        }
    }

    fn runtime(self) -> String {
        let timed = |mode: &str| {
            format!(
                "runtime = \"native\"\nkind = \"timed\"\n[env]\nTIMED_FIXED_US = \"{FIXED_US}\"\nTIMED_PER_ROW_US = \"{PER_ROW_US}\"\nTIMED_MODE = \"{mode}\"\n"
            )
        };
        match self {
            Work::Sleep => timed("sleep"),
            Work::Compute => timed("compute"),
            Work::Mlp => "[env]\nOPENBLAS_NUM_THREADS = \"1\"\nOMP_NUM_THREADS = \"1\"\n".into(),
        }
    }
}

/// How a model's batches are formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forming {
    /// By the engine's controller, under the promise.
    Learned,
    /// By hand, under the promise.
    Static { rows: u32, delay_ms: u32 },
    /// Always full and without a promise, to see what they take.
    Full { rows: u32 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Served {
    pub(super) forming: Forming,
    pub(super) replicas: u32,
}

impl Served {
    pub(super) fn learned(replicas: u32) -> Served {
        Served { forming: Forming::Learned, replicas }
    }

    pub(super) fn by_hand(rows: u32, delay_ms: u32) -> Served {
        Served { forming: Forming::Static { rows, delay_ms }, replicas: 1 }
    }

    pub(super) fn full(rows: u32) -> Served {
        Served { forming: Forming::Full { rows }, replicas: 1 }
    }

    /// Also the model's name.
    pub(super) fn name(&self) -> String {
        match self.forming {
            Forming::Learned => format!("learned_n{}", self.replicas),
            Forming::Static { rows, delay_ms } => format!("static_{rows}_{delay_ms}ms"),
            Forming::Full { rows } => format!("full_{rows}"),
        }
    }

    fn settings(&self, work: Work) -> String {
        let promise = "slo = \"20ms\"\nlate = \"shed\"\n";
        let fixed = |rows: u32, delay_ms: u32| {
            format!("[fixed_batches]\nsize = {rows}\ndelay = \"{delay_ms}ms\"\n")
        };
        let (promise, fixed) = match self.forming {
            Forming::Learned => (promise, String::new()),
            Forming::Static { rows, delay_ms: 0 } => {
                (promise, format!("[fixed_batches]\nsize = {rows}\n"))
            }
            Forming::Static { rows, delay_ms } => (promise, fixed(rows, delay_ms)),
            Forming::Full { rows } => ("", fixed(rows, FILL_MS)),
        };
        let (replicas, batch_max) = (self.replicas, work.batch_max());
        let sizes = format!("replicas = {replicas}\nmax_batch = {batch_max}\n");
        format!("{sizes}{promise}{}{fixed}", work.runtime())
    }
}

/// Writes a repository of these models into the workplace; its name is that of the folder.
pub(super) fn write(
    workplace: &Workplace,
    folder: &str,
    work: Work,
    models: &[Served],
) -> Result<(), OverheadError> {
    for model in models {
        let name = model.name();
        workplace.write(&format!("{folder}/{name}/model.toml"), &model.settings(work))?;
        let (file, text) = if work == Work::Mlp { ("model.py", MLP) } else { ("README", "") };
        workplace.write(&format!("{folder}/{name}/1/{file}"), text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_curve_is_measured_without_the_promise() {
        let text = |served: Served| served.settings(Work::Sleep);
        assert!(text(Served::learned(4)).contains("slo = \"20ms\""));
        assert!(text(Served::learned(4)).contains("replicas = 4"));
        assert!(!text(Served::learned(1)).contains("fixed_batches"));
        assert!(text(Served::by_hand(16, 2)).ends_with("size = 16\ndelay = \"2ms\"\n"));
        assert!(!text(Served::by_hand(16, 0)).contains("delay"));
        assert!(!text(Served::full(8)).contains("slo"));
    }

    #[test]
    fn names_tell_models_apart() {
        let all = [
            Served::learned(1),
            Served::learned(4),
            Served::by_hand(1, 0),
            Served::by_hand(1, 2),
            Served::full(1),
        ];
        let names: std::collections::BTreeSet<String> = all.iter().map(Served::name).collect();
        assert_eq!(names.len(), all.len());
    }
}
