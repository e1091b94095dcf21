//! Charts as SVG inside a page: lines told apart by colour and dash, names beside them, values under the pointer. Pure.
//!
//! Each chart is drawn twice, for desks and for phones, since text that scales with a picture can't be read on one of
//! them; the page's style shows one. Colours are the style's too, so that a chart follows the reader's light or dark.
//! Deliberately absent: scripts, animation, a second vertical axis.

mod axis;
mod bars;
mod draw;

pub use self::axis::{Axis, Unit};
use super::markup::{escaped, put};

/// How something is drawn; the style gives each a colour that is legible on both grounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    Main,
    Second,
    Third,
    Quiet,
    Bad,
}

impl Ink {
    pub(crate) fn class(self) -> &'static str {
        match self {
            Ink::Main => "main",
            Ink::Second => "second",
            Ink::Third => "third",
            Ink::Quiet => "quiet",
            Ink::Bad => "bad",
        }
    }
}

/// A gap where there is no value.
#[derive(Clone, Debug)]
pub struct Line {
    pub name: String,
    pub ink: Ink,
    pub points: Vec<(f64, Option<f64>)>,
    pub dots: Dots,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dots {
    None,
    /// Each point was measured by itself.
    Shown,
}

/// A stretch of the horizontal axis that is different.
#[derive(Clone, Debug)]
pub struct Band {
    pub name: String,
    pub from: f64,
    pub to: f64,
}

/// A straight line across the plot, with its name on it.
#[derive(Clone, Debug)]
pub struct Rule {
    pub name: String,
    pub along: Along,
}

#[derive(Clone, Copy, Debug)]
pub enum Along {
    /// At this height.
    Horizontal(f64),
    /// At this x.
    Vertical(f64),
}

/// Points that stand out.
#[derive(Clone, Debug)]
pub struct Marks {
    pub name: String,
    pub shape: Shape,
    pub ink: Ink,
    pub at: Vec<(f64, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Cross,
    Dot,
    Ring,
}

/// A median and its interval, side by side with others.
#[derive(Clone, Debug)]
pub struct Whisker {
    pub name: String,
    pub low: f64,
    pub middle: f64,
    pub high: f64,
    pub ink: Ink,
}

#[derive(Clone, Debug)]
pub struct Chart {
    /// Unique in its page; letters, digits and hyphens.
    pub id: &'static str,
    pub title: &'static str,
    /// What the chart shows, for those who don't see it.
    pub description: String,
    pub x: Axis,
    pub y: Axis,
    pub bands: Vec<Band>,
    pub rules: Vec<Rule>,
    pub lines: Vec<Line>,
    pub marks: Vec<Marks>,
    /// What is said under the pointer at an x; ascending.
    pub notes: Vec<(f64, String)>,
}

/// In SVG units, which are CSS pixels where the page is as wide as the chart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) name: &'static str,
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) x_ticks: usize,
}

pub(crate) const FRAMES: [Frame; 2] = [
    Frame { name: "wide", width: 960.0, height: 340.0, x_ticks: 10 },
    Frame { name: "narrow", width: 368.0, height: 280.0, x_ticks: 5 },
];

