//! The one who changes applications and models: a task on the control thread, asked by message, one wish after the other.

use std::fmt::Display;
use std::num::NonZeroU32;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::change::{Change, Changing, NewModel, Refused};
use super::{Apps, Mode, PublishedApps, Runs};
use crate::clipper_rpc::models::{ClipperModels, ModelId, Registration};
use crate::fleet::catalog::PublishedCatalog;
use crate::ids::Version;

/// Wishes waiting: administration is rare, and whoever wishes waits for the answer.
const WISHES_MAX: usize = 64;

#[derive(Debug)]
struct Wish {
    change: Change,
    reply: Option<oneshot::Sender<Result<(), Refused>>>,
}

/// The way to the control thread, from any thread.
#[derive(Clone, Debug)]
pub struct Changes {
    wishes: mpsc::Sender<Wish>,
}

/// Wishes on their way.
#[derive(Debug)]
pub struct Wishes(mpsc::Receiver<Wish>);

pub fn channel() -> (Changes, Wishes) {
    let (wishes, receiver) = mpsc::channel(WISHES_MAX);
    (Changes { wishes }, Wishes(receiver))
}

impl Changes {
    /// Comes back when the change is published, or refused.
    pub async fn make(&self, change: Change) -> Result<(), Refused> {
        let (reply, answer) = oneshot::channel();
        let sent = self.wishes.send(Wish { change, reply: Some(reply) }).await;
        sent.map_err(|_| Refused::Stopping)?;
        answer.await.unwrap_or(Err(Refused::Stopping))
    }

    /// Never waits. What finds no room is noted again by the next request that sees the same.
    pub fn settle(&self, model: Arc<str>, version: Arc<str>) {
        let change = Change::Settle { model, version };
        let _noted = self.wishes.try_send(Wish { change, reply: None });
    }
}

/// Owns applications and models.
#[derive(Debug)]
pub struct Control {
    pub apps: PublishedApps,
    pub catalog: PublishedCatalog,
    pub containers: ClipperModels,
    pub mode: Mode,
}

impl Control {
    /// Until everybody who could wish is gone.
    pub async fn run(self, mut wishes: Wishes) {
        while let Some(Wish { change, reply }) = wishes.0.recv().await {
            let made = self.make(change).await;
            if let Some(reply) = reply {
                // Who no longer listens finds the change in the listing.
                let _gone = reply.send(made);
            }
        }
    }

    async fn make(&self, change: Change) -> Result<(), Refused> {
        let (apps, catalog) = (self.apps.load_full(), self.catalog.load_full());
        let changing = Changing { apps: &apps, catalog: &catalog, mode: self.mode };
        let next = match change {
            Change::AddApp(app) => changing.add_app(app)?,
            Change::DeleteApp { name } => changing.delete_app(&name)?,
            Change::Link { app, models } => changing.link(&app, &models)?,
            Change::Unlink { app, models } => changing.unlink(&app, &models)?,
            Change::AddModel(new) => {
                changing.check_model(&new)?;
                let (version, runs) = self.establish(&new).await?;
                changing.add_model(new, version, runs)
            }
            Change::SetVersion { model, version } => changing.set_version(&model, &version)?,
            Change::DeleteModel { model, version } => {
                let (record, next) = changing.delete_model(&model, &version)?;
                if record.runs == Runs::Containers {
                    self.dismiss(&model, &version).await?;
                }
                next
            }
            Change::Settle { model, version } => match changing.settle(&model, &version) {
                Some(next) => next,
                None => return Ok(()),
            },
        };
        self.publish(next);
        Ok(())
    }

    /// Gives the version to containers, unless the engine serves a model of that name and number from a file.
    async fn establish(&self, new: &NewModel) -> Result<(Version, Runs), Refused> {
        let number = new.version.parse().ok().map(Version);
        let number = number.filter(|number| number.to_string() == new.version);
        if let Some(number) = number
            && self.catalog.load().find(&new.model, Some(number)).is_ok()
        {
            return Ok((number, Runs::Engine));
        }
        let id = model_id(&new.model, &new.version)?;
        let batch_size = u32::try_from(new.batch_size).ok().and_then(NonZeroU32::new);
        let registration = Registration { id, input_type: new.input_type, batch_size };
        let version = self.containers.register(registration).await.map_err(refusal)?;
        Ok((version, Runs::Containers))
    }

    async fn dismiss(&self, model: &str, version: &str) -> Result<(), Refused> {
        let id = model_id(model, version)?;
        self.containers.remove(id).await.map_err(refusal)
    }

    fn publish(&self, apps: Apps) {
        self.apps.store(Arc::new(apps));
    }
}

fn model_id(model: &str, version: &str) -> Result<ModelId, Refused> {
    ModelId::new(model, version).map_err(refusal)
}

fn refusal(error: impl Display) -> Refused {
    Refused::Containers { reason: error.to_string() }
}
