//! Figures of a few rows: medians with their intervals, and parts of a whole. Pure.

use super::super::markup::{escaped, put};
use super::draw::{LETTER, RIGHT, opened, put_x_ticks};
use super::{Axis, Frame, Whisker};

/// Of a figure's width for names; a longer one is cut and told in full under the pointer.
const NAMES_SHARE_MAX: f64 = 0.4;
const ROW_HEIGHT: f64 = 34.0;

pub(super) fn whiskers(
    id: &str,
    title: &str,
    axis: &Axis,
    rows: &[Whisker],
    frame: &Frame,
) -> String {
    let told = |row: &Whisker| {
        format!("{} {:.3} from {:.3} to {:.3}", row.name, row.middle, row.low, row.high)
    };
    let description = rows.iter().map(told).collect::<Vec<_>>().join("; ");
    let bottom = ROW_HEIGHT * rows.len() as f64 + 8.0;
    let longest = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
    let left = (longest as f64 * LETTER + 16.0).min(frame.width * NAMES_SHARE_MAX);
    let at_x = |value: f64| left + axis.place(value) * (frame.width - RIGHT - left);
    let mut out = opened(id, title, &description, frame, bottom + 24.0);
    put_x_ticks(&mut out, axis, frame, at_x, (4.0, bottom));
    let one = at_x(1.0);
    put(
        &mut out,
        format_args!(
            "<line class=\"rule\" x1=\"{one:.1}\" x2=\"{one:.1}\" y1=\"4\" y2=\"{bottom}\"/>"
        ),
    );
    for (index, row) in rows.iter().enumerate() {
        let (y, class) = (ROW_HEIGHT * (index as f64 + 0.5) + 4.0, row.ink.class());
        let (low, middle, high) = (at_x(row.low), at_x(row.middle), at_x(row.high));
        put(&mut out, format_args!("<g><title>{}</title>", escaped(&told(row))));
        put(
            &mut out,
            format_args!(
                "<text class=\"tick\" x=\"4\" y=\"{:.1}\">{}</text>",
                y + 4.0,
                escaped(&short(&row.name, left))
            ),
        );
        put(
            &mut out,
            format_args!(
                "<path class=\"whisker {class}\" d=\"M{low:.1} {y:.1}H{high:.1}M{low:.1} {:.1}v10M{high:.1} {:.1}v10\"/>",
                y - 5.0,
                y - 5.0
            ),
        );
        put(
            &mut out,
            format_args!(
                "<circle class=\"dot {class}\" cx=\"{middle:.1}\" cy=\"{y:.1}\" r=\"5\"/></g>"
            ),
        );
    }
    out.push_str("</svg>");
    out
}

fn short(name: &str, room: f64) -> String {
    let letters_max = ((room - 16.0) / LETTER) as usize;
    match name.chars().count() {
        fits if fits <= letters_max => name.to_owned(),
        _ => name.chars().take(letters_max.saturating_sub(1)).chain(['…']).collect(),
    }
}

pub(super) fn parts(
    id: &str,
    title: &str,
    parts: &[(String, f64, String)],
    frame: &Frame,
) -> String {
    const HEIGHT: f64 = 44.0;
    let whole: f64 = parts.iter().map(|part| part.1).sum::<f64>().max(f64::MIN_POSITIVE);
    let description =
        parts.iter().map(|part| format!("{} {}", part.0, part.2)).collect::<Vec<_>>().join(", ");
    let mut out = opened(id, title, &description, frame, HEIGHT);
    let mut x = 0.0;
    for (index, (name, part, told)) in parts.iter().enumerate() {
        let width = part / whole * frame.width;
        let text = format!("{name} {told}");
        put(&mut out, format_args!("<g><title>{}</title>", escaped(&text)));
        put(
            &mut out,
            format_args!(
                "<rect class=\"part{index}\" x=\"{x:.1}\" y=\"0\" width=\"{width:.1}\" height=\"{HEIGHT}\"/>"
            ),
        );
        let inside = [text.as_str(), name.as_str()];
        let fits = |text: &&&str| text.chars().count() as f64 * LETTER + 12.0 < width;
        if let Some(text) = inside.iter().find(fits) {
            let middle = x + width / 2.0;
            put(
                &mut out,
                format_args!(
                    "<text class=\"in-part middle\" x=\"{middle:.1}\" y=\"{:.1}\">{}</text>",
                    HEIGHT / 2.0 + 4.0,
                    escaped(text)
                ),
            );
        }
        out.push_str("</g>");
        x += width;
    }
    out.push_str("</svg>");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_longer_than_its_room_is_cut() {
        assert_eq!(short("latency, p99", 120.0), "latency, p99");
        assert_eq!(short("latency, p99.99", 16.0 + 8.0 * LETTER), "latency…");
    }
}
