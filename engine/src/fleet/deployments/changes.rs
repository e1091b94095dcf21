//! What people and programs change of what is wanted. Each is durable before it is acknowledged.

use std::rc::Rc;

use super::asks::{Roll, Set};
use super::events::{Accepted, Event};
use super::model::Managed;
use super::overseer::Overseer;
use super::wanted::{Failure, ModelRow, Options, Refused};
use super::{FleetError, artifacts::Staged};
use crate::fleet::retire::withdraw;
use crate::observe::deployments::Outcome;

impl Overseer {
    pub(super) async fn roll(
        self: &Rc<Self>,
        name: &str,
        roll: Roll,
    ) -> Result<Accepted, FleetError> {
        match roll {
            Roll::Deploy { staged, options } => {
                self.find_or_make(name)?.deploy(staged, &options).await
            }
            Roll::Promote { version } => self.find(name)?.promote(|_| Ok(version)).await,
            Roll::Back => self.find(name)?.promote(ModelRow::back).await,
        }
    }

    pub(super) async fn remove(
        self: &Rc<Self>,
        name: &str,
        version: Option<u64>,
    ) -> Result<(), FleetError> {
        self.find(name)?.remove(version).await
    }
}

impl Managed {
    fn refused(&self, refused: Refused) -> FleetError {
        FleetError::Refused { name: self.name.to_string(), refused }
    }

    async fn deploy(&self, staged: Staged, options: &Options) -> Result<Accepted, FleetError> {
        let _changing = self.changing.lock().await;
        let overseer = self.overseer()?;
        let artifacts = overseer.holds()?.artifacts.clone();
        let mut row = self.row.borrow().clone();
        // Of versions that are on their way out, too.
        let (files, running) = (self.files.borrow().last().copied(), self.last_running());
        let at_least = files.max(running).unwrap_or_default();
        let (artifact, place) = (staged.artifact.clone(), staged.place.clone());
        let version = row
            .deploy(artifact, options, at_least, self.now_ms())
            .map_err(|refused| self.refused(refused))?;
        let name = self.name.clone();
        let kept =
            tokio::task::spawn_blocking(move || artifacts.keep(staged, &name, version)).await;
        let done = match kept.map_err(|_| FleetError::Stopping)?.map_err(FleetError::Disk) {
            Ok(_) => self.commit(row).await,
            Err(error) => Err(error),
        };
        // Not before it is wanted, or known not to be: what lies there unwanted is removed.
        self.files.borrow_mut().insert(version);
        done?;
        self.places.borrow_mut().insert(version, place);
        self.publish_default();
        let accepted = self.listeners.borrow_mut().add(version);
        self.told_unwanted("a newer version was deployed before this one was ready");
        Ok(accepted)
    }

    fn last_running(&self) -> Option<u64> {
        self.running.borrow().last_key_value().map(|(version, _)| *version)
    }

    /// The version that `which` names gets the traffic once it is live.
    async fn promote(
        &self,
        which: impl FnOnce(&ModelRow) -> Result<u64, Refused>,
    ) -> Result<Accepted, FleetError> {
        let _changing = self.changing.lock().await;
        let mut row = self.row.borrow().clone();
        let version = which(&row).map_err(|refused| self.refused(refused))?;
        row.promote(version).map_err(|refused| self.refused(refused))?;
        let accepted = self.listeners.borrow_mut().add(version);
        self.commit(row).await?;
        self.told_unwanted("another version was promoted before this one was ready");
        Ok(accepted)
    }

    pub(super) async fn set(&self, set: Set) -> Result<(), FleetError> {
        let _changing = self.changing.lock().await;
        let mut row = self.row.borrow().clone();
        // It may have waited behind a removal.
        if row.versions.is_empty() {
            return Err(FleetError::NoModel { name: self.name.to_string() });
        }
        match set {
            Set::Replicas(replicas) => row.replicas = Some(replicas),
            Set::Slo(slo) => row.slo = slo,
        }
        self.commit(row).await
    }

    /// Nobody finds it any more once this returns; what was accepted is answered.
    async fn remove(&self, version: Option<u64>) -> Result<(), FleetError> {
        let _changing = self.changing.lock().await;
        let mut row = self.row.borrow().clone();
        match version {
            Some(version) => row.remove(version).map_err(|refused| self.refused(refused))?,
            None => row.remove_all(),
        }
        self.commit(row).await?;
        let row = self.row.borrow().clone();
        for (version, running) in &*self.running.borrow() {
            let model = running.model().filter(|_| !row.versions.contains_key(version));
            if let Some(model) = model {
                withdraw(&self.shared, &model);
            }
        }
        self.publish_default();
        self.told_unwanted("it was removed before it was ready");
        Ok(())
    }

    /// Those who wait for a version that is not to run any more wait in vain.
    fn told_unwanted(&self, why: &str) {
        let waited_for = self.listeners.borrow().versions();
        for version in waited_for {
            let runs = self.row.borrow().versions.get(&version).is_some_and(|it| it.role.runs());
            if !runs {
                let failure = Failure { error: why.to_owned(), ..Failure::default() };
                self.count(Outcome::Superseded);
                self.tell(version, &Event::Failed { version, failure });
            }
        }
    }
}
