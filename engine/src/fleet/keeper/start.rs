//! What a container is started with, and as whom.

use std::ffi::OsString;
use std::path::Path;

use super::Keeper;
use super::seating::Sits;
use crate::cli::Launcher;
use crate::fleet::launch::users::{self, first_unreachable};
use crate::fleet::launch::{Container, LaunchError, Start, default_memory_bytes};
use crate::fleet::model::Place;
use crate::fleet::seats::environment;
use crate::ids::Incarnation;

/// Where a container finds its engine, and as whom.
pub(super) struct Doorway<'a> {
    pub(super) home: &'a Path,
    pub(super) socket: &'a Path,
    pub(super) nonce: u64,
    pub(super) user: Option<u32>,
}

impl Keeper {
    /// A user of its own, if there are any and it could work as one.
    pub(super) fn user(&self, incarnation: Incarnation) -> Option<u32> {
        let users = self.shared.config.users;
        if self.launcher() == Launcher::Docker {
            return users.map(|users| users.uid(incarnation)).or_else(users::nobody);
        }
        let users = users?;
        let mut paths = self.model.target.program.paths(&self.shared.config.programs);
        paths.push(self.shared.config.sockets.clone());
        let Some(path) = first_unreachable(&paths) else { return Some(users.uid(incarnation)) };
        if !self.model.warned.replace(true) {
            tracing::warn!(
                model = self.name(),
                "runs as the engine's user: other users can't reach {}; open it (chmod o+rX), or say --shared-user",
                path.display()
            );
        }
        None
    }

    pub(super) fn launcher(&self) -> Launcher {
        self.shared.config.launchers.of(&self.model.target.place)
    }

    pub(super) async fn spawn(
        &self,
        door: &Doorway<'_>,
        sits: &Sits,
    ) -> Result<Container, LaunchError> {
        let target = &self.model.target;
        let memory_bytes = target.place.memory_bytes.unwrap_or_else(default_memory_bytes);
        let start = Start {
            program: &target.program,
            programs: &self.shared.config.programs,
            env: self.environment(door.nonce, sits),
            model: self.name(),
            version: target.version,
            replica: self.replica,
            label: format!("{}/{}", self.name(), self.replica),
            clock: self.shared.config.clock,
            home: door.home,
            socket: door.socket,
            user: door.user,
            cpus: sits.cpus(),
            memory_node: sits.memory_node(),
            gpu: sits.gpu(),
            stands_back: self.model.place.get() != Place::Served || self.model.live.get() > 0,
            image: target.place.image.as_deref(),
            memory_bytes,
        };
        self.shared.config.launchers.start(self.launcher(), start).await
    }

    /// Later ones win: the device's over the model's, ours over both.
    fn environment(&self, nonce: u64, sits: &Sits) -> Vec<(String, OsString)> {
        let target = &self.model.target;
        let group = target.devices.group(sits.class);
        let given = target.env.iter().chain(&group.env);
        let given = given.map(|(key, value)| (key.clone(), value.into()));
        let ours = [
            ("FOIL_NONCE", nonce.to_string().into()),
            ("FOIL_VERSION", target.version.to_string().into()),
            ("FOIL_REPLICA", self.replica.to_string().into()),
            ("FOIL_DEVICE", group.name.to_string().into()),
            ("FOIL_SETTINGS", target.settings.clone().into()),
        ];
        let ours = ours.map(|(key, value)| (key.to_owned(), value));
        let advice = environment::advice(group, !self.owns_cores(sits, 1));
        let devices = environment::devices(group, sits.gpu());
        advice.into_iter().chain(given).chain(ours).chain(devices).collect()
    }
}
