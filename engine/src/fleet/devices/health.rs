//! What becomes of a GPU that reports trouble: events and looks in, what they lead to out. `docs/devices.md` has the table.
//!
//! A GPU is unhealthy once and stays it until the engine is started anew, for what does that needs a hand: a reset, a
//! reboot, another card. The exception is a wait for events that fails: then nobody knows of any GPU's troubles, so all
//! are unhealthy; when waiting has worked for a while again, those that had no trouble of their own are healthy.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use self::ledger::{Held, Ledger};
use super::inventory::{Gpu, Health};

mod ledger;
#[cfg(test)]
mod tests;

/// Xids that a program's own mistakes lead to; the GPU is as good as before. The list of NVIDIA's plugin for Kubernetes.
const XIDS_OF_APPLICATIONS: [u64; 6] = [
    13,  // an exception in the program's kernels
    31,  // an access to memory that is not there
    43,  // the program's work was stopped
    45,  // cleaned up after an earlier error
    68,  // an exception of the video processor
    109, // too long in one context
];

/// Looks in a row that fail before a GPU counts as lost without saying so: one may fall into a driver's busy moment.
const FAILED_LOOKS_MAX: u32 = 3;

/// Looks since waiting for events works again, after which it is believed: half a minute.
const SOUND_LOOKS_LEAST: u32 = 30;

/// What the engine's control thread is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceEvent {
    /// Bytes that each GPU and slice uses, by UUID; takes the place of what was said before.
    Memory(Vec<(String, u64)>),
    /// Who uses how much of which GPU or slice, where the driver says; takes the place of what was said before.
    Processes(Vec<(String, GpuProcess)>),
    /// Of a GPU with its slices, or of all.
    Trouble { devices: Vec<String>, trouble: Trouble },
}

/// What happened to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    Xid {
        number: u64,
    },
    DoubleBitEcc,
    Lost {
        why: String,
    },
    WaitFailed {
        why: String,
    },
    WaitWorks,
    /// The driver answers nothing at all.
    Hangs {
        seconds: u64,
    },
    Leak {
        bytes: u64,
    },
    LeakReturned,
}

/// What that leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The device is as good as before; a replica on it may have a broken context.
    SuspectReplicas,
    /// It takes no new replicas, and those on it go elsewhere.
    Unhealthy,
    /// It takes replicas again.
    Healthy,
    /// So much of its memory is nobody's of ours and not free; zero: it came back.
    Taken { bytes: u64 },
}

impl Trouble {
    /// The table.
    pub fn action(&self) -> Action {
        match self {
            Trouble::Xid { number } if XIDS_OF_APPLICATIONS.contains(number) => {
                Action::SuspectReplicas
            }
            Trouble::Xid { .. } | Trouble::DoubleBitEcc => Action::Unhealthy,
            Trouble::Lost { .. } | Trouble::WaitFailed { .. } => Action::Unhealthy,
            Trouble::Hangs { .. } => Action::Unhealthy,
            Trouble::WaitWorks => Action::Healthy,
            Trouble::Leak { bytes } => Action::Taken { bytes: *bytes },
            Trouble::LeakReturned => Action::Taken { bytes: 0 },
        }
    }
}

/// What waiting for the driver's events came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waited {
    Nothing,
    /// Of a GPU, by UUID.
    Xid {
        gpu: String,
        number: u64,
    },
    DoubleBitEcc {
        gpu: String,
    },
    /// A GPU is lost; a look tells which.
    Lost,
    Failed {
        why: String,
    },
}

/// One look at one GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    pub gpu: String,
    pub read: Result<Vec<MemoryRead>, Unread>,
}

/// Of a GPU or one of its slices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryRead {
    pub uuid: String,
    pub used_bytes: u64,
    /// By processes that can be seen from here; None where the driver doesn't say.
    pub held_bytes: Option<u64>,
    /// Those whose memory it does say.
    pub processes: Vec<GpuProcess>,
}

/// A process that uses memory of a GPU or slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuProcess {
    /// It, the one that started it, and so on; the nearest first.
    pub lineage: Vec<u32>,
    pub bytes: u64,
}

/// A GPU that doesn't answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    pub why: String,
    /// The driver says itself that it is gone, or needs a reset.
    pub is_lost: bool,
}

/// How many of the engine's replicas run on each GPU or slice, by UUID.
pub type Residents = BTreeMap<String, u32>;

/// Keeps the health of this host's GPUs.
#[derive(Debug)]
pub struct Judge {
    gpus: BTreeMap<String, State>,
    ledgers: BTreeMap<String, Ledger>,
    wait: Wait,
    events: VecDeque<DeviceEvent>,
}

#[derive(Debug, Default)]
struct State {
    slices: Vec<String>,
    is_unhealthy: bool,
    failed_looks: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Wait {
    Works,
    Failed { sound_looks: u32 },
}

impl Judge {
    pub fn new(gpus: &[Gpu]) -> Judge {
        let state = |gpu: &Gpu| State {
            slices: gpu.slices.iter().flatten().map(|slice| slice.uuid.clone()).collect(),
            is_unhealthy: gpu.health != Health::Healthy,
            failed_looks: 0,
        };
        Judge {
            gpus: gpus.iter().map(|gpu| (gpu.uuid.clone(), state(gpu))).collect(),
            ledgers: BTreeMap::new(),
            wait: Wait::Works,
            events: VecDeque::new(),
        }
    }

