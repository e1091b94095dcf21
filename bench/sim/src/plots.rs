//! Three pictures: goodput over load, misses over time through a burst, batch sizes over time through a slow-down.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use crate::arrivals::Load;
use crate::baselines::Kind;
use crate::cell::{Cell, LEAD_MS, SLO_MS, span_ms};
use crate::device::{Device, Shape, SlowDown};

const SIZE: (u32, u32) = (900, 540);

/// Told apart in print and by people who see few colours (Okabe & Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(0, 0, 0),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
];

type Line = (&'static str, Vec<(f64, f64)>);

pub(crate) fn draw(folder: &Path, seed: u64) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    for replicas in [1, 4] {
        let file = folder.join(format!("goodput_n{replicas}.svg"));
        let title = format!("Goodput over load: 2 + 0.25 b ms, {replicas} replica(s), SLO 20 ms");
        chart(
            &file,
            &title,
            ["offered, of capacity", "on time, of capacity"],
            &goodput(replicas, seed),
        )?;
    }
    let labels = ["time, ms", "share not on time (10 ms bins)"];
    chart(&folder.join("burst.svg"), "100 ms at 3 C on 0.8 C, 1 replica", labels, &burst(seed))?;
    let labels = ["time, ms", "batch, requests"];
    chart(
        &folder.join("slow_down.svg"),
        "Twice as slow from 1200 to 2200 ms, 0.6 C, 1 replica",
        labels,
        &sizes(seed),
    )?;
    Ok(())
}

fn goodput(replicas: usize, seed: u64) -> Vec<Line> {
    let device = Device::new(Shape::Gpu);
    let c = device.capacity(replicas, SLO_MS);
    let kinds =
        [Kind::Oracle, Kind::Nexus, Kind::Clockwork, Kind::Aimd, Kind::Static(32, 2.0), Kind::Ours];
    let line = |kind: Kind| {
        let shares = (1..=20).map(|tenth| f64::from(tenth) / 10.0);
        let point = |share: f64| {
            let cell = Cell::new(device, replicas, Load::Poisson(share * c));
            (share, cell.run(kind, seed).goodput(LEAD_MS, cell.end_ms) / c)
        };
        (kind.name(), shares.map(point).collect())
    };
    kinds.map(line).to_vec()
}

fn burst(seed: u64) -> Vec<Line> {
    let device = Device::new(Shape::Gpu);
    let c = device.capacity(1, SLO_MS);
    let load = Load::Steps(vec![(0.0, 0.8 * c), (400.0, 3.0 * c), (500.0, 0.8 * c)]);
    let cell = Cell::new(device, 1, load);
    let line = |kind: Kind| {
        let run = cell.run(kind, seed);
        let bins = (30..80).map(|bin| f64::from(bin) * 10.0);
        (kind.name(), bins.map(|from| (from, 1.0 - run.attained(from, from + 10.0))).collect())
    };
    [Kind::Ours, Kind::Oracle, Kind::Nexus, Kind::Clockwork, Kind::Aimd].map(line).to_vec()
}

fn sizes(seed: u64) -> Vec<Line> {
    let span = span_ms(1);
    let slow_down =
        Some(SlowDown { from_ms: LEAD_MS + 0.4 * span, to_ms: LEAD_MS + 0.8 * span, factor: 2.0 });
    let device = Device { slow_down, ..Device::new(Shape::Gpu) };
    let cell = Cell::new(device, 1, Load::Poisson(0.6 * device.capacity(1, SLO_MS)));
    let line = |kind: Kind| {
        let run = cell.run(kind, seed);
        let points =
            run.batches.iter().map(|batch| (batch.departed as f64 / 1e6, batch.tasks as f64));
        (kind.name(), points.collect())
    };
    [Kind::Ours, Kind::Oracle].map(line).to_vec()
}

fn chart(
    file: &Path,
    title: &str,
    labels: [&str; 2],
    lines: &[Line],
) -> Result<(), Box<dyn Error>> {
    let points = || lines.iter().flat_map(|line| line.1.iter().copied());
    let (from, to) =
        points().fold((f64::MAX, f64::MIN), |(low, high), (x, _)| (low.min(x), high.max(x)));
    let top = points().fold(0.0f64, |high, (_, y)| high.max(y)) * 1.08;
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(14)
        .x_label_area_size(46)
        .y_label_area_size(58)
        .build_cartesian_2d(from..to, 0.0..top)?;
    chart
        .configure_mesh()
        .x_desc(labels[0])
        .y_desc(labels[1])
        .light_line_style(RGBColor(240, 240, 240))
        .draw()?;
    for (line, colour) in lines.iter().zip(COLOURS) {
        let style = ShapeStyle::from(colour).stroke_width(2);
        let series = chart.draw_series(LineSeries::new(line.1.iter().copied(), style))?;
        series.label(line.0).legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], style));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(160, 160, 160))
        .draw()?;
    area.present()?;
    Ok(())
}
