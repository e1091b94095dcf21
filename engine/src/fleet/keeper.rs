//! Keeps one replica alive: start, welcome, hand over, watch, bury, wait, start again.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use schemas::lifecycle::{LaneGeometry, ModelSpec};
use tokio::sync::{mpsc, oneshot, watch};

use super::catalog::{ModelEntry, ModelState};
use super::launch::Container;
use super::learned;
use super::liveness::BackOff;
use super::model::{Established, Model, Place};
use super::sample;
use super::standing::{Doing, Standing};
use super::supervisor::{Shared, StartError};
use super::triton;
use super::welcome::{Guest, WelcomeError};
use crate::dispatch::handle::{Entrance, ModelHandle};
use crate::dispatch::hang_ups::HangUps;
use crate::dispatch::lane::payload_bytes_max;
use crate::dispatch::warm_up::Order;
use crate::dispatch::{
    CONTROL_MESSAGES_MAX, ControlMsg, CoreMsg, HANDOFF_TASKS_MAX, ModelSetup, ReplicaFault, Sharing,
};
use crate::ids::{DeviceClass, Incarnation, ReplicaId};
use crate::labels::Labels;
use crate::observe::metrics::Loss;
use crate::observe::stages::ModelNames;

mod birth;
mod life;
mod life_error;
mod moving;
mod seating;
mod signals;
mod start;
mod suspect;

use birth::{Handed, Loaded};
use life::Life;
pub use life_error::LifeError;
use moving::Moved;
use signals::Signals;

/// What callers are told to wait while a model has no replica.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(1);

/// A dead replica that is back within this leaves its model ready: requests wait in the queue meanwhile.
const BACK_AT_ONCE: Duration = Duration::from_millis(500);

/// A process that was killed, or asked to end, has gone within this unless it hangs in its kernel.
const END_WAIT: Duration = Duration::from_secs(5);

/// Replicas of a model that may end in their warm-up before it is left out: the second time is no chance. A model that
/// can't stand zeros must still be servable.
const WARM_UP_ENDS_MAX: u32 = 2;

/// Keeps one replica alive; [`Keeper::run`] ends with its model, or when it is told to leave.
pub struct Keeper {
    shared: Rc<Shared>,
    model: Rc<Model>,
    replica: ReplicaId,
    back_off: BackOff,
    signals: Signals,
    standing: Rc<RefCell<Standing>>,
    /// It has loaded on another device, and takes the place of the life that gives up its own.
    next: Option<Moved>,
    /// It lives once, until it was measured on a device of this class.
    trial: Option<DeviceClass>,
    /// Times that it moved because another device was found to be better.
    moves: u32,
}

pub type First = oneshot::Sender<Result<(), StartError>>;

impl Keeper {
    pub fn new(
        shared: Rc<Shared>,
        model: Rc<Model>,
        replica: ReplicaId,
        leaving: watch::Receiver<bool>,
        standing: Rc<RefCell<Standing>>,
    ) -> Keeper {
        let signals = Signals::new(model.stopping.subscribe(), leaving);
        let back_off = BackOff::default();
        let (next, trial, moves) = (None, None, 0);
        Keeper { shared, model, replica, back_off, signals, standing, next, trial, moves }
    }

    pub fn on_trial(self, trial: Option<DeviceClass>) -> Keeper {
        Keeper { trial, ..self }
    }

    pub async fn run(mut self, mut first: Option<First>) {
        while !self.signals.is_ending() {
            let (mut life, loaded) = self.begin();
            let mut error = self.live(&mut life, loaded, &mut first).await;
            let output = life.process.as_ref().map(|it| it.log().text()).unwrap_or_default();
            self.no_longer_live(&life, &error);
            self.bury(&mut life, &error).await;
            if let Some(class) = self.trial {
                self.say_what_came_of_the_trial(class, &life, &error);
                return self.say_if_last(&life, &error).await;
            }
            if self.goes_on_at_once(&error) {
                continue;
            }
            let in_warm_up = matches!(error, LifeError::WarmUp(_));
            if let Some(tell) = first.take_if(|_| !in_warm_up) {
                let model = self.model.target.label();
                // Nobody listens when another model failed first.
                let reason = error.to_string();
                let _failed = tell.send(Err(StartError { model, error, output }));
                if !self.model.keeps_trying.get() {
                    return;
                }
                error = LifeError::Fault(ReplicaFault { loss: Loss::Ended, why: reason });
            }
            if self.signals.is_ending() {
                return self.say_if_last(&life, &error).await;
            }
            self.wait_back_off(&life, &error).await;
        }
    }

