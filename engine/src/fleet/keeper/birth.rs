//! From a seat to a lane: a container is started, says hello, loads, and is handed to the dispatcher.

use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::sync::oneshot;

use super::life::{Home, Life};
use super::seating::Sits;
use super::start::Doorway;
use super::{Keeper, LifeError, alive};
use crate::dispatch::warm_up::Order;
use crate::dispatch::{ControlMsg, LaneSide, ReplicaFault, ReplicaLane};
use crate::fleet::standing::{Doing, Standing};
use crate::fleet::welcome::{Door, Guest, geometry};
use crate::ids::{DeviceClass, Incarnation};

/// One that has loaded; the dispatcher doesn't know it yet.
pub(super) struct Loaded {
    guest: Guest,
    lane: Box<ReplicaLane>,
}

/// One that the dispatcher has.
pub(super) struct Handed {
    pub(super) guest: Guest,
    pub(super) fault: oneshot::Receiver<ReplicaFault>,
    pub(super) warm: oneshot::Receiver<()>,
}

impl Loaded {
    pub(super) fn incarnation(&self) -> Incarnation {
        self.lane.incarnation
    }
}

impl Keeper {
    /// `standing` shows how far it is; it comes up on another class of devices than `other_than`.
    pub(super) async fn load(
        &self,
        life: &mut Life,
        standing: &RefCell<Standing>,
        other_than: Option<DeviceClass>,
    ) -> Result<Loaded, LifeError> {
        let (limits, clock) = (&self.shared.config.limits, self.shared.config.clock);
        let incarnation = self.shared.incarnation();
        standing.borrow_mut().starts(clock.now());
        life.incarnation = Some(incarnation);
        let sits = life.sits.insert(self.sit(other_than)?);
        let seat = sits.seat.as_ref().map(|taken| &*taken.seat);
        standing.borrow_mut().sits(sits.class, seat);
        let nonce = RandomState::new().hash_one((incarnation, std::process::id()));
        let user = self.user(incarnation);
        let home = life.home.insert(Home::make(&self.shared.config.sockets, incarnation, user)?);
        let socket = home.path.join("sock");
        let door = Door::open(&socket)?;
        if let Some(user) = user {
            std::os::unix::fs::chown(&socket, Some(user), None).map_err(LifeError::Home)?;
        }
        let doorway = Doorway { home: &home.path, socket: &socket, nonce, user };
        let mut signals = self.signals.clone();
        let process = tokio::select! {
            process = self.spawn(&doorway, sits) => life.process.insert(process?),
            () = signals.ending() => return Err(LifeError::Stopping),
        };
        standing.borrow_mut().has(process);
        if let Some(seat) = &sits.seat {
            seat.is_measured(process.pid(), &self.model.gpu_peak_bytes);
        }
        let hello = async {
            let mut guest = door.accept().await?;
            let spec = guest.hello(nonce).await?;
            Ok((guest, spec))
        };
        let hello = tokio::time::timeout(Duration::from_secs(limits.hello_s), hello);
        let late = LifeError::HelloLate { seconds: limits.hello_s };
        let (mut guest, spec) = tokio::select! {
            hello = hello => alive(process, hello.map_err(|_| late)?).await?,
            ended = process.ended() => return Err(ended.map_or_else(LifeError::from, LifeError::Exited)),
            () = signals.ending() => return Err(LifeError::Stopping),
        };
        let owns_cores = self.owns_cores(sits, self.model.wanted.get().unwrap_or(spec.replicas));
        let geometry = geometry(&spec, incarnation, &self.shared.config.lane, owns_cores)?;
        self.establish(spec, geometry).await?;
        standing.borrow_mut().does(Doing::Loading, clock.now());
        let load = guest.join(geometry, sits.node());
        let load = tokio::time::timeout(Duration::from_secs(limits.load_s), load);
        let late = LifeError::LoadLate { seconds: limits.load_s };
        let side = tokio::select! {
            side = load => alive(process, side.map_err(|_| late)?).await?,
            ended = process.ended() => return Err(ended.map_or_else(LifeError::from, LifeError::Exited)),
            () = signals.ending() => return Err(LifeError::Stopping),
        };
        process.has_loaded();
        let lane = self.lane(sits, incarnation, LaneSide::Shm(side), &guest);
        Ok(Loaded { guest, lane })
    }

    fn lane(
        &self,
        sits: &Sits,
        incarnation: Incarnation,
        side: LaneSide,
        guest: &Guest,
    ) -> Box<ReplicaLane> {
        let beat = Duration::from_millis(self.shared.config.limits.heartbeat_ms);
        let silence_max = guest.beats().then_some(beat);
        let (replica, device) = (self.replica, sits.class);
        Box::new(ReplicaLane { replica, device, incarnation, silence_max, side })
    }

    pub(super) async fn hand_over(
        &self,
        life: &mut Life,
        loaded: Loaded,
        warm_up: Order,
    ) -> Handed {
        let Loaded { guest, lane } = loaded;
        // Before the dispatcher hears of the lane: a container may break it with its first word.
        let (tell, fault) = oneshot::channel();
        self.shared.faults.borrow_mut().insert(lane.incarnation, tell);
        let (live, warm) = oneshot::channel();
        life.handed_over = true;
        self.tell(ControlMsg::ReplicaUp { lane, warm_up, live }).await;
        self.does(Doing::Warming);
        Handed { guest, fault, warm }
    }
}
