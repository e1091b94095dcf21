//! The index: what is served, what is on its way, and what lies in a repository besides.

use crate::fleet::catalog::ModelState;
use crate::fleet::model::{Model, Place};
use crate::fleet::orders::{Indexed, Standing};
use crate::fleet::supervisor::Shared;

pub(super) async fn index(shared: &Shared) -> Vec<Indexed> {
    let repositories = shared.config.repositories.clone();
    let names = tokio::task::spawn_blocking(move || repositories.names()).await.unwrap_or_default();
    let mut complaints = shared.complaints.borrow_mut();
    let models = shared.models.borrow();
    complaints.retain(|name, _| {
        names.contains(name) || models.iter().any(|model| model.name() == Some(name))
    });
    let mut lines: Vec<_> = models.iter().filter_map(|model| line(shared, model)).collect();
    for line in &mut lines {
        if let Some(complaint) = complaints.get(&line.name).filter(|_| line.reason.is_empty()) {
            line.reason.clone_from(complaint);
        }
    }
    for name in names {
        if !lines.iter().any(|line| line.name == name) {
            let complaint = complaints.get(&name);
            let standing = complaint.map(|_| Standing::Unavailable);
            let reason = complaint.cloned().unwrap_or_default();
            lines.push(Indexed { name, version: None, standing, reason });
        }
    }
    lines.sort_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
    lines
}

/// Of one that comes to life beside another the other is told; of one that leaves to a successor the successor.
fn line(shared: &Shared, model: &Model) -> Option<Indexed> {
    let name = model.name()?;
    let version = model.target.version;
    let catalog = shared.config.catalog.load();
    let entry = catalog.find(name, Some(version)).ok();
    let (standing, reason) = match (model.place.get(), entry) {
        (Place::Beside, _) | (Place::Leaving, Some(_)) => return None,
        (Place::Leaving, None) => (Standing::Unloading, String::new()),
        (Place::Served, None) => (Standing::Loading, String::new()),
        (Place::Served, Some(entry)) => match &entry.state {
            ModelState::Loading => (Standing::Loading, String::new()),
            ModelState::Ready => (Standing::Ready, String::new()),
            ModelState::Unavailable { reason, .. } => (Standing::Unavailable, reason.to_string()),
        },
    };
    Some(Indexed {
        name: name.to_owned(),
        version: Some(version),
        standing: Some(standing),
        reason,
    })
}