impl Chart {
    pub fn new(id: &'static str, title: &'static str, x: Axis, y: Axis) -> Chart {
        Chart {
            id,
            title,
            description: String::new(),
            x,
            y,
            bands: Vec::new(),
            rules: Vec::new(),
            lines: Vec::new(),
            marks: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// A `<figure>` with its names and both drawings.
    pub fn render(&self) -> String {
        let mut out = String::from("<figure class=\"chart\">");
        put(&mut out, format_args!("<figcaption>{}</figcaption>", escaped(self.title)));
        self.put_names(&mut out);
        for frame in &FRAMES {
            out.push_str(&draw::chart(self, frame));
        }
        out.push_str("</figure>\n");
        out
    }

    fn put_names(&self, out: &mut String) {
        out.push_str("<ul class=\"legend\">");
        for line in &self.lines {
            put_name(out, &draw::line_sample(line.ink), &line.name);
        }
        for marks in self.marks.iter().filter(|marks| !marks.at.is_empty()) {
            put_name(out, &draw::mark_sample(marks), &marks.name);
        }
        for band in &self.bands {
            put_name(out, "<rect class=\"band\" width=\"26\" height=\"12\"/>", &band.name);
        }
        out.push_str("</ul>");
    }
}

fn put_name(out: &mut String, sample: &str, name: &str) {
    let key = format!(
        "<svg class=\"key\" viewBox=\"0 0 26 12\" width=\"26\" height=\"12\" aria-hidden=\"true\">{sample}</svg>"
    );
    put(out, format_args!("<li>{key}{}</li>", escaped(name)));
}

/// Medians with their intervals, one below the other, against a rule at 1.
pub fn whiskers(id: &'static str, title: &str, rows: &[Whisker]) -> String {
    let ends = rows.iter().flat_map(|row| [row.low, row.middle, row.high]);
    let axis = Axis::over("", Unit::Ratio, ends);
    let mut out = String::from("<figure class=\"chart\">");
    put(&mut out, format_args!("<figcaption>{}</figcaption>", escaped(title)));
    for frame in &FRAMES {
        out.push_str(&bars::whiskers(id, title, &axis, rows, frame));
    }
    out.push_str("</figure>\n");
    out
}

/// Parts of a whole as one bar; a part too small for its name has it only in the list below.
pub fn parts(id: &'static str, title: &'static str, parts: &[(String, f64, String)]) -> String {
    let mut out = String::from("<figure class=\"chart\">");
    put(&mut out, format_args!("<figcaption>{}</figcaption>", escaped(title)));
    for frame in &FRAMES {
        out.push_str(&bars::parts(id, title, parts, frame));
    }
    out.push_str("<ul class=\"legend\">");
    for (index, (name, _, told)) in parts.iter().enumerate() {
        let sample = format!("<rect class=\"part{index}\" width=\"26\" height=\"12\"/>");
        put_name(&mut out, &sample, &format!("{name} {told}"));
    }
    out.push_str("</ul></figure>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Chart {
        let points = [(0.0, 20.0), (1.0, 40.0), (2.0, 900.0)];
        let x = Axis::over("seconds", Unit::Seconds, points.iter().map(|point| point.0));
        let y = Axis::over("latency", Unit::Time, points.iter().map(|point| point.1));
        let mut chart = Chart::new("c", "Latency <over> time", x, y);
        let points = points.map(|(x, y)| (x, (x != 1.0).then_some(y))).to_vec();
        chart.lines.push(Line {
            name: "p99 & co".to_owned(),
            ink: Ink::Main,
            points,
            dots: Dots::None,
        });
        chart.description = "\"quoted\"".to_owned();
        chart
    }

    #[test]
    fn a_chart_is_named_described_and_escaped() {
        let html = chart().render();
        assert_eq!(html.matches("<svg class=\"plot").count(), FRAMES.len());
        assert!(html.contains("Latency &lt;over&gt; time") && html.contains("p99 &amp; co"));
        assert!(html.contains("<desc id=\"c-wide-desc\">&quot;quoted&quot;</desc>"), "{html}");
        assert!(html.contains("aria-labelledby=\"c-wide-title c-wide-desc\""));
        assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
    }

    #[test]
    fn a_missing_value_is_a_gap_and_no_zero() {
        let html = draw::chart(&chart(), &FRAMES[0]);
        let path = html.split("<path class=\"line main\" d=\"").nth(1).expect("a line");
        let path = path.split('"').next().expect("its end");
        assert_eq!(path.matches('M').count(), 2, "{path}");
    }

    #[test]
    fn everything_lies_inside_its_frame() {
        let mut chart = chart();
        chart.rules.push(Rule { name: "objective".to_owned(), along: Along::Horizontal(1e9) });
        chart.rules.push(Rule { name: "knee".to_owned(), along: Along::Vertical(-5.0) });
        chart.notes = vec![(0.0, "first".to_owned()), (99.0, "past the end".to_owned())];
        let html = draw::chart(&chart, &FRAMES[1]);
        for name in [" x=\"", " x1=\"", " x2=\"", " cx=\""] {
            for value in html.split(name).skip(1) {
                let value: f64 =
                    value.split('"').next().expect("a value").parse().expect("a number");
                assert!((0.0..=FRAMES[1].width).contains(&value), "{name}{value}");
            }
        }
    }

    #[test]
    fn empty_charts_can_be_drawn() {
        assert!(whiskers("w", "none", &[]).contains("</svg>"));
        assert!(parts("p", "none", &[]).contains("</svg>"));
    }
}
