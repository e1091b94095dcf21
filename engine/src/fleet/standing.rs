//! What one replica is doing, for people and for whoever looks after the fleet.

use std::collections::VecDeque;
use std::sync::Arc;

use super::launch::Container;
use super::log_tail::LogTail;
use super::placement::Seat;
use crate::clock::Time;
use crate::ids::{DeviceClass, ReplicaId};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Its container was started and has not said hello.
    Starting,
    Loading,
    Warming,
    Live,
    /// It gets no new batch and ends once the one it has is back.
    Leaving,
    /// It ended, and starts again after a while.
    Waiting,
}

impl Doing {
    pub fn name(self) -> &'static str {
        match self {
            Doing::Starting => "starting",
            Doing::Loading => "loading",
            Doing::Warming => "warming",
            Doing::Live => "live",
            Doing::Leaving => "leaving",
            Doing::Waiting => "waiting",
        }
    }
}

/// One replica as its keeper sees it.
#[derive(Clone, Debug)]
pub struct Standing {
    pub replica: ReplicaId,
    pub doing: Doing,
    pub since: Time,
    /// Of the process, as the engine's host numbers it; None while there is none.
    pub pid: Option<u32>,
    /// The id of its Docker container, where it runs in one.
    pub container: Option<Arc<str>>,
    /// The group of devices that this life belongs to; None: none was decided yet.
    pub class: Option<DeviceClass>,
    /// The device that it was given, in words; None: it runs wherever the system lets it.
    pub on: Option<Arc<str>>,
    /// Why there.
    pub why: Option<Arc<str>>,
    /// Where it is pinned; None: anywhere.
    pub cpus: Option<Arc<[usize]>>,
    /// Lives before this one.
    pub restarts: u32,
    /// Why the life before this one ended.
    pub last_error: Option<Arc<str>>,
    /// What this life printed, and the one before it, the latest last.
    pub logs: VecDeque<(u32, LogTail)>,
}

/// The life before this one is the one that says why it ended.
const LOGS_MAX: usize = 2;

impl Standing {
    pub fn new(replica: ReplicaId, now: Time) -> Standing {
        Standing {
            replica,
            doing: Doing::Starting,
            since: now,
            pid: None,
            container: None,
            class: None,
            on: None,
            why: None,
            cpus: None,
            restarts: 0,
            last_error: None,
            logs: VecDeque::new(),
        }
    }

    pub fn does(&mut self, doing: Doing, now: Time) {
        (self.doing, self.since) = (doing, now);
    }

    pub fn has(&mut self, container: &Container) {
        (self.pid, self.container) = (container.pid(), container.id());
        self.prints(container.log().clone());
    }

    /// Another life has come as far as this, and takes the place of this one.
    pub fn becomes(&mut self, other: Standing) {
        let (restarts, last_error) = (self.restarts, self.last_error.take());
        let logs = std::mem::take(&mut self.logs);
        let printed = other.logs.back().map(|(_, log)| log.clone());
        *self = Standing { restarts, last_error, logs, ..other };
        printed.into_iter().for_each(|log| self.prints(log));
    }

    pub fn sits(&mut self, class: DeviceClass, seat: Option<&Seat>) {
        self.class = Some(class);
        self.on = seat.map(|seat| seat.device.to_string().into());
        self.why = seat.map(|seat| seat.why.as_str().into());
        let cpus = seat.filter(|seat| !seat.cpus.is_empty());
        self.cpus = cpus.map(|seat| seat.cpus.as_slice().into());
    }

    fn sits_nowhere(&mut self) {
        (self.on, self.why, self.cpus) = (None, None, None);
    }

    pub fn starts(&mut self, now: Time) {
        self.does(Doing::Starting, now);
        self.sits_nowhere();
        (self.pid, self.container) = (None, None);
    }

    fn prints(&mut self, log: LogTail) {
        if self.logs.len() == LOGS_MAX {
            self.logs.pop_front();
        }
        self.logs.push_back((self.restarts, log));
    }

    /// A life ended, and another begins after a while.
    pub fn waits(&mut self, now: Time, why: Arc<str>) {
        self.does(Doing::Waiting, now);
        self.sits_nowhere();
        (self.pid, self.container) = (None, None);
        self.restarts = self.restarts.saturating_add(1);
        self.last_error = Some(why);
    }
}
