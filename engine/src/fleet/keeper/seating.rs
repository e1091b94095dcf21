//! Where a life of a replica runs: the group that it belongs to, and its seat on a device.

use std::rc::Rc;
use std::time::Duration;

use super::{Keeper, LifeError};
use crate::cli::Launcher;
use crate::fleet::cores;
use crate::fleet::device_groups::{DeviceGroup, Wants};
use crate::fleet::devices::inventory::DeviceId;
use crate::fleet::placement::{Ask, Choice, Seat};
use crate::fleet::seats::Taken;
use crate::ids::DeviceClass;

/// Where one life runs.
pub(super) struct Sits {
    pub(super) class: DeviceClass,
    /// None: wherever the system lets it.
    pub(super) seat: Option<Taken>,
}

impl Sits {
    /// Where it is pinned; None: anywhere.
    pub(super) fn cpus(&self) -> Option<&[usize]> {
        self.seat.as_ref().and_then(Taken::cpus)
    }

    pub(super) fn gpu(&self) -> Option<&str> {
        self.seat.as_ref().and_then(Taken::gpu)
    }

    /// The NUMA node whose memory it gets; None: any.
    pub(super) fn memory_node(&self) -> Option<u32> {
        self.seat.as_ref().and_then(Taken::memory_node)
    }

    /// The NUMA node that what it reads and writes should lie in.
    pub(super) fn node(&self) -> Option<u32> {
        self.cpus().and_then(cores::node_of).or(self.memory_node())
    }
}

impl Keeper {
    /// A seat, of another class than `other_than`.
    pub(super) fn sit(&self, other_than: Option<DeviceClass>) -> Result<Sits, LifeError> {
        let options: Vec<_> = self.model.target.devices.options(self.replica).collect();
        if let [(class, group)] = options[..]
            && !group.is_seated()
        {
            let seat = group.cpus.clone().map(|cpus| self.named(class, cpus));
            return Ok(Sits { class, seat });
        }
        let mut ask = self.ask();
        ask.options.retain(|choice| {
            Some(choice.class) != other_than && self.trial.is_none_or(|class| choice.class == class)
        });
        if let (Some(why), true) = (self.no_gpu_runtime(), ask.options.is_empty()) {
            return Err(LifeError::NoGpuRuntime { why: why.as_ref().into() });
        }
        let seat = self.shared.seats.take(&ask)?;
        Ok(Sits { class: seat.seat.class, seat: Some(seat) })
    }

    /// Where it would go if it started now, its own seat being free; None while not all that it could have was measured.
    pub(super) fn best(&self, taken: &Taken) -> Option<Seat> {
        let ask = self.ask();
        let measured = ask.options.iter().all(|choice| choice.curve.is_some());
        if measured { self.shared.seats.best(&ask, taken).ok() } else { None }
    }

    fn no_gpu_runtime(&self) -> Option<Rc<str>> {
        let docker = self.launcher() == Launcher::Docker;
        self.shared.seats.no_gpu_runtime().filter(|_| docker)
    }

    /// Docker had no GPU to give, and is not asked again for a while: whether this replica may run without one.
    pub(super) fn goes_without_gpu(&self, error: &LifeError) -> bool {
        let Some(refusal) = error.no_gpu_runtime() else { return false };
        self.shared.seats.mark_no_gpu_runtime(&refusal.to_string());
        let mut options = self.model.target.devices.options(self.replica);
        let elsewhere = options.any(|(_, group)| !group.is_gpu()) && !self.signals.is_ending();
        if elsewhere {
            tracing::warn!(model = self.name(), replica = %self.replica, "runs on the CPU: {refusal}");
        }
        elsewhere
    }

    /// Nobody else is allowed on its CPUs. `replicas` are those of its model, or of its group.
    pub(super) fn owns_cores(&self, sits: &Sits, replicas: u32) -> bool {
        let models = self.shared.models.borrow();
        let mine = self.model.target.devices.group(sits.class);
        let stay = models.iter().filter(|model| !self.model.takes_place_of(model));
        let groups = stay.flat_map(|model| model.target.devices.iter());
        // Those whose CPUs the engine chose are looked at by seat.
        let others = groups.filter(|group| !std::ptr::eq(*group, mine) && !group.has_threads());
        let chosen = self.shared.seats.chosen_for_others(sits.seat.as_ref());
        let others = others.map(|group| group.cpus.as_deref()).chain([Some(&*chosen)]);
        let alone = if mine.has_threads() { 1 } else { mine.replicas.unwrap_or(replicas) };
        cores::owned(sits.cpus(), alone, &self.shared.config.cores, others)
    }

    /// On CPUs that its model.toml names: who else sits there is its own affair.
    fn named(&self, class: DeviceClass, cpus: Vec<usize>) -> Taken {
        let node = cores::node_of(&cpus);
        let host = self.shared.seats.host();
        self.shared.seats.sit(Seat {
            model: self.name(),
            class,
            device: DeviceId::Cpu { host, node: node.unwrap_or_default() },
            cpus,
            mems: None,
            threads: 0,
            memory_bytes: self.model.target.place.memory_bytes.unwrap_or_default(),
            whole: false,
            busy: 0.0,
            why: "cpus in its model.toml".into(),
        })
    }

    /// For any of the devices that it may have.
    fn ask(&self) -> Ask {
        let no_gpu = self.no_gpu_runtime().is_some();
        let options = self.model.target.devices.options(self.replica);
        let usable = options.filter(|(_, group)| !(no_gpu && group.is_gpu()));
        let options = usable.map(|(class, group)| self.choice(class, group)).collect();
        let spec = self.model.established.get().map(|known| &known.handle.spec);
        let slo = spec.and_then(|spec| spec.slo_us).map(Duration::from_micros);
        let rate_rows_s = self.model.load.get() / f64::from(self.model.replicas());
        Ask { model: self.name(), options, slo, rate_rows_s }
    }

    fn choice(&self, class: DeviceClass, group: &DeviceGroup) -> Choice {
        let memory_bytes = match group.wants {
            Wants::Gpu { memory_bytes, .. } => memory_bytes.max(self.model.gpu_peak_bytes.get()),
            Wants::Cpu { .. } | Wants::Anything => {
                self.model.target.place.memory_bytes.unwrap_or_default()
            }
        };
        let curve = self.model.measured.borrow().get(&class).cloned();
        Choice { class, on: group.kind(), memory_bytes, curve }
    }
}
