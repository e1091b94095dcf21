//! One chart as SVG: lines told apart by colour, dash and width, with their names beside the plot, never over it.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::prelude::*;

use crate::baselines::Kind;

const SIZE: (u32, u32) = (960, 540);
/// Width of the names' column.
const NAMES_WIDTH: u32 = 140;
const NAME_HEIGHT: i32 = 26;
const FONT: &str = "sans-serif";

pub(super) struct Line {
    pub(super) kind: Kind,
    pub(super) points: Vec<(f64, f64)>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Scale {
    Linear,
    /// What lies below is drawn at this.
    Logarithmic {
        least: f64,
    },
}

pub(super) struct Chart {
    pub(super) title: String,
    pub(super) labels: [&'static str; 2],
    pub(super) scale: Scale,
    /// From, to and what happens then.
    pub(super) marked: Option<(f64, f64, &'static str)>,
    pub(super) lines: Vec<Line>,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

impl Chart {
    pub(super) fn draw(&self, file: &Path) -> Result<(), Box<dyn Error>> {
        let area = SVGBackend::new(file, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let (plot, names) = area.split_horizontally(SIZE.0 - NAMES_WIDTH);
        let points = || self.lines.iter().flat_map(|line| line.points.iter().copied());
        let from = points().fold(f64::MAX, |low, point| low.min(point.0));
        let to = points().fold(f64::MIN, |high, point| high.max(point.0));
        let top = points().fold(0.0f64, |high, point| high.max(point.1));
        match self.scale {
            Scale::Linear => self.draw_in(&plot, from..to, 0.0..top * 1.06, top)?,
            Scale::Logarithmic { least } => {
                self.draw_in(&plot, from..to, (0.8 * least..1.3).log_scale(), top)?;
            }
        }
        self.draw_names(&names)?;
        area.present()?;
        Ok(())
    }

    fn draw_in<Y>(
        &self,
        area: &Area<'_>,
        x: std::ops::Range<f64>,
        y: Y,
        top: f64,
    ) -> Result<(), Box<dyn Error>>
    where
        Y: plotters::coord::ranged1d::AsRangedCoord<Value = f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, (FONT, 20))
            .margin(16)
            .x_label_area_size(50)
            .y_label_area_size(70)
            .build_cartesian_2d(x, y)?;
        let (places, least) = match self.scale {
            Scale::Linear => (usize::from(top < 5.0), f64::MIN),
            Scale::Logarithmic { least } => (4, least),
        };
        let x_places = usize::from(self.lines[0].points.last().is_some_and(|last| last.0 < 10.0));
        if let Some((from, to, _)) = self.marked {
            let corners = [(from, 0.0), (to, top * 1.06)];
            let shade = Rectangle::new(corners, RGBColor(242, 236, 222).filled());
            chart.draw_series(std::iter::once(shade))?;
        }
        chart
            .configure_mesh()
            .x_desc(self.labels[0])
            .y_desc(self.labels[1])
            .axis_desc_style((FONT, 16))
            .label_style((FONT, 14))
            .x_labels(11)
            .y_labels(8)
            .x_label_formatter(&|x| format!("{x:.x_places$}"))
            .y_label_formatter(&|y| shown(*y, places))
            .bold_line_style(RGBColor(225, 225, 225))
            .light_line_style(TRANSPARENT)
            .draw()?;
        for line in &self.lines {
            let points = line.points.iter().map(|&(x, y)| (x, y.max(least)));
            let style = style(line.kind);
            match dash(line.kind) {
                0 => drop(chart.draw_series(LineSeries::new(points, style))?),
                size => drop(chart.draw_series(DashedLineSeries::new(
                    points,
                    size,
                    size / 2 + 2,
                    style,
                ))?),
            }
        }
        Ok(())
    }

    /// The last drawn first.
    fn draw_names(&self, area: &Area<'_>) -> Result<(), Box<dyn Error>> {
        let mut top = 64;
        for line in self.lines.iter().rev() {
            let style = style(line.kind);
            // A solid sample of a dashed line would be another line.
            let (dash, right) = (dash(line.kind) as i32, 34);
            let step = if dash == 0 { right } else { dash + dash / 2 + 2 };
            for from in (0..right).step_by(step as usize) {
                let to = if dash == 0 { right } else { (from + dash).min(right) };
                area.draw(&PathElement::new([(from, top), (to, top)], style))?;
            }
            area.draw(&Text::new(title(line.kind), (right + 8, top - 8), (FONT, 16)))?;
            top += NAME_HEIGHT;
        }
        if let Some((_, _, what)) = self.marked {
            let fill = RGBColor(242, 236, 222).filled();
            area.draw(&Rectangle::new([(0, top - 7), (34, top + 7)], fill))?;
            area.draw(&Text::new(what, (42, top - 8), (FONT, 16)))?;
        }
        Ok(())
    }
}

fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::Ours => "Hydrofoil",
        Kind::Cold => "Hydrofoil, cold",
        Kind::Oracle => "oracle",
        Kind::Unbatched => "no batching",
        Kind::Static(..) => "static, 2 ms",
        Kind::Aimd => "AIMD",
        Kind::Nexus => "Nexus",
        Kind::Clockwork => "Clockwork",
    }
}

fn shown(value: f64, places: usize) -> String {
    if places <= 1 {
        return format!("{value:.places$}");
    }
    let digits = format!("{value:.places$}");
    digits.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Colours told apart in print and by people who see few of them (Okabe & Ito).
fn style(kind: Kind) -> ShapeStyle {
    let (colour, width) = match kind {
        Kind::Ours | Kind::Cold => (RGBColor(0, 114, 178), 3),
        Kind::Oracle => (RGBColor(0, 0, 0), 2),
        Kind::Nexus => (RGBColor(230, 159, 0), 2),
        Kind::Clockwork => (RGBColor(0, 158, 115), 2),
        Kind::Aimd => (RGBColor(213, 94, 0), 2),
        Kind::Static(..) | Kind::Unbatched => (RGBColor(204, 121, 167), 2),
    };
    ShapeStyle::from(&colour).stroke_width(width)
}

/// Pixels of a dash; 0 for a solid line.
fn dash(kind: Kind) -> u32 {
    match kind {
        Kind::Oracle => 4,
        Kind::Static(..) => 10,
        _ => 0,
    }
}
