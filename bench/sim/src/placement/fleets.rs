//! Fleets to plan for, drawn by seed.

use std::time::Duration;

use engine::fleet::devices::inventory::{Cpus, Gpu, Host, Inventory, Node};
use engine::fleet::placement::{Ask, Choice, Curve, Demand, Kind};
use engine::ids::DeviceClass;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const GB: u64 = 1 << 30;
const GPUS_A_HOST: usize = 8;
/// Replicas of one model in a small fleet, which exhaustive search multiplies by.
const REPLICAS_SMALL: u32 = 2;
const REPLICAS_LARGE: u32 = 4;

pub(super) struct Fleet {
    pub(super) inventory: Inventory,
    pub(super) demands: Vec<Demand>,
}

impl Fleet {
    /// A host or two with up to three GPUs and a few cores, and up to three models that don't always fit.
    pub(super) fn small(seed: u64) -> Fleet {
        let mut rng = SmallRng::seed_from_u64(seed);
        let gpus = rng.random_range(0..=3);
        let mut hosts = vec![host(&mut rng, 0, gpus.min(2))];
        if gpus > 2 {
            hosts.push(host(&mut rng, 1, gpus - 2));
        }
        let inventory = Inventory { hosts };
        let count = rng.random_range(1..=3);
        let demands = (0..count).map(|nth| small_demand(&mut rng, nth)).collect();
        Fleet { inventory, demands }
    }

    /// So many models on as many GPUs, whose memory their least replicas fill to `load` and whose time their rates do.
    pub(super) fn large(count: usize, load: f64, seed: u64) -> Fleet {
        let mut rng = SmallRng::seed_from_u64(seed);
        let hosts = (0..count / GPUS_A_HOST).map(|nth| {
            let gpu = |at: usize| gpu(&format!("GPU-{nth:03}-{at}"), 80);
            let cpus = Cpus { nodes: nodes(2, 32, 512), ..Cpus::default() };
            Host { name: format!("h{nth:03}"), cpus, gpus: (0..GPUS_A_HOST).map(gpu).collect() }
        });
        let inventory = Inventory { hosts: hosts.collect() };
        let demands = (0..count).map(|nth| large_demand(&mut rng, nth, load)).collect();
        Fleet { inventory, demands }
    }

    pub(super) fn rate_rows_s(&self) -> f64 {
        self.demands.iter().map(|it| it.ask.rate_rows_s).sum()
    }
}

fn host(rng: &mut SmallRng, nth: usize, gpus: usize) -> Host {
    let gpu = |at| {
        let gb = [16, 24, 40][rng.random_range(0..3)];
        gpu(&format!("GPU-{nth}-{at}"), gb)
    };
    let gpus = (0..gpus).map(gpu).collect();
    let cores = rng.random_range(1..=3);
    let cpus = Cpus { nodes: nodes(1, cores, 32), ..Cpus::default() };
    Host { name: format!("h{nth}"), cpus, gpus }
}

fn gpu(uuid: &str, gb: u64) -> Gpu {
    Gpu { uuid: uuid.into(), name: "H100".into(), memory_bytes: gb * GB, ..Gpu::default() }
}

fn nodes(count: u32, cores: usize, gb: u64) -> Vec<Node> {
    let of_node = |id: u32| (0..cores).map(move |core| vec![id as usize * cores + core]).collect();
    (0..count).map(|id| Node { id, memory_bytes: gb * GB, cores: of_node(id) }).collect()
}

fn small_demand(rng: &mut SmallRng, nth: usize) -> Demand {
    let options = match rng.random_range(0..4) {
        0 => vec![on_cpu(rng)],
        1 => vec![on_gpu(rng)],
        _ => vec![on_gpu(rng), on_cpu(rng)],
    };
    let slo = Some(Duration::from_millis(rng.random_range(10..60)));
    let rate_rows_s = 10_f64.powf(rng.random_range(0.0..4.5));
    let ask = Ask { model: format!("m{nth}"), options, slo, rate_rows_s };
    let weight = [1.0, 1.0, 3.0][rng.random_range(0..3)];
    Demand { ask, weight, replicas_min: rng.random_range(0..=1), replicas_max: REPLICAS_SMALL }
}

fn large_demand(rng: &mut SmallRng, nth: usize, load: f64) -> Demand {
    let memory_bytes = (rng.random_range(0.1..1.9) * load * 78.0 * GB as f64) as u64;
    let gpu = Choice { memory_bytes: memory_bytes.min(79 * GB), ..on_gpu(rng) };
    let options = if rng.random_bool(0.5) { vec![gpu, on_cpu(rng)] } else { vec![gpu] };
    let slo = Some(Duration::from_millis(rng.random_range(20..100)));
    let mut ask = Ask { model: format!("m{nth:04}"), options, slo, rate_rows_s: 0.0 };
    let most = ask.options[0].curve.as_ref().and_then(|it| it.capacity(slo, 1));
    let share = rng.random_range(0.0..2.0) * load;
    ask.rate_rows_s = most.map_or(1.0, |it| it.rows_s) * share;
    Demand { ask, weight: 1.0, replicas_min: 1, replicas_max: REPLICAS_LARGE }
}

fn on_gpu(rng: &mut SmallRng) -> Choice {
    let on = Kind::Gpu { name: None, whole: rng.random_bool(0.1) };
    let curve = curve(rng.random_range(1.0..9.0), rng.random_range(0.02..0.2));
    choice(0, on, rng.random_range(1..20), curve)
}

fn on_cpu(rng: &mut SmallRng) -> Choice {
    let on = Kind::Cpu { threads: rng.random_range(0..=2), exact: None };
    let curve = curve(rng.random_range(0.1..2.0), rng.random_range(0.3..3.0));
    choice(1, on, rng.random_range(1..4), curve)
}

fn choice(class: u8, on: Kind, gb: u64, curve: Curve) -> Choice {
    let (class, curve) = (DeviceClass(class), Some(curve));
    Choice { class, on, memory_bytes: gb * GB, curve }
}

fn curve(fixed_ms: f64, each_ms: f64) -> Curve {
    let point = |rows: f64| (rows, fixed_ms + each_ms * rows);
    Curve::new([1.0, 64.0].map(point)).expect("two sane points")
}
