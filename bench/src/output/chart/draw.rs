//! The SVG of charts: where everything stands in its frame. Pure.

use super::super::markup::{escaped, put};
use super::{Along, Axis, Chart, Dots, Frame, Ink, Line, Marks, Rule, Shape};

/// Room for `100,000` left of the plot, and for a tick's name and the axis' below it.
const LEFT: f64 = 58.0;
pub(super) const RIGHT: f64 = 16.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 44.0;
/// Of a letter of the charts' 12 px, on the generous side.
pub(super) const LETTER: f64 = 7.0;
const Y_TICKS: usize = 5;

struct Plot<'a> {
    frame: &'a Frame,
    x: &'a Axis,
    y: &'a Axis,
}

impl Plot<'_> {
    fn right(&self) -> f64 {
        self.frame.width - RIGHT
    }

    fn bottom(&self) -> f64 {
        self.frame.height - BOTTOM
    }

    fn at_x(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (self.right() - LEFT)
    }

    fn at_y(&self, value: f64) -> f64 {
        self.bottom() - self.y.place(value) * (self.bottom() - TOP)
    }
}

pub(super) fn chart(chart: &Chart, frame: &Frame) -> String {
    let plot = Plot { frame, x: &chart.x, y: &chart.y };
    let mut out = opened(chart.id, chart.title, &chart.description, frame, frame.height);
    for band in &chart.bands {
        let (from, to) = (plot.at_x(band.from), plot.at_x(band.to));
        let (width, height) = ((to - from).max(0.0), plot.bottom() - TOP);
        put(
            &mut out,
            format_args!(
                "<rect class=\"band\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
            ),
        );
    }
    put_axes(&mut out, &plot);
    for rule in &chart.rules {
        put_rule(&mut out, &plot, rule.along);
    }
    for line in &chart.lines {
        put_line(&mut out, &plot, line);
    }
    for marks in &chart.marks {
        for &(x, y) in &marks.at {
            put_mark(&mut out, marks, (plot.at_x(x), plot.at_y(y)));
        }
    }
    for rule in &chart.rules {
        put_rule_name(&mut out, &plot, rule);
    }
    put_notes(&mut out, &plot, &chart.notes);
    out.push_str("</svg>");
    out
}

pub(super) fn opened(
    id: &str,
    title: &str,
    description: &str,
    frame: &Frame,
    height: f64,
) -> String {
    let (name, width) = (frame.name, frame.width);
    let (title, description) = (escaped(title), escaped(description));
    format!(
        "<svg class=\"plot {name}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-labelledby=\"{id}-{name}-title {id}-{name}-desc\">\
         <title id=\"{id}-{name}-title\">{title}</title><desc id=\"{id}-{name}-desc\">{description}</desc>"
    )
}

// ---- axes ----

fn put_axes(out: &mut String, plot: &Plot<'_>) {
    let (right, bottom) = (plot.right(), plot.bottom());
    for (value, name) in plot.y.ticks(Y_TICKS) {
        let (y, end) = (plot.at_y(value), LEFT - 8.0);
        put(
            out,
            format_args!(
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
            ),
        );
        put(
            out,
            format_args!("<text class=\"tick end\" x=\"{end}\" y=\"{:.1}\">{name}</text>", y + 4.0),
        );
    }
    put(
        out,
        format_args!(
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>"
        ),
    );
    put_x_ticks(out, plot.x, plot.frame, |value| plot.at_x(value), (TOP, bottom));
    let (x_label, y_label) = (escaped(plot.x.label), escaped(plot.y.label));
    let (middle, below) = (f64::midpoint(LEFT, right), plot.frame.height - 6.0);
    put(
        out,
        format_args!("<text class=\"name middle\" x=\"{middle}\" y=\"{below}\">{x_label}</text>"),
    );
    put(out, format_args!("<text class=\"name\" x=\"4\" y=\"14\">{y_label}</text>"));
}

/// A name that would run into the one before it is left out; its line stays.
pub(super) fn put_x_ticks(
    out: &mut String,
    axis: &Axis,
    frame: &Frame,
    at_x: impl Fn(f64) -> f64,
    (top, bottom): (f64, f64),
) {
    let mut free_from = 0.0;
    for (value, name) in axis.ticks(frame.x_ticks) {
        let x = at_x(value);
        put(
            out,
            format_args!(
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>"
            ),
        );
        let half = name.chars().count() as f64 * LETTER / 2.0;
        let middle = x.min(frame.width - half);
        if middle - half >= free_from {
            put(
                out,
                format_args!(
                    "<text class=\"tick middle\" x=\"{middle:.1}\" y=\"{:.1}\">{name}</text>",
                    bottom + 17.0
                ),
            );
            free_from = middle + half + LETTER;
        }
    }
}

