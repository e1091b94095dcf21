//! The index: what is served, what is on its way, and what lies in a repository besides.

use std::collections::BTreeMap;

use crate::fleet::catalog::{Catalog, ModelEntry, ModelState};
use crate::fleet::model::{Model, Place};
use crate::fleet::orders::{Indexed, Standing};
use crate::fleet::supervisor::Shared;

pub(super) async fn index(shared: &Shared) -> Vec<Indexed> {
    let repositories = shared.config.repositories.clone();
    let names = tokio::task::spawn_blocking(move || repositories.names()).await.unwrap_or_default();
    let catalog = shared.config.catalog.load();
    let models = shared.models.borrow();
    let mut lines: Vec<_> = catalog.entries().into_iter().map(published).collect();
    lines.extend(models.iter().filter_map(|model| unpublished(&catalog, model)));
    let mut complaints = shared.complaints.borrow_mut();
    let is_known = |name: &str| names.iter().any(|other| other == name);
    complaints.retain(|name, _| is_known(name) || lines.iter().any(|line| line.name == *name));
    complete(&mut lines, names, &complaints);
    lines
}

/// With the reasons why loads failed, and with what is not loaded at all.
fn complete(lines: &mut Vec<Indexed>, names: Vec<String>, complaints: &BTreeMap<String, String>) {
    for line in &mut *lines {
        if let Some(complaint) = complaints.get(&line.name).filter(|_| line.reason.is_empty()) {
            line.reason.clone_from(complaint);
        }
    }
    for name in names {
        if lines.iter().all(|line| line.name != name) {
            let complaint = complaints.get(&name);
            let standing = complaint.map(|_| Standing::Unavailable);
            let reason = complaint.cloned().unwrap_or_default();
            lines.push(Indexed { name, version: None, standing, reason });
        }
    }
    lines.sort_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
}

fn published(entry: &ModelEntry) -> Indexed {
    let (standing, reason) = match &entry.state {
        ModelState::Loading => (Standing::Loading, String::new()),
        ModelState::Ready => (Standing::Ready, String::new()),
        ModelState::Unavailable { reason, .. }
        | ModelState::Absent { reason, .. }
        | ModelState::Recovering { reason } => (Standing::Unavailable, reason.to_string()),
    };
    let name = entry.handle.name.to_string();
    Indexed { name, version: Some(entry.handle.version), standing: Some(standing), reason }
}

/// One that has not said hello yet, or is leaving; not one beside whom another is served.
fn unpublished(catalog: &Catalog, model: &Model) -> Option<Indexed> {
    let (name, version) = (model.name()?, model.target.version);
    if catalog.find(name, Some(version)).is_ok() {
        return None;
    }
    let standing = match model.place.get() {
        Place::Served | Place::Beside => Standing::Loading,
        Place::Leaving => Standing::Unloading,
    };
    let (name, reason) = (name.to_owned(), String::new());
    Some(Indexed { name, version: Some(version), standing: Some(standing), reason })
}
