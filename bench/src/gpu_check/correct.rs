//! Steps that compare answers: the GPU's with the CPU's where there is one, else rows asked together with rows alone.

use serde_json::json;

use super::models::{Device, Model};
use super::partition::{Apart, apart};
use super::serving::{Question, Served};
use super::site::{Left, Site, Sizes};
use super::step::{Due, Findings, Stop, distance, fail};

/// Rows of the batch that is compared.
const ROWS: u64 = 64;
/// Of the largest number in the answer: sums of thousands of products in another order, and in TF32 where it is on.
const APART_MAX: f64 = 5e-3;
/// On one device, sums of another batch's shape may be taken in another order.
const ALONE_APART_MAX: f64 = 1e-4;

pub(super) fn native(site: &Site, left: Left) -> Result<Findings, Stop> {
    correct(site, Model::Native, left)
}

pub(super) fn pytorch(site: &Site, left: Left) -> Result<Findings, Stop> {
    correct(site, Model::PyTorch, left)
}

fn correct(site: &Site, model: Model, left: Left) -> Result<Findings, Stop> {
    model.is_here(site, &Sizes::SMALL, left)?;
    let apart = apart(&site.cpus).ok_or_else(|| fail("one CPU is too few to serve and to ask"))?;
    let on_cpu = Answers::of(site, model, (Device::Cpu, &apart))?;
    let findings = on_cpu.alone_and_together(Device::Cpu)?;
    if site.gpu.is_err() {
        return Ok(findings);
    }
    let on_gpu = Answers::of(site, model, (Device::Gpu, &apart))?;
    let mut all = on_gpu.alone_and_together(Device::Gpu)?;
    all.figures.extend(findings.figures);
    let most = between("the GPU's answer and the CPU's", &on_gpu.together, &on_cpu.together)?;
    within("the GPU's answer differs from the CPU's", most, APART_MAX)?;
    all.detail = json!({ "rows": ROWS, "numbers": on_gpu.together.len() });
    Ok(all.figure(
        "GPU from CPU, largest difference",
        most,
        "of the largest number",
        Some(Due::AtMost(APART_MAX)),
    ))
}

/// One model's answers to the same rows.
struct Answers {
    together: Vec<f32>,
    /// To the first row, asked alone.
    alone: Vec<f32>,
}

impl Answers {
    fn of(site: &Site, model: Model, (device, apart): (Device, &Apart)) -> Result<Answers, Stop> {
        let repository = model.repository(site, (device, &Sizes::SMALL), apart)?;
        let served = Served::start(site, &repository, &[apart.front])?;
        let ask = |rows| -> Result<Vec<f32>, Stop> {
            let question: Question = model.question(rows);
            served.answer(&question)
        };
        Ok(Answers { together: ask(ROWS)?, alone: ask(1)? })
    }

    /// The first row of the same seed is the same row.
    fn alone_and_together(&self, device: Device) -> Result<Findings, Stop> {
        let first = &self.together[..self.alone.len().min(self.together.len())];
        let most = between("a row's answer alone and among others", &self.alone, first)?;
        within("a row's answer depends on who is asked with it", most, APART_MAX)?;
        let name = format!("alone from together on the {}, largest difference", device.name());
        let due = (device == Device::Cpu).then_some(Due::AtMost(ALONE_APART_MAX));
        Ok(Findings::default().figure(name, most, "of the largest number", due))
    }
}

fn between(what: &str, found: &[f32], expected: &[f32]) -> Result<f64, Stop> {
    distance(found, expected)
        .ok_or_else(|| fail(format!("{what} have {} and {} numbers", found.len(), expected.len())))
}

/// A difference past this is no rounding: the step fails.
fn within(what: &str, found: f64, most: f64) -> Result<(), Stop> {
    if found <= most {
        return Ok(());
    }
    Err(fail(format!("{what} by {found:.2e} of its largest number, {most:.0e} is allowed")))
}
