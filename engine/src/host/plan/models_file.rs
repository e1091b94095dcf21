//! The file of `foil plan`: models with what they need, by the names of model.toml, and how fast they were measured.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use schemas::lifecycle::REPLICAS_MAX;
use serde::Deserialize;

use crate::config::{ConfigError, ModelToml, duration, parse};
use crate::fleet::device_groups::{DeviceGroup, DeviceGroupError, DeviceGroups, Wants};
use crate::fleet::launch::{MemoryError, parse_memory};
use crate::fleet::placement::{Ask, Choice, Curve, CurveError, Demand, Kind};
use crate::ids::DeviceClass;

/// Ten times what the planner is measured with.
const MODELS_MAX: usize = 10_000;
/// Some hundred bytes for each.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Keys of `batch_ms` that are no GPU's name.
const CPU: &str = "cpu";
const GPU: &str = "gpu";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    models: Vec<Model>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    name: String,
    slo: Option<String>,
    /// Rows a second.
    #[serde(default)]
    rate: f64,
    weight: Option<f64>,
    replicas: Option<u32>,
    replicas_min: Option<u32>,
    replicas_max: Option<u32>,
    device: Option<String>,
    memory: Option<String>,
    gpu_memory: Option<String>,
    gpu: Option<String>,
    gpu_whole: Option<bool>,
    threads: Option<u32>,
    cpus: Option<Vec<usize>>,
    /// By `cpu`, `gpu` or how a GPU's name begins: rows and milliseconds.
    #[serde(default)]
    batch_ms: BTreeMap<String, Vec<(f64, f64)>>,
}

#[derive(Debug, thiserror::Error)]
pub enum ModelsFileError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is longer than {FILE_BYTES_MAX} bytes; it is a list of models")]
    TooLong { path: PathBuf },
    #[error(transparent)]
    Syntax(ConfigError),
    #[error("{path} lists {count} models; use at most {MODELS_MAX}")]
    TooMany { path: PathBuf, count: usize },
    #[error("{path}: the model '{model}' is there twice; each has a name of its own")]
    Twice { path: PathBuf, model: String },
    #[error("{path}: {model}: {what}")]
    Model { path: PathBuf, model: String, what: ModelFault },
}

