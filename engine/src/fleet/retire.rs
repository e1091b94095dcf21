//! How a model version goes while others stay: nobody finds it any more, what was accepted is answered, then its
//! dispatcher and its processes end.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::learned::store_one;
use super::model::{Established, Model, Place};
use super::supervisor::{Shared, keepers_ended};
use crate::dispatch::handle::ModelHandle;
use crate::dispatch::{ControlMsg, CoreMsg};

/// A core that does not take up a message within this is stuck; then nothing it looked up can be waited for.
const PASS_WAIT: Duration = Duration::from_secs(5);

/// Asked of those who still waited when the time for it was over: the model won't be back at once.
const GONE_RETRY: Duration = Duration::from_secs(1);

/// Takes a model version out of service. It answers within `limits.drain_s` and the time a process needs to end.
pub async fn retire(shared: &Shared, model: &Rc<Model>) {
    withdraw(shared, model);
    if model.established.get().is_some() {
        pass(shared).await;
        store_one(shared, model).await;
    }
    model.stopping.send_replace(true);
    if let Some(known) = model.established.get() {
        drain(shared, known).await;
    }
    keepers_ended(model).await;
    shared.models.borrow_mut().retain(|other| !Rc::ptr_eq(other, model));
    if let Some(known) = model.established.get() {
        shared.leave_core(known.handle.core);
        forget(shared, &known.handle).await;
    }
}

/// No request that comes from now on finds it.
pub fn withdraw(shared: &Shared, model: &Model) {
    model.place.set(Place::Leaving);
    if let Some(known) = model.established.get() {
        shared.publish(|catalog| catalog.without(&known.handle));
    }
}

/// Until every core has come by: what it looked up before has been submitted then.
async fn pass(shared: &Shared) {
    for link in shared.config.links.iter() {
        let (passed, wait) = oneshot::channel();
        let passed = async { link.send(CoreMsg::Pass(passed)).await.is_ok() && wait.await.is_ok() };
        if timeout(PASS_WAIT, passed).await != Ok(true) {
            tracing::warn!(
                "a core is stuck; a request that it holds for a model that goes may fail"
            );
        }
    }
}

async fn drain(shared: &Shared, known: &Established) {
    let (done, drained) = oneshot::channel();
    let control = &known.control;
    let told = control.send(ControlMsg::GiveWay).await.is_ok()
        && control.send(ControlMsg::Drain(done)).await.is_ok();
    if !told {
        return;
    }
    let bound = Duration::from_secs(shared.config.limits.drain_s);
    if timeout(bound, drained).await.is_err() {
        let name = &known.handle.name;
        tracing::warn!(
            model = &**name,
            ?bound,
            "what it had accepted took longer than limits.drain_s"
        );
        let (reason, retry_after) = (Arc::from("it is unloaded"), GONE_RETRY);
        // Whoever has ended in the meantime has nobody waiting.
        let _ended = control.send(ControlMsg::Unavailable { reason, retry_after }).await;
    }
}

/// What was counted goes with the last of its name and version; a successor goes on counting.
pub async fn forget(shared: &Shared, gone: &ModelHandle) {
    let (name, version) = (&gone.name, gone.version);
    let successor = shared.models.borrow().iter().find_map(|model| {
        let other = model.established.get()?;
        let same = other.handle.name == *name && other.handle.version == version;
        same.then(|| other.control.clone())
    });
    if let Some(successor) = successor {
        // It may have ended since: then it is forgotten in its turn.
        let _ended = successor.send(ControlMsg::Succeed).await;
        return;
    }
    if shared.config.catalog.load().find(name, Some(version)).is_ok() {
        return;
    }
    for link in shared.config.links.iter() {
        // A core that has ended has forgotten everything.
        let _ended = link.send(CoreMsg::Forget(name.clone(), version)).await;
    }
}