    pub fn handle_waited(&mut self, waited: Waited) {
        match waited {
            // What is lost does not answer the look that follows.
            Waited::Nothing | Waited::Lost => {}
            Waited::Xid { gpu, number } => self.trouble(&gpu, Trouble::Xid { number }),
            Waited::DoubleBitEcc { gpu } => self.trouble(&gpu, Trouble::DoubleBitEcc),
            Waited::Failed { why } => self.wait_failed(why),
        }
    }

    /// One round of looks; as many GPUs as there are.
    pub fn handle_looks(&mut self, looks: Vec<Look>, residents: &Residents) {
        let (mut used, mut processes) = (Vec::new(), Vec::new());
        for Look { gpu, read } in looks {
            match read {
                Ok(reads) => {
                    self.read(&gpu, &reads, residents);
                    for MemoryRead { uuid, used_bytes, processes: there, .. } in reads {
                        processes.extend(there.into_iter().map(|it| (uuid.clone(), it)));
                        used.push((uuid, used_bytes));
                    }
                }
                Err(unread) => self.unread(&gpu, unread),
            }
        }
        self.events.retain(|event| matches!(event, DeviceEvent::Trouble { .. }));
        self.events.push_back(DeviceEvent::Memory(used));
        if !processes.is_empty() {
            self.events.push_back(DeviceEvent::Processes(processes));
        }
        self.sound_look();
    }

    pub fn poll_event(&mut self) -> Option<DeviceEvent> {
        self.events.pop_front()
    }

    /// What befalls one GPU befalls its slices. An unhealthy one has no more to say.
    fn trouble(&mut self, gpu: &str, trouble: Trouble) {
        let Some(state) = self.gpus.get_mut(gpu).filter(|state| !state.is_unhealthy) else {
            return;
        };
        state.is_unhealthy = trouble.action() == Action::Unhealthy;
        let devices = [gpu.to_owned()].into_iter().chain(state.slices.clone()).collect();
        self.tell(devices, trouble);
    }

    fn wait_failed(&mut self, why: String) {
        let before = std::mem::replace(&mut self.wait, Wait::Failed { sound_looks: 0 });
        if before == Wait::Works {
            self.tell_all(Trouble::WaitFailed { why });
        }
    }

    fn sound_look(&mut self) {
        let Wait::Failed { sound_looks } = &mut self.wait else { return };
        *sound_looks += 1;
        if *sound_looks > SOUND_LOOKS_LEAST {
            self.wait = Wait::Works;
            self.tell_all(Trouble::WaitWorks);
        }
    }

    /// All but those with a trouble of their own.
    fn tell_all(&mut self, trouble: Trouble) {
        let sound = self.gpus.iter().filter(|(_, state)| !state.is_unhealthy);
        let devices = sound.flat_map(|(gpu, state)| [gpu].into_iter().chain(&state.slices));
        let devices = devices.cloned().collect();
        self.tell(devices, trouble);
    }

    /// Once, however often it happens before it is taken.
    fn tell(&mut self, devices: Vec<String>, trouble: Trouble) {
        let event = DeviceEvent::Trouble { devices, trouble };
        if !self.events.contains(&event) {
            self.events.push_back(event);
        }
    }

    fn unread(&mut self, gpu: &str, unread: Unread) {
        let Some(state) = self.gpus.get_mut(gpu) else { return };
        state.failed_looks += 1;
        if unread.is_lost || state.failed_looks >= FAILED_LOOKS_MAX {
            self.trouble(gpu, Trouble::Lost { why: unread.why });
        }
    }

    fn read(&mut self, gpu: &str, reads: &[MemoryRead], residents: &Residents) {
        if let Some(state) = self.gpus.get_mut(gpu) {
            state.failed_looks = 0;
        }
        for read in reads {
            let residents = residents.get(&read.uuid).copied().unwrap_or(0);
            let held =
                Held { used_bytes: read.used_bytes, by_processes: read.held_bytes, residents };
            let ledger = self.ledgers.entry(read.uuid.clone()).or_default();
            let Some(bytes) = ledger.handle_look(held) else { continue };
            let trouble = if bytes == 0 { Trouble::LeakReturned } else { Trouble::Leak { bytes } };
            self.tell(vec![read.uuid.clone()], trouble);
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Xid { number } => write!(f, "Xid {number} (see dmesg)"),
            Trouble::DoubleBitEcc => f.write_str("a memory error that ECC can't correct"),
            Trouble::Lost { why } => write!(f, "lost: {why}"),
            Trouble::WaitFailed { why } => {
                write!(
                    f,
                    "waiting for the driver's events fails ({why}), so nobody knows of its troubles"
                )
            }
            Trouble::Hangs { seconds } => write!(f, "the driver hangs for {seconds} s"),
            Trouble::WaitWorks => f.write_str("the driver tells of its troubles again"),
            Trouble::Leak { bytes } => write!(
                f,
                "{} MiB stayed taken after its replicas had gone, by no process that is seen from here",
                bytes >> 20
            ),
            Trouble::LeakReturned => f.write_str("memory that had stayed taken is free again"),
        }
    }
}
