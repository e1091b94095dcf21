//! Steps that measure: copies to the GPU, and each model through the engine against its bare loop.

use std::time::Duration;

use serde_json::json;

use super::models::{Bare, BareFound, Device, Model};
use super::partition::{Apart, apart};
use super::program::said;
use super::serving::{Client, Had, Served};
use super::site::{Left, Site};
use super::step::{Due, Findings, Stop, fail, short_of_percent, skip};

const COPIES: &str = include_str!("../../models/copies.py");
/// Memory that is registered is copied by the GPU itself.
pub(super) const REGISTERED_GAIN_MIN: f64 = 1.5;
const OVERHEAD_PERCENT_MAX: f64 = 5.0;
const ADDED_US_MAX: f64 = 60.0;
const FULL: u64 = 64;
/// Of requests of a whole batch each: one is run, the other waits, so that the model never does.
const FULL_CONNECTIONS: usize = 2;
/// Of each window: some hundred batches of milliseconds.
const WINDOW: Duration = Duration::from_secs(3);

pub(super) fn copies(site: &Site, left: Left) -> Result<Findings, Stop> {
    site.gpu()?;
    let python = site.torch()?;
    site.workplace.write("copies.py", COPIES)?;
    let mut command = site.command(&python.file);
    command.arg(site.workplace.file("copies.py"));
    let said = said(&mut command, &site.workplace.file(""), left.span())?;
    let found = said.json().ok_or_else(|| fail(said.complaint()))?;
    let speed = |name: &str| found[name].as_f64();
    let (plain, registered) = (speed("unregistered_gb_s"), speed("registered_gb_s"));
    let Some((plain, registered)) = plain.zip(registered) else {
        return Err(skip(format!("CUDA registers no shared memory here: {found}")));
    };
    let due = Some(Due::AtLeast(REGISTERED_GAIN_MIN));
    Ok(Findings::of(found)
        .figure("unregistered", plain, "GB/s", None)
        .figure("registered", registered, "GB/s", None)
        .figure("registered by unregistered", registered / plain, "×", due))
}

pub(super) fn native(site: &Site, left: Left) -> Result<Findings, Stop> {
    speed(site, Model::Native, left)
}

pub(super) fn pytorch(site: &Site, left: Left) -> Result<Findings, Stop> {
    speed(site, Model::PyTorch, left)
}

/// Without a GPU it is measured on the CPU, where nothing is due: models and engine share the cores.
fn speed(site: &Site, model: Model, left: Left) -> Result<Findings, Stop> {
    model.is_here(site, &site.sizes, left)?;
    let device = if site.gpu.is_ok() { Device::Gpu } else { Device::Cpu };
    let apart = apart(&site.cpus).ok_or_else(|| fail("one CPU is too few to serve and to ask"))?;
    let bare =
        |batch| model.bare(site, Bare { device, batch, seconds: WINDOW.as_secs_f64() }, left);
    let before = [bare(FULL)?, bare(1)?];
    let served = served(site, model, (device, &apart))?;
    let after = [bare(FULL)?, bare(1)?];
    Ok(compared(device, [before, after], served))
}

/// Full batches, and one row at a time, through the engine.
fn served(site: &Site, model: Model, (device, apart): (Device, &Apart)) -> Result<[Had; 2], Stop> {
    let repository = model.repository(site, (device, &site.sizes), apart)?;
    let served = Served::start(site, &repository, &[apart.front])?;
    let client = if apart.models.is_empty() { Client::Anywhere } else { Client::Own(apart.client) };
    let full = served.load(&model.question(FULL), (FULL_CONNECTIONS, client), WINDOW)?;
    let one = served.load(&model.question(1), (1, client), WINDOW)?;
    Ok([full, one])
}

fn compared(device: Device, bare: [[BareFound; 2]; 2], served: [Had; 2]) -> Findings {
    let [[full_before, one_before], [full_after, one_after]] = bare;
    let [full, one] = served;
    let bare_rows_s = f64::midpoint(full_before.rows_per_s, full_after.rows_per_s);
    let bare_us = f64::midpoint(one_before.p50_us, one_after.p50_us);
    let rows_s = full.answers_per_s * FULL as f64;
    let due = |due| (device == Device::Gpu).then_some(due);
    let detail = json!({
        "device": device.name(),
        "bare_rows_per_s": [full_before.rows_per_s, full_after.rows_per_s],
        "bare_p50_us": [one_before.p50_us, one_after.p50_us],
        "bare_batch_64_p50_us": [full_before.p50_us, full_after.p50_us],
        "served_batch_64_p50_us": full.p50_us,
    });
    Findings::of(detail)
        .figure("bare, batches of 64", bare_rows_s, "rows/s", None)
        .figure("served, batches of 64", rows_s, "rows/s", None)
        .figure(
            "overhead, batches of 64",
            short_of_percent(rows_s, bare_rows_s),
            "%",
            due(Due::AtMost(OVERHEAD_PERCENT_MAX)),
        )
        .figure("bare p50, one row", bare_us, "µs", None)
        .figure("served p50, one row", one.p50_us, "µs", None)
        .figure("added, one row", one.p50_us - bare_us, "µs", due(Due::AtMost(ADDED_US_MAX)))
}

#[cfg(test)]
mod tests {
    use super::super::step::Verdict;
    use super::*;

    #[test]
    fn overheads_are_taken_from_the_mean_of_before_and_after_and_due_on_a_gpu_alone() {
        let bare = |rows_per_s, p50_us| BareFound { rows_per_s, p50_us };
        let bare = [[bare(900.0, 9.0), bare(1.0, 90.0)], [bare(1100.0, 9.0), bare(1.0, 110.0)]];
        let had = |answers_per_s, p50_us| Had { answers_per_s, p50_us };
        let served = [had(960.0 / 64.0, 1.0), had(1.0, 170.0)];
        let on_gpu = compared(Device::Gpu, bare, served).figures;
        let (overhead, added) = (&on_gpu[2], &on_gpu[5]);
        assert!((overhead.value - 4.0).abs() < 1e-9 && overhead.verdict == Verdict::Pass);
        assert!((added.value - 70.0).abs() < 1e-9 && added.verdict == Verdict::Miss);
        let on_cpu = compared(Device::Cpu, bare, served).figures;
        assert!(on_cpu.iter().all(|figure| figure.verdict == Verdict::Noted));
    }
}
