//! Containers of engines that are gone.
//!
//! An engine holds a lock in its directory of sockets as long as it lives, and each of its containers is labelled with
//! its own directory in there. A container whose lock is free belongs to nobody. Boot and mount namespace are part of
//! the label: another machine's directories, or another container's, would say nothing.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};

use super::body::label;
use super::leftovers::remove_all;
use super::{Docker, DockerError};
use crate::fleet::launch::ENGINE_LOCK;

/// In the state directory: this user's engines have used Docker, and something may be left.
const USED: &str = "docker-used";
/// For all that an engine still has when it ends.
const CLEAR_UP_WAIT: Duration = Duration::from_secs(30);
/// Between two looks at what is left: a removal takes a tenth of a second.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A container of some engine.
pub(super) struct Labelled {
    id: String,
    running: bool,
    labels: HashMap<String, String>,
}

impl Labelled {
    pub(super) fn of(found: ContainerSummary) -> Option<Labelled> {
        let running = found.state == Some(ContainerSummaryStateEnum::RUNNING);
        Some(Labelled { id: found.id?, running, labels: found.labels? })
    }

    fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// The directory of sockets of its engine.
    fn sockets(&self) -> Option<&Path> {
        Path::new(self.label(label::HOME)).parent()
    }

    /// Nobody looks after it any more.
    fn is_orphan(&self, boot: &str) -> bool {
        if machine(self.label(label::BOOT)) != machine(boot) {
            // Of the time before this machine started: whatever ran then, doesn't now.
            return !self.running;
        }
        let ours = self.label(label::BOOT) == boot;
        ours && self.sockets().is_some_and(is_abandoned)
    }
}

impl Docker {
    /// Docker is in use from now on, by an engine that may be killed: removes what others left, and what this one will.
    pub(super) fn used(self: &Rc<Self>) {
        if self.used.replace(true) {
            return;
        }
        tokio::task::spawn_local(remove_all(self.clone()));
        self.sweep_now();
        let Some(note) = self.note() else { return };
        let written =
            note.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(note, ""));
        if let Err(error) = written {
            tracing::debug!(%error, "it could not be noted that Docker is used");
        }
    }

    fn note(&self) -> Option<PathBuf> {
        Some(self.settings.state.as_ref()?.join(USED))
    }

    /// Removes what killed engines left, if this user's engines have used Docker before. To be called when the engine
    /// starts; takes no time of its own. The first container of an engine sweeps, too.
    pub fn sweep(self: &Rc<Self>) {
        if self.note().is_some_and(|note| note.exists()) {
            self.sweep_now();
        }
    }

    fn sweep_now(self: &Rc<Self>) {
        if self.swept.replace(true) {
            return;
        }
        let docker = self.clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = docker.remove_orphans().await {
                tracing::debug!("orphans in Docker were not looked for: {error}");
            }
        });
    }

    async fn remove_orphans(&self) -> Result<(), DockerError> {
        let boot = boot();
        let found = self.labelled(&[label::HOME.to_owned()]).await?;
        for orphan in found.iter().filter(|it| it.is_orphan(&boot)) {
            let model = orphan.label(label::MODEL);
            tracing::info!(
                container = orphan.id,
                model,
                "removes a container of an engine that is gone"
            );
            self.remove(&orphan.id).await?;
        }
        Ok(())
    }

    /// Removes whatever this engine still has in Docker. To be called when it ends, however it ends.
    pub async fn clear_up(&self) {
        if !self.used.get() {
            return;
        }
        match tokio::time::timeout(CLEAR_UP_WAIT, self.remove_own()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("containers are left to the next engine: {error}"),
            Err(_) => tracing::warn!(
                "containers are left to the next engine: Docker did not remove them within {CLEAR_UP_WAIT:?}"
            ),
        }
    }

    async fn remove_own(&self) -> Result<(), DockerError> {
        let own = [(label::ENGINE, std::process::id().to_string()), (label::BOOT, boot())];
        let own = own.map(|(label, value)| format!("{label}={value}"));
        loop {
            let mut left = self.labelled(&own).await?;
            left.retain(|it| it.sockets() == Some(&self.settings.sockets));
            for container in &left {
                self.remove(&container.id).await?;
            }
            if left.is_empty() {
                return Ok(());
            }
            // Docker says of one whose removal is under way that all is well.
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// This machine since it started, and what it sees as its files.
pub(super) fn boot() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let files = fs::read_link("/proc/self/ns/mnt").unwrap_or_default();
    format!("{}/{}", boot.trim(), files.display())
}

fn machine(boot: &str) -> &str {
    boot.split('/').next().unwrap_or_default()
}

/// An engine that ended by itself has removed its directory; one that was killed has let go of its lock.
fn is_abandoned(sockets: &Path) -> bool {
    match File::open(sockets.join(ENGINE_LOCK)) {
        Ok(lock) => lock.try_lock().is_ok(),
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(home: &Path, boot: &str, running: bool) -> Labelled {
        let labels = [(label::HOME, home.display().to_string()), (label::BOOT, boot.to_owned())];
        let labels = labels.map(|(label, value)| (label.to_owned(), value)).into();
        Labelled { id: "1".into(), running, labels }
    }

    #[test]
    fn a_container_is_an_orphan_once_its_engine_has_let_go_of_the_lock() {
        let sockets = std::env::temp_dir().join(format!("foil-orphans-{}", std::process::id()));
        fs::create_dir_all(&sockets).unwrap();
        let lock = File::create(sockets.join(ENGINE_LOCK)).unwrap();
        lock.lock().unwrap();
        let (here, home) = (boot(), sockets.join("1"));
        assert!(!labelled(&home, &here, true).is_orphan(&here), "its engine lives");
        drop(lock);
        assert!(labelled(&home, &here, true).is_orphan(&here));
        fs::remove_dir_all(&sockets).unwrap();
        assert!(labelled(&home, &here, true).is_orphan(&here), "its engine's directory is gone");
    }

    #[test]
    fn what_another_namespace_runs_is_left_alone_and_what_ran_before_a_restart_is_not() {
        let here = boot();
        let nowhere = Path::new("/nowhere/1");
        let elsewhere = format!("{}/mnt:[1]", machine(&here));
        assert!(!labelled(nowhere, &elsewhere, true).is_orphan(&here));
        assert!(!labelled(nowhere, &elsewhere, false).is_orphan(&here));
        assert!(labelled(nowhere, "another-boot/mnt:[1]", false).is_orphan(&here));
        assert!(!labelled(nowhere, "another-boot/mnt:[1]", true).is_orphan(&here));
    }
}