fn put_rule(out: &mut String, plot: &Plot<'_>, along: Along) {
    let (right, bottom) = (plot.right(), plot.bottom());
    match along {
        Along::Horizontal(value) => {
            let y = plot.at_y(value);
            put(
                out,
                format_args!(
                    "<line class=\"rule\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
                ),
            );
        }
        Along::Vertical(value) => {
            let x = plot.at_x(value);
            put(
                out,
                format_args!(
                    "<line class=\"rule\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>"
                ),
            );
        }
    }
}

/// Over the lines, or they would cross it out. Above its rule unless that is outside, and on the side with more room.
fn put_rule_name(out: &mut String, plot: &Plot<'_>, rule: &Rule) {
    let name = escaped(&rule.name);
    let (class, x, y) = match rule.along {
        Along::Horizontal(value) => {
            let y = plot.at_y(value);
            ("ruled", LEFT + 6.0, if y - TOP > 16.0 { y - 5.0 } else { y + 15.0 })
        }
        Along::Vertical(value) => match plot.at_x(value) {
            x if x > f64::midpoint(LEFT, plot.right()) => ("ruled end", x - 6.0, TOP + 13.0),
            x => ("ruled", x + 6.0, TOP + 13.0),
        },
    };
    put(out, format_args!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{name}</text>"));
}

// ---- lines and marks ----

fn put_line(out: &mut String, plot: &Plot<'_>, line: &Line) {
    let class = line.ink.class();
    put(out, format_args!("<path class=\"line {class}\" d=\"{}\"/>", path(plot, &line.points)));
    if line.dots == Dots::None {
        return;
    }
    for &(x, y) in &line.points {
        let Some(y) = y else { continue };
        let (x, y) = (plot.at_x(x), plot.at_y(y));
        put(
            out,
            format_args!("<circle class=\"dot {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>"),
        );
    }
}

/// A point between two gaps is a line to itself, which round ends make a dot.
fn path(plot: &Plot<'_>, points: &[(f64, Option<f64>)]) -> String {
    let mut path = String::new();
    let mut begins = true;
    for &(x, y) in points {
        if let Some(y) = y {
            let (x, y) = (plot.at_x(x), plot.at_y(y));
            if begins {
                put(&mut path, format_args!("M{x:.1} {y:.1}"));
            }
            put(&mut path, format_args!("L{x:.1} {y:.1}"));
        }
        begins = y.is_none();
    }
    path
}

fn put_mark(out: &mut String, marks: &Marks, (x, y): (f64, f64)) {
    let class = marks.ink.class();
    match marks.shape {
        Shape::Cross => put(
            out,
            format_args!(
                "<path class=\"cross {class}\" d=\"M{:.1} {:.1}l8 8m0 -8l-8 8\"/>",
                x - 4.0,
                y - 4.0
            ),
        ),
        Shape::Dot => put(
            out,
            format_args!("<circle class=\"dot {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>"),
        ),
        Shape::Ring => put(
            out,
            format_args!("<circle class=\"ring {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"7\"/>"),
        ),
    }
}

pub(super) fn line_sample(ink: Ink) -> String {
    format!("<path class=\"line {}\" d=\"M1 6L25 6\"/>", ink.class())
}

pub(super) fn mark_sample(marks: &Marks) -> String {
    let mut out = String::new();
    let scaled = Marks { at: Vec::new(), ..marks.clone() };
    put_mark(&mut out, &scaled, (13.0, 6.0));
    out.replace("r=\"7\"", "r=\"5\"")
}

/// Each note is heard half-way to its neighbours.
fn put_notes(out: &mut String, plot: &Plot<'_>, notes: &[(f64, String)]) {
    let places: Vec<f64> = notes.iter().map(|note| plot.at_x(note.0)).collect();
    let (bottom, height) = (plot.bottom(), plot.bottom() - TOP);
    for (index, (_, text)) in notes.iter().enumerate() {
        let x = places[index];
        let before = if index == 0 { LEFT } else { f64::midpoint(places[index - 1], x) };
        let after = places.get(index + 1).map_or(plot.right(), |next| f64::midpoint(*next, x));
        let width = (after - before).max(0.0);
        put(
            out,
            format_args!(
                "<g class=\"note\"><rect x=\"{before:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height:.1}\"/>\
             <line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/><title>{}</title></g>",
                escaped(text)
            ),
        );
    }
}
