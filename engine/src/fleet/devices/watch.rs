//! One thread that waits for the GPUs' events and looks at each once a second. It tells the control thread, never a
//! front-end core, and holds nobody up: what the control thread is too busy to take is told at the next look.

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::watch;

use super::health::{DeviceEvent, Judge, Residents, Trouble, Waited};
use super::inventory::Gpu;
use super::nvml::{self, DriverEvents, Gpus};
use crate::clock::{Clock, Time};

#[cfg(test)]
mod tests;

/// Events that the control thread may be behind: each GPU of a large host with a few of its own.
const EVENTS_MAX: usize = 256;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Without a word of the thread; then it hangs in the driver, as happens when a GPU falls off the bus.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Events taken between two looks: a GPU in trouble may bring thousands, of which the first tell enough.
const EVENTS_PER_LOOK_MAX: usize = 64;

/// The way to the control thread.
pub fn channel() -> (Sender<DeviceEvent>, Receiver<DeviceEvent>) {
    mpsc::channel(EVENTS_MAX)
}

/// What is heard of the devices, their thread's silence among it.
pub struct Events {
    from: Receiver<DeviceEvent>,
    /// GPUs and slices, by UUID.
    devices: Vec<String>,
    hangs: bool,
    silence_max: Duration,
}

impl Events {
    pub fn new(from: Receiver<DeviceEvent>, found: &[Gpu]) -> Events {
        let devices = found.iter().flat_map(Gpu::uuids).map(str::to_owned).collect();
        Events { from, devices, hangs: false, silence_max: SILENCE_MAX }
    }

    /// The next; None when nobody watches. May be dropped and asked again.
    pub async fn recv(&mut self) -> Option<DeviceEvent> {
        if self.hangs {
            return self.heard().await;
        }
        let silence_max = self.silence_max;
        match tokio::time::timeout(silence_max, self.heard()).await {
            Ok(event) => event,
            Err(_) => {
                self.hangs = true;
                let trouble = Trouble::Hangs { seconds: silence_max.as_secs() };
                Some(DeviceEvent::Trouble { devices: self.devices.clone(), trouble })
            }
        }
    }

    async fn heard(&mut self) -> Option<DeviceEvent> {
        let event = self.from.recv().await?;
        self.hangs = false;
        Some(event)
    }
}

/// Watches the GPUs that were found, until nobody listens any more. `residents` are the engine's replicas on each of them.
pub fn start(
    found: &[Gpu],
    to: Sender<DeviceEvent>,
    residents: watch::Receiver<Residents>,
) -> io::Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    spawn(
        nvml::library(),
        Rounds {
            found: found.to_vec(),
            to,
            residents,
            every: LOOK_EVERY,
            silence_max: SILENCE_MAX,
        },
    )
}

/// The library is opened on the thread as well: where nothing keeps the driver awake, that takes seconds.
fn spawn(library: Option<OsString>, rounds: Rounds) -> io::Result<()> {
    let thread = std::thread::Builder::new().name("foil-devices".to_owned());
    thread.spawn(move || {
        let clock = Clock::start();
        match Gpus::open(library) {
            Ok(gpus) => rounds.run(&gpus, &clock),
            Err(error) => tracing::warn!("GPUs are used and not watched: {error}"),
        }
    })?;
    Ok(())
}

struct Rounds {
    found: Vec<Gpu>,
    to: Sender<DeviceEvent>,
    residents: watch::Receiver<Residents>,
    every: Duration,
    silence_max: Duration,
}

/// Whether waiting for events came to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Works,
    Broken,
}

impl Rounds {
    fn run(self, gpus: &Gpus, clock: &Clock) {
        let names: Vec<String> = self.found.iter().map(|gpu| gpu.uuid.clone()).collect();
        let mut judge = Judge::new(&self.found);
        let (mut untold, mut spoke) = (None, Time::ZERO);
        let mut events = listen(gpus, &mut judge);
        events.iter().flat_map(|events| &events.silent).for_each(|line| tracing::warn!("{line}"));
        loop {
            let until = clock.now().after(self.every);
            if wait(events.as_ref(), &mut judge, clock, until) == Waiting::Broken {
                events = listen(gpus, &mut judge);
            }
            judge.handle_looks(gpus.look(&names), &self.residents.borrow());
            let silence = clock.now().since(spoke);
            // Whoever listens takes all to be unhealthy after so long; so they stay until it is known to be over. A round
            // sooner than there, for what was taken to be unhealthy there alone would stay so for good.
            if silence + self.every >= self.silence_max {
                let why = format!("the driver hung for {} s", silence.as_secs());
                judge.handle_waited(Waited::Failed { why });
            }
            if self.tell(&mut judge, &mut untold).is_err() {
                return;
            }
            spoke = clock.now();
        }
    }

    /// Tells what there is room for; an error when nobody listens.
    fn tell(&self, judge: &mut Judge, untold: &mut Option<DeviceEvent>) -> Result<(), Unheard> {
        while let Some(event) = untold.take().or_else(|| judge.poll_event()) {
            match self.to.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    *untold = Some(event);
                    return Ok(());
                }
                Err(TrySendError::Closed(_)) => return Err(Unheard),
            }
        }
        Ok(())
    }
}

struct Unheard;

/// A way to wait. Without one the looks go on, and the next round tries again.
fn listen<'nvml>(gpus: &'nvml Gpus, judge: &mut Judge) -> Option<DriverEvents<'nvml>> {
    match gpus.events() {
        Ok(events) => Some(events),
        Err(why) => {
            judge.handle_waited(Waited::Failed { why });
            None
        }
    }
}

/// Hands on events until `until`, also where there are none to wait for, or no more than enough.
fn wait(
    events: Option<&DriverEvents<'_>>,
    judge: &mut Judge,
    clock: &Clock,
    until: Time,
) -> Waiting {
    let mut waiting = if events.is_some() { Waiting::Works } else { Waiting::Broken };
    for _ in 0..EVENTS_PER_LOOK_MAX {
        let Some(events) = events else { break };
        let left = until.since(clock.now());
        if left.is_zero() {
            return waiting;
        }
        let waited = events.wait(left);
        let is_event = matches!(waited, Waited::Xid { .. } | Waited::DoubleBitEcc { .. });
        if matches!(waited, Waited::Lost | Waited::Failed { .. }) {
            waiting = Waiting::Broken;
        }
        judge.handle_waited(waited);
        if !is_event {
            break;
        }
    }
    rest(clock, until);
    waiting
}

/// The library may come back early.
fn rest(clock: &Clock, until: Time) {
    loop {
        let left = until.since(clock.now());
        if left.is_zero() {
            return;
        }
        std::thread::park_timeout(left);
    }
}
