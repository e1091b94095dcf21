//! How a model stands, as the decisions want to see it.

use super::model::{Managed, Running, Stage};
use super::reconcile::{Observed, Phase, Seen};

pub(super) fn observe(managed: &Managed) -> Observed {
    let running = managed.running.borrow();
    let versions =
        running.iter().map(|(version, running)| (*version, seen(managed, running))).collect();
    let files = managed.files.borrow().iter().copied().collect();
    Observed { versions, files }
}

fn seen(managed: &Managed, running: &Running) -> Seen {
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
    // Whatever else is wanted by then is looked at once the one on its way is in its place.
    let slo = match running.replacing.get() {
        true => managed.row.borrow().slo.clone(),
        false => running.slo.borrow().clone(),
    };
    Seen { phase, published: running.published.get(), slo, bounds: running.bounds.get() }
}
