//! How a model stands, as the decisions want to see it.

use super::model::{Managed, Running, Stage};
use super::reconcile::{Observed, Phase, Seen};

pub(super) fn observe(managed: &Managed) -> Observed {
    let running = managed.running.borrow();
    let versions = running.iter().map(|(version, running)| (*version, seen(running))).collect();
    let files = managed.files.borrow().iter().copied().collect();
    Observed { versions, files, replicas: None }
}

fn seen(running: &Running) -> Seen {
    // One whose replicas all died after it was up comes back by itself; until then nothing is given to it.
    let phase = match &*running.stage.borrow() {
        Stage::Up | Stage::Checked if !running.is_live() => Phase::Loading,
        Stage::Loading => Phase::Loading,
        Stage::Up => Phase::Live,
        Stage::Checking => Phase::Checking,
        Stage::Checked => Phase::Checked,
        Stage::Failed(why) => Phase::Failed(why.clone()),
        Stage::Leaving => Phase::Leaving,
    };
    Seen {
        phase,
        published: running.published.get(),
        slo: running.slo.borrow().clone(),
        replicas: running.replicas.get(),
    }
}