    /// One incarnation, until whatever ends it.
    async fn live(
        &mut self,
        life: &mut Life,
        loaded: Option<Loaded>,
        first: &mut Option<First>,
    ) -> LifeError {
        let loaded = match loaded {
            Some(loaded) => Ok(loaded),
            None => Box::pin(self.load(life, &self.standing, None)).await,
        };
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(error) => return error,
        };
        let incarnation = loaded.incarnation();
        let order = self.warm_up_order();
        let Handed { mut guest, mut fault, warm } = self.hand_over(life, loaded, order).await;
        // Without a warm-up the dispatcher takes it as it is.
        if order == Order::Run {
            if let Err(error) = self.warm_up(life, &mut guest, &mut fault, warm).await {
                return self.ended_in_warm_up(error);
            }
            self.model.warm_up_ends.set(0);
        }
        life.live_since = Some(self.shared.config.clock.now());
        self.came_up();
        self.does(Doing::Live);
        if let Some(tell) = first.take() {
            let _listening = tell.send(Ok(()));
        }
        let Life { process: Some(process), sits, .. } = life else { return LifeError::Stopping };
        let seat = sits.as_ref().and_then(|sits| sits.seat.as_ref());
        if self.trial.is_some() {
            return self.leave(process, incarnation, fault).await;
        }
        let mut signals = self.signals.clone();
        let left = tokio::select! {
            ended = process.ended() => return ended.map_or_else(LifeError::from, LifeError::Exited),
            error = guest.closed() => return closed_or_exited(process, error).await,
            Ok(fault) = &mut fault => return LifeError::Fault(fault),
            () = signals.ending() => return self.leave(process, incarnation, fault).await,
            why = self.suspicion(seat) => LifeError::Suspect { why },
            moved = self.moves(seat) => {
                let why = moved.why();
                self.next = Some(moved);
                LifeError::Moved { why }
            }
        };
        match self.leave(process, incarnation, fault).await {
            LifeError::Stopping if !self.signals.is_ending() => left,
            error => error,
        }
    }

    /// The dispatcher tells the container to leave once nothing waits; it has all the time that takes.
    async fn leave(
        &self,
        process: &mut Container,
        incarnation: Incarnation,
        fault: oneshot::Receiver<ReplicaFault>,
    ) -> LifeError {
        self.does(Doing::Leaving);
        if !self.signals.is_stopping() {
            let replica = self.replica;
            self.tell(ControlMsg::ReplicaLeave { replica, incarnation }).await;
        }
        let drain = Duration::from_secs(self.shared.config.limits.drain_s);
        tokio::select! {
            _ended = process.ended() => LifeError::Stopping,
            Ok(fault) = fault => LifeError::Fault(fault),
            () = tokio::time::sleep(drain) => LifeError::Stopping,
        }
    }

    /// Until the dispatcher says that the replica is live. A batch that never returns is the dispatcher's to end; the
    /// bound here is for a model whose batch_timeout is longer than a start may take.
    async fn warm_up(
        &self,
        life: &mut Life,
        guest: &mut Guest,
        fault: &mut oneshot::Receiver<ReplicaFault>,
        warm: oneshot::Receiver<()>,
    ) -> Result<(), LifeError> {
        let Some(process) = life.process.as_mut() else { return Err(LifeError::Stopping) };
        let seconds = self.shared.config.limits.load_s;
        let mut signals = self.signals.clone();
        Err(tokio::select! {
            // One that was live and died of its first batch didn't end in its warm-up: what was told first counts first.
            biased;
            Ok(()) = warm => return Ok(()),
            ended = process.ended() => ended.map_or_else(LifeError::from, LifeError::Exited),
            error = guest.closed() => closed_or_exited(process, error).await,
            Ok(fault) = fault => LifeError::Fault(fault),
            () = tokio::time::sleep(Duration::from_secs(seconds)) => LifeError::WarmUpLate { seconds },
            () = signals.ending() => LifeError::Stopping,
        })
    }

    fn ended_in_warm_up(&self, error: LifeError) -> LifeError {
        if matches!(error, LifeError::Stopping) {
            return error;
        }
        self.model.warm_up_ends.set(self.model.warm_up_ends.get() + 1);
        LifeError::WarmUp(Box::new(error))
    }

    fn warms_up(&self) -> bool {
        self.shared.config.warm_up && self.model.target.warm_up
    }

    fn warm_up_order(&self) -> Order {
        if !self.warms_up() {
            return Order::Off;
        }
        if self.model.warm_up_ends.get() < WARM_UP_ENDS_MAX {
            return Order::Run;
        }
        tracing::warn!(
            model = self.name(),
            "goes live without warm-up: {WARM_UP_ENDS_MAX} replicas ended in theirs. Put a request that it can take into \
             sample.json beside the model's file, or say warm_up = false in model.toml"
        );
        Order::GivenUp
    }

    fn name(&self) -> String {
        self.model.name().unwrap_or("model").to_owned()
    }

    /// Labels of outputs that the model doesn't have are of no use, and likely misspelt.
    fn labels(&self, spec: &ModelSpec) -> Labels {
        let labels = &self.model.target.labels;
        let known = |output: &&str| spec.outputs.iter().any(|it| it.name == **output);
        if let Some(output) = labels.outputs().find(|output| !known(output)) {
            tracing::warn!(output, "labels are given for an output that the model doesn't have");
        }
        labels.clone()
    }

    /// The first hello makes the model; later ones must say the same.
    async fn establish(&self, spec: ModelSpec, geometry: LaneGeometry) -> Result<(), LifeError> {
        if let Some(known) = self.model.established.get() {
            return if *known.handle.spec == spec { Ok(()) } else { Err(LifeError::Changed) };
        }
        if let Some(config) = &self.model.target.config {
            triton::check(config, &spec).map_err(Box::new)?;
        }
        let version = self.model.target.version;
        let name = self.model.target.name.clone().unwrap_or_else(|| spec.name.as_str().into());
        let samples = self.model.target.program.samples();
        let sample = if self.warms_up() { sample::read(&samples, &spec)? } else { None };
        let (profile_key, stored_profiles) =
            learned::recall(&self.shared, &self.model.target, &name, &spec).await;
        let served = self.model.place.get() == Place::Served;
        if served && self.shared.config.catalog.load().find(&name, Some(version)).is_ok() {
            return Err(LifeError::NameTaken { name: name.to_string(), version: version.0 });
        }
        let batch_bytes_max = payload_bytes_max(&spec, geometry.request_slot_bytes);
        let (core, spec) = (self.shared.take_core(), Arc::new(spec));
        let (submit, submissions) = mpsc::channel(HANDOFF_TASKS_MAX);
        let (control, changes) = mpsc::channel(CONTROL_MESSAGES_MAX);
        let (notes, hang_ups) = HangUps::channel();
        let entrance =
            Entrance { submissions: submit, hang_ups: notes, control: control.downgrade() };
        let (class, devices) = (self.model.class, self.model.target.devices.names());
        let names = ModelNames { devices, classes: self.shared.config.classes.clone() };
        let handle = ModelHandle::new(name.clone(), version, spec.clone(), core, class, entrance)
            .with_labels(self.labels(&spec))
            .with_config(self.model.target.config.clone());
        let limits = &self.shared.config.limits;
        let setup = ModelSetup {
            name,
            version,
            spec,
            batch_bytes_max,
            sharing: Sharing::OneTensor,
            fixed_batches: self.model.target.fixed_batches,
            sample,
            stored_profiles,
            queue_tasks_max: self.model.target.queue_tasks_max.unwrap_or(limits.queue_tasks_max),
            queue_bytes_max: limits.queue_bytes_max,
            names,
            submissions,
            hang_ups,
            control: changes,
            events: self.shared.events.clone(),
        };
        let start = CoreMsg::StartModel(Box::new(setup));
        self.shared.config.links[core.0].send(start).await.map_err(|_| LifeError::Stopping)?;
        if served {
            let entry = ModelEntry { handle: handle.clone(), state: ModelState::Loading };
            self.shared.publish(|catalog| catalog.with(entry));
        }
        // Only the first replica's keeper gets here before the others exist.
        let _first = self.model.established.set(Established { handle, control, profile_key });
        Ok(())
    }

    fn came_up(&self) {
        self.model.live.set(self.model.live.get() + 1);
        self.model.came_up.notify_waiters();
        if self.model.place.get() == Place::Served {
            self.set_state(ModelState::Ready);
            self.shared.announce(&self.model);
        }
    }

    /// Before anything that takes time: whoever asks whether the model is ready hears at once that one has stuck. One that
    /// crashes is back sooner than anybody could be sent elsewhere.
    fn no_longer_live(&self, life: &Life, error: &LifeError) {
        if life.live_since.is_none() {
            return;
        }
        self.model.live.set(self.model.live.get() - 1);
        if self.model.live.get() == 0 && error.is_stuck() {
            self.set_state(ModelState::Recovering { reason: error.to_string().into() });
        }
    }

    /// Ends what is left of an incarnation and tells the dispatcher.
    async fn bury(&mut self, life: &mut Life, error: &LifeError) {
        let Some(incarnation) = life.incarnation else { return };
        self.shared.faults.borrow_mut().remove(&incarnation);
        let Some(process) = life.process.as_mut() else {
            life.sits = None;
            return;
        };
        let ended = async {
            match error {
                LifeError::Stopping | LifeError::Moved { .. } | LifeError::Suspect { .. } => {
                    process.end().await
                }
                _ => process.kill().await,
            }
        };
        match tokio::time::timeout(END_WAIT, ended).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::error!(%error, "a container could not be reaped"),
            Err(_) => tracing::error!(
                pid = process.pid(),
                "a killed container does not end within {END_WAIT:?}: it hangs in its kernel (a disk or a device that does \
                 not answer?); it is left to itself, and another one is started"
            ),
        }
        (life.home, life.sits) = (None, None);
        if life.handed_over {
            let last_output = process.log().last_line();
            let replica = self.replica;
            self.tell(ControlMsg::ReplicaDown { replica, incarnation, last_output }).await;
        }
    }

    async fn wait_back_off(&mut self, life: &Life, error: &LifeError) {
        let now = self.shared.config.clock.now();
        let wait = self.back_off.after_end(now, life.live_since);
        self.standing.borrow_mut().waits(now, error.to_string().into());
        tracing::warn!(model = self.name(), replica = %self.replica, ?wait, "a replica ended: {error}");
        let back_at_once = life.live_since.is_some() && wait <= BACK_AT_ONCE;
        if self.model.live.get() == 0 && !back_at_once {
            self.unavailable(life, error, wait).await;
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.signals.ending() => {}
        }
    }

    /// One that leaves may have been the last that was live: the others are still to come back.
    async fn say_if_last(&self, life: &Life, error: &LifeError) {
        if !self.signals.is_stopping() && life.live_since.is_some() && self.model.live.get() == 0 {
            self.unavailable(life, error, UNAVAILABLE_RETRY).await;
        }
    }

    fn does(&self, doing: Doing) {
        self.standing.borrow_mut().does(doing, self.shared.config.clock.now());
    }

    async fn unavailable(&self, life: &Life, error: &LifeError, wait: Duration) {
        let last = life.process.as_ref().map_or("(no output)".into(), |it| it.log().last_line());
        let reason: Arc<str> = format!("{error}. Last output: {last}").into();
        let retry_after = wait.max(UNAVAILABLE_RETRY);
        self.set_state(ModelState::Unavailable { reason: reason.clone(), retry_after });
        self.tell(ControlMsg::Unavailable { reason, retry_after }).await;
    }

    fn set_state(&self, state: ModelState) {
        let Some(known) = self.model.established.get() else { return };
        self.shared.publish(|catalog| catalog.with_state(&known.handle, state));
    }

    async fn tell(&self, message: ControlMsg) {
        let Some(known) = self.model.established.get() else { return };
        if known.control.send(message).await.is_err() {
            tracing::debug!("a dispatcher ended before its replica");
        }
    }
}

/// A container that closes its socket is about to end: how it ended says more than that it closed.
async fn closed_or_exited(process: &mut Container, error: WelcomeError) -> LifeError {
    match tokio::time::timeout(Duration::from_secs(1), process.ended()).await {
        Ok(Ok(status)) => LifeError::Exited(status),
        _ => LifeError::Welcome(error),
    }
}

async fn alive<T>(process: &mut Container, met: Result<T, WelcomeError>) -> Result<T, LifeError> {
    match met {
        Ok(met) => Ok(met),
        Err(WelcomeError::Closed) => Err(closed_or_exited(process, WelcomeError::Closed).await),
        Err(error) => Err(error.into()),
    }
}
