//! Looks at what each model is asked for, once a second, and gives it the replicas it needs. The thinking is
//! [`autoscale`](super::autoscale)'s.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::autoscale::{Autoscale, Demand, LOOK_EVERY, Look};
use super::model::{Model, Place};
use super::scaling::set_replicas;
use super::supervisor::Shared;
use crate::dispatch::{ControlMsg, LoadReading};
use crate::observe::stages::ScaleStanding;

/// A dispatcher that does not answer within this is looked at another time.
const ANSWER_WAIT: Duration = Duration::from_millis(500);

/// What is remembered of a model between two looks.
struct Watched {
    model: Rc<Model>,
    scale: Autoscale,
    standing: ScaleStanding,
}

/// Until the fleet ends.
pub async fn keep_scaling(shared: Rc<Shared>) {
    let mut stopping = shared.stopping.subscribe();
    let mut watched: HashMap<*const Model, Watched> = HashMap::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        let served = served(&shared);
        // One that has gone is kept until here, so no other can have its address.
        watched.retain(|_, one| served.iter().any(|model| Rc::ptr_eq(model, &one.model)));
        for model in served {
            let one = watched.entry(Rc::as_ptr(&model)).or_insert_with(|| Watched {
                model: model.clone(),
                scale: Autoscale::new(Duration::from_secs(shared.config.limits.scale_down_s)),
                standing: ScaleStanding::default(),
            });
            one.look(&shared).await;
        }
    }
}

fn served(shared: &Shared) -> Vec<Rc<Model>> {
    let models = shared.models.borrow();
    models.iter().filter(|model| model.place.get() == Place::Served).cloned().collect()
}

impl Watched {
    async fn look(&mut self, shared: &Rc<Shared>) {
        let Some(reading) = self.read().await else { return };
        let model = &self.model;
        let look = Look {
            now: shared.config.clock.now(),
            arrived: reading.arrived,
            turned_away: reading.turned_away,
            capacity: reading.capacity,
            live: model.live.get() as u32,
            wanted: model.replicas(),
        };
        let (Demand { load, needed }, wanted) = self.scale.look(model.scale.get(), look);
        model.load.set(load);
        if let Some(wanted) = wanted {
            let name = model.name().unwrap_or("model");
            tracing::info!(
                model = name,
                from = look.wanted,
                to = wanted,
                load,
                "replicas follow the load"
            );
            if let Err(error) = set_replicas(shared, model, wanted) {
                tracing::warn!(model = name, "it can't be scaled: {error}");
            }
        }
        let (wanted, capacity) = (model.replicas(), reading.capacity.unwrap_or_default());
        self.standing = ScaleStanding { wanted, needed, load, capacity };
    }

    /// None: it has not said hello, ends, or is too busy.
    async fn read(&self) -> Option<LoadReading> {
        let known = self.model.established.get()?;
        let (reply, reading) = oneshot::channel();
        known.control.try_send(ControlMsg::Load { scale: self.standing, reply }).ok()?;
        timeout(ANSWER_WAIT, reading).await.ok()?.ok()
    }
}