#[derive(Debug, thiserror::Error)]
pub enum ModelFault {
    #[error("{0}")]
    Slo(ConfigError),
    #[error(transparent)]
    Devices(#[from] DeviceGroupError),
    #[error("memory {0}")]
    Memory(#[from] MemoryError),
    #[error("batch_ms is of {count} devices; use at most {max}", max = DeviceClass::COUNT_MAX)]
    TooManyDevices { count: usize },
    #[error("batch_ms.{device}: {error}")]
    Curve { device: String, error: CurveError },
    #[error("batch_ms.{device} is of no device that it may run on; set device, or leave it out")]
    NoSuchDevice { device: String },
    #[error("rate is {rate}; write rows a second, 0 or more")]
    Rate { rate: f64 },
    #[error("weight is {weight}; write more than 0")]
    Weight { weight: f64 },
    #[error("replicas stands beside replicas_min or replicas_max; leave one of them out")]
    ReplicasTwice,
    #[error("replicas_max is {max}, less than the least, {min}")]
    Replicas { min: u32, max: u32 },
    #[error("it may have {count} replicas; use at most {REPLICAS_MAX}")]
    TooManyReplicas { count: u32 },
}

pub(super) fn read(path: &Path) -> Result<Vec<Demand>, ModelsFileError> {
    let read = |source| ModelsFileError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(read)?.len() > FILE_BYTES_MAX {
        return Err(ModelsFileError::TooLong { path: path.to_owned() });
    }
    let text = std::fs::read_to_string(path).map_err(read)?;
    let File { models } = parse(path, &text).map_err(ModelsFileError::Syntax)?;
    if models.len() > MODELS_MAX {
        return Err(ModelsFileError::TooMany { path: path.to_owned(), count: models.len() });
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = models.iter().find(|model| !names.insert(&model.name)) {
        let (path, model) = (path.to_owned(), twice.name.clone());
        return Err(ModelsFileError::Twice { path, model });
    }
    let in_file = |model: &Model, what| {
        let (path, model) = (path.to_owned(), model.name.clone());
        ModelsFileError::Model { path, model, what }
    };
    models.iter().map(|model| model.demand().map_err(|what| in_file(model, what))).collect()
}

impl Model {
    fn demand(&self) -> Result<Demand, ModelFault> {
        let (replicas_min, replicas_max) = self.replicas()?;
        let slo = self.slo.as_deref().map(duration).transpose().map_err(ModelFault::Slo)?;
        let (rate, weight) = (self.rate, self.weight.unwrap_or(1.0));
        if !(rate.is_finite() && rate >= 0.0) {
            return Err(ModelFault::Rate { rate });
        }
        if !(weight.is_finite() && weight > 0.0) {
            return Err(ModelFault::Weight { weight });
        }
        let (model, options) = (self.name.clone(), self.options()?);
        let ask = Ask { model, options, slo, rate_rows_s: rate };
        Ok(Demand { ask, weight, replicas_min, replicas_max })
    }

    fn replicas(&self) -> Result<(u32, u32), ModelFault> {
        let bounds = (self.replicas, self.replicas_min, self.replicas_max);
        let (min, max) = match bounds {
            (Some(count), None, None) => (count, count),
            (Some(_), _, _) => return Err(ModelFault::ReplicasTwice),
            (None, min, max) => {
                let min = min.unwrap_or(1);
                (min, max.unwrap_or(min))
            }
        };
        match max {
            max if max < min => Err(ModelFault::Replicas { min, max }),
            count if count > REPLICAS_MAX => Err(ModelFault::TooManyReplicas { count }),
            max => Ok((min, max)),
        }
    }

    /// By the engine's own reading of the keys.
    fn options(&self) -> Result<Vec<Choice>, ModelFault> {
        let toml = ModelToml {
            device: self.device.clone(),
            gpu_memory: self.gpu_memory.clone(),
            gpu: self.gpu.clone(),
            gpu_whole: self.gpu_whole,
            threads: self.threads,
            cpus: self.cpus.clone(),
            ..ModelToml::default()
        };
        let groups = DeviceGroups::read(&toml)?;
        let mut curves = self.curves()?;
        let mut options = Vec::new();
        for group in groups.iter() {
            self.add_options(group, &mut curves, &mut options)?;
        }
        match curves.into_keys().next() {
            Some(device) => Err(ModelFault::NoSuchDevice { device }),
            None => Ok(options),
        }
    }

    fn curves(&self) -> Result<BTreeMap<String, Curve>, ModelFault> {
        let count = self.batch_ms.len();
        if count > DeviceClass::COUNT_MAX {
            return Err(ModelFault::TooManyDevices { count });
        }
        let curve = |(device, points): (&String, &Vec<(f64, f64)>)| {
            let curve = Curve::new(points.iter().copied());
            let failed = |error| ModelFault::Curve { device: device.clone(), error };
            Ok((device.clone(), curve.map_err(failed)?))
        };
        self.batch_ms.iter().map(curve).collect()
    }

    /// A choice for each kind of GPU that was measured by name, and one for any where that was measured, or none by name.
    fn add_options(
        &self,
        group: &DeviceGroup,
        curves: &mut BTreeMap<String, Curve>,
        options: &mut Vec<Choice>,
    ) -> Result<(), ModelFault> {
        let mut add = |on: Kind, memory_bytes: u64, curve: Option<Curve>| {
            let class = DeviceClass(options.len() as u8);
            options.push(Choice { class, on, memory_bytes, curve });
        };
        let Wants::Gpu { name, memory_bytes, whole } = &group.wants else {
            add(group.kind(), self.memory_bytes()?, curves.remove(CPU));
            return Ok(());
        };
        let of_any = curves.remove(GPU);
        let allowed = |known: &String| {
            known != CPU && name.as_ref().is_none_or(|name| begins_alike(known, name))
        };
        let known: Vec<String> = curves.keys().filter(|known| allowed(known)).cloned().collect();
        let at_large = known.is_empty() || of_any.is_some();
        for known in &known {
            // Of the two, the one that says more: what was measured of all H100 is no leave to go to any.
            let wished = name.as_ref().filter(|name| name.len() > known.len());
            let on = Kind::Gpu { name: Some(wished.unwrap_or(known).clone()), whole: *whole };
            add(on, *memory_bytes, curves.remove(known));
        }
        if at_large {
            add(group.kind(), *memory_bytes, of_any);
        }
        Ok(())
    }

    fn memory_bytes(&self) -> Result<u64, ModelFault> {
        Ok(self.memory.as_deref().map(parse_memory).transpose()?.unwrap_or(0))
    }
}

/// One is the beginning of the other.
fn begins_alike(a: &str, b: &str) -> bool {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    a.starts_with(&b) || b.starts_with(&a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<Demand>, ModelsFileError> {
        let file = std::env::temp_dir().join(format!(
            "foil-models-{}-{:?}.toml",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::write(&file, text).expect("a file in /tmp");
        let read = read(&file);
        std::fs::remove_file(&file).expect("it was written");
        read
    }

    fn one(keys: &str) -> Result<Demand, ModelsFileError> {
        of(&format!("[[models]]\nname = \"a\"\n{keys}")).map(|mut all| all.remove(0))
    }

    #[test]
    fn a_model_of_few_words_is_one_replica_on_the_cpu() {
        let demand = one("").expect("a model");
        assert_eq!((demand.replicas_min, demand.replicas_max, demand.weight), (1, 1, 1.0));
        let [only] = &demand.ask.options[..] else { panic!("one choice") };
        assert_eq!(only.on, Kind::Cpu { threads: 0, exact: None });
        assert_eq!(
            one("replicas = 3").map(|it| (it.replicas_min, it.replicas_max)).unwrap(),
            (3, 3)
        );
    }

    #[test]
    fn each_measured_kind_of_gpu_is_a_choice_before_the_others() {
        let demand = one(
            "device = \"auto\"\ngpu_memory = \"2g\"\nthreads = 4\nslo = \"20ms\"\n[models.batch_ms]\ncpu = [[1, 9.0]]\ngpu = [[1, 2.0], [64, 9]]\nH100 = [[1, 1.5]]\n",
        )
        .expect("a model");
        let options: Vec<_> =
            demand.ask.options.iter().map(|it| (it.on.clone(), it.memory_bytes)).collect();
        let gpu = |name: Option<&str>| Kind::Gpu { name: name.map(str::to_owned), whole: false };
        let cpu = Kind::Cpu { threads: 4, exact: None };
        assert_eq!(options, [(gpu(Some("H100")), 2 << 30), (gpu(None), 2 << 30), (cpu, 0)]);
        assert!(demand.ask.options.iter().all(|choice| choice.curve.is_some()));
    }

    #[test]
    fn a_gpu_that_is_asked_for_is_the_one_though_more_were_measured_together() {
        let kinds = |gpu: &str| {
            let curve = "batch_ms = { H100 = [[1, 1.5]] }";
            let demand = one(&format!("device = \"gpu\"\ngpu = \"{gpu}\"\n{curve}"));
            let options = demand.expect("a model").ask.options;
            options.into_iter().map(|it| it.on).collect::<Vec<_>>()
        };
        let of = |name: &str| [Kind::Gpu { name: Some(name.to_owned()), whole: true }];
        assert_eq!(kinds("H100 80GB"), of("H100 80GB"));
        assert_eq!(kinds("H"), of("H100"), "the others were not measured");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_sentence() {
        let says = |keys: &str| one(keys).expect_err("refused").to_string();
        assert!(says("slow = 1").contains("unknown field") || says("slow = 1").contains("slo"));
        assert!(says("slo = \"20\"").contains("duration"));
        assert!(says("rate = -1.0").contains("a: rate is -1"));
        assert!(says("weight = 0.0").contains("more than 0"));
        assert!(says("replicas = 1\nreplicas_max = 2").contains("leave one of them out"));
        assert!(says("replicas_min = 3\nreplicas_max = 2").contains("less than the least, 3"));
        assert!(says("replicas = 4000000000").contains("use at most 1024"));
        assert!(says("device = \"tpu\"").contains("use cpu, gpu or auto"));
        assert!(says("memory = \"much\"").contains("2g or 512m"));
        assert!(says("batch_ms = { cpu = [] }").contains("batch_ms.cpu: it has no point"));
        assert!(says("batch_ms = { gpu = [[1, 1]] }").contains("batch_ms.gpu is of no device"));
        let many: String = (0..17).map(|nth| format!("H{nth} = [[1, 1]], ")).collect();
        let many = says(&format!("device = \"gpu\"\nbatch_ms = {{ {many}H = [[1, 1]] }}"));
        assert!(many.contains("18 devices; use at most 16"), "{many}");
        let twice =
            of("[[models]]\nname = \"a\"\n[[models]]\nname = \"a\"\n").expect_err("refused");
        assert!(twice.to_string().contains("'a' is there twice"));
    }
}
