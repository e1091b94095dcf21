//! The step that looks whether a model's memory comes back from the GPU once the model is unloaded.

use std::time::Duration;

use super::look::used_bytes;
use super::models::{Device, Model};
use super::partition::apart;
use super::serving::Served;
use super::site::{Left, Site};
use super::step::{Due, Findings, Stop, fail};
use crate::clock::pause;

/// What the driver keeps for itself may differ by as much.
const KEPT_MIB_MAX: f64 = 64.0;
/// A process that has ended gives its memory back within moments.
const LOOKS: u32 = 10;
const LOOK_EVERY: Duration = Duration::from_millis(500);

const MIB: f64 = (1 << 20) as f64;

pub(super) fn returned(site: &Site, left: Left) -> Result<Findings, Stop> {
    let uuid = site.gpu()?.uuid.clone();
    let model = if site.torch().is_ok() { Model::PyTorch } else { Model::Native };
    model.is_here(site, &site.sizes, left)?;
    let apart = apart(&site.cpus).ok_or_else(|| fail("one CPU is too few to serve and to ask"))?;
    let used_mib = || used_bytes(site, &uuid, left).map(|bytes| bytes / MIB);
    let before = used_mib()?;
    let served = Served::start(
        site,
        &model.repository(site, (Device::Gpu, &site.sizes), &apart)?,
        &[apart.front],
    )?;
    served.answer(&model.question(1))?;
    let during = used_mib()?;
    served.unload(model.name())?;
    let mut after = used_mib()?;
    for _ in 1..LOOKS {
        if after - before <= KEPT_MIB_MAX {
            break;
        }
        pause(LOOK_EVERY);
        after = used_mib()?;
    }
    if during - before <= KEPT_MIB_MAX {
        return Err(fail(format!("the model took no memory of {uuid}: was it on the GPU at all?")));
    }
    let due = Some(Due::AtMost(KEPT_MIB_MAX));
    Ok(Findings::default().figure("taken by the model", during - before, "MiB", None).figure(
        "not returned after its unload",
        after - before,
        "MiB",
        due,
    ))
}
