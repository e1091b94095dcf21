//! What a container is started with, and as whom.

use std::ffi::OsString;
use std::path::Path;

use super::Keeper;
use crate::cli::Launcher;
use crate::fleet::cores;
use crate::fleet::launch::users::{self, first_unreachable};
use crate::fleet::launch::{Container, LaunchError, Start, default_memory_bytes};
use crate::fleet::model::Place;
use crate::ids::Incarnation;

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

    pub(super) fn owns_cores(&self, replicas: u32) -> bool {
        let models = self.shared.models.borrow();
        let (_, mine) = self.model.target.devices.of(self.replica);
        let stay = models.iter().filter(|model| !self.model.takes_place_of(model));
        let groups = stay.flat_map(|model| model.target.devices.iter());
        let others = groups.filter(|group| !std::ptr::eq(*group, mine));
        let others = others.map(|group| group.cpus.as_deref());
        let front_end = &self.shared.config.cores;
        cores::owned(mine.cpus.as_deref(), mine.replicas.unwrap_or(replicas), front_end, others)
    }

    fn launcher(&self) -> Launcher {
        self.shared.config.launchers.of(&self.model.target.place)
    }

    pub(super) async fn spawn(
        &self,
        home: &Path,
        socket: &Path,
        nonce: u64,
        user: Option<u32>,
    ) -> Result<Container, LaunchError> {
        let target = &self.model.target;
        let (_, group) = target.devices.of(self.replica);
        // Later ones win: the device's over the model's, ours over both.
        let given = target.env.iter().chain(&group.env);
        let mut env: Vec<(String, OsString)> =
            given.map(|(key, value)| (key.clone(), value.into())).collect();
        let ours = [
            ("FOIL_NONCE", nonce.to_string().into()),
            ("FOIL_VERSION", target.version.to_string().into()),
            ("FOIL_REPLICA", self.replica.to_string().into()),
            ("FOIL_DEVICE", group.name.to_string().into()),
            ("FOIL_SETTINGS", target.settings.clone().into()),
        ];
        env.extend(ours.map(|(key, value)| (key.to_owned(), value)));
        let memory_bytes = target.place.memory_bytes.unwrap_or_else(default_memory_bytes);
        let start = Start {
            program: &target.program,
            programs: &self.shared.config.programs,
            env,
            model: self.name(),
            version: target.version,
            replica: self.replica,
            label: format!("{}/{}", self.name(), self.replica),
            clock: self.shared.config.clock,
            home,
            socket,
            user,
            cpus: group.cpus.as_deref(),
            stands_back: self.model.place.get() != Place::Served || self.model.live.get() > 0,
            image: target.place.image.as_deref(),
            memory_bytes,
        };
        self.shared.config.launchers.start(self.launcher(), start).await
    }
}
