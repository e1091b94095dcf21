//! Bars as SVG: one group for each cell, a bar for ours and each setting, the value at its end.

use std::fmt::Write;

use crate::report::count;

pub(super) struct Bar {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) ours: bool,
}

pub(super) struct Group {
    pub(super) name: String,
    pub(super) bars: Vec<Bar>,
}

pub(super) struct Bars {
    pub(super) title: &'static str,
    pub(super) unit: &'static str,
    pub(super) scale: Scale,
    pub(super) groups: Vec<Group>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    /// For values that lie a hundredfold apart. Bars begin at a tenth of a decade below the least.
    Logarithmic,
}

const WIDTH: f64 = 860.0;
const NAMES_WIDTH: f64 = 170.0;
/// Room behind the longest bar for its value.
const VALUES_WIDTH: f64 = 90.0;
const BAR_HEIGHT: f64 = 18.0;
const STEP: f64 = 22.0;
const GROUP_GAP: f64 = 34.0;
const TOP: f64 = 44.0;
/// Two colours that stay apart in print and for people who see few (Okabe & Ito).
const OURS: &str = "#0072b2";
const THEIRS: &str = "#b0b0b0";

impl Bars {
    pub(super) fn to_svg(&self) -> String {
        let bars: usize = self.groups.iter().map(|group| group.bars.len()).sum();
        let height = TOP + bars as f64 * STEP + self.groups.len() as f64 * GROUP_GAP + 8.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
             font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        let title = format!("{}, {}", self.title, self.unit);
        let _ =
            writeln!(svg, "<text x=\"12\" y=\"26\" font-size=\"17\">{}</text>", escaped(&title));
        let mut y = TOP;
        for group in &self.groups {
            y += GROUP_GAP / 2.0;
            let name = escaped(&group.name);
            let _ = writeln!(svg, "<text x=\"12\" y=\"{y}\" font-weight=\"bold\">{name}</text>");
            y += GROUP_GAP / 2.0 - 6.0;
            for bar in &group.bars {
                self.draw(&mut svg, bar, y);
                y += STEP;
            }
            y += 6.0;
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn draw(&self, svg: &mut String, bar: &Bar, y: f64) {
        let (colour, text_y) = (if bar.ours { OURS } else { THEIRS }, y + BAR_HEIGHT - 5.0);
        let length = self.share(bar.value) * (WIDTH - NAMES_WIDTH - VALUES_WIDTH);
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{text_y}\" text-anchor=\"end\">{}</text>",
            NAMES_WIDTH - 8.0,
            escaped(&bar.name)
        );
        let _ = writeln!(
            svg,
            "<rect x=\"{NAMES_WIDTH}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR_HEIGHT}\" fill=\"{colour}\"/>"
        );
        let value = count(bar.value);
        let x = NAMES_WIDTH + length + 6.0;
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{text_y}\">{value}</text>");
    }

    /// Of the longest bar.
    fn share(&self, value: f64) -> f64 {
        let values = || self.groups.iter().flat_map(|group| &group.bars).map(|bar| bar.value);
        let most = values().fold(f64::MIN_POSITIVE, f64::max);
        match self.scale {
            Scale::Linear => value / most,
            Scale::Logarithmic => {
                let least = values().fold(most, f64::min).max(f64::MIN_POSITIVE);
                let from = least.log10() - 0.1;
                (value.max(least).log10() - from) / (most.log10() - from)
            }
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(scale: Scale, values: &[f64]) -> Bars {
        let bar = |&value| Bar { name: "a<b".to_owned(), value, ours: false };
        let group = Group { name: "cell".to_owned(), bars: values.iter().map(bar).collect() };
        Bars { title: "Throughput", unit: "requests/s", scale, groups: vec![group] }
    }

    #[test]
    fn lengths_are_in_proportion() {
        assert_eq!(bars(Scale::Linear, &[50.0, 100.0]).share(50.0), 0.5);
        let decades = bars(Scale::Logarithmic, &[1.0, 10.0, 100.0]);
        let steps = [1.0, 10.0, 100.0].map(|value| decades.share(value));
        assert!((steps[2] - 1.0).abs() < 1e-9 && steps[0] > 0.0);
        assert!((steps[2] - steps[1] - (steps[1] - steps[0])).abs() < 1e-9, "{steps:?}");
    }

    #[test]
    fn every_bar_has_its_name_and_value() {
        let svg = bars(Scale::Linear, &[1234.0, 5.0]).to_svg();
        assert!(svg.contains(">1,234</text>") && svg.contains(">5</text>"));
        assert!(svg.contains("a&lt;b") && !svg.contains("a<b"));
        assert_eq!(svg.matches("<rect x=").count(), 2);
    }
}
