//! Tables for people: columns as wide as their widest cell, two blanks between them, nothing drawn.

use std::fmt::Write;
use std::time::Duration;

/// Longer cells are cut, so that a line stays a line.
const CELL_CHARS_MAX: usize = 60;
const GAP: &str = "  ";

/// The header, then a line per row. A column that is empty in every row is left out.
pub(crate) fn render<const COLUMNS: usize>(
    header: [&str; COLUMNS],
    rows: &[[String; COLUMNS]],
) -> String {
    let is_used = |column: &usize| rows.iter().any(|row| !row[*column].is_empty());
    let used: Vec<usize> = (0..COLUMNS).filter(is_used).collect();
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| used.iter().map(|&at| cell(&row[at])).collect()).collect();
    let header: Vec<String> = used.iter().map(|&at| header[at].to_owned()).collect();
    let lines = || std::iter::once(&header).chain(&rows);
    let width = |column: usize| lines().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..used.len()).map(width).collect();
    lines().map(|line| aligned(line, &widths)).collect()
}

fn aligned(cells: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        // Writing to a string can't fail.
        let _ = write!(line, "{cell:width$}{GAP}");
    }
    line.truncate(line.trim_end().len());
    line.push('\n');
    line
}

/// One line of bounded length; an empty one in a column that others use is a dash.
fn cell(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    match line.char_indices().nth(CELL_CHARS_MAX) {
        _ if line.is_empty() => "-".to_owned(),
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// `3 minutes ago`, as a person would say it.
pub(crate) fn ago(span: Duration) -> String {
    format!("{} ago", rough(span))
}

/// `1 minute`, `3 hours`.
pub(crate) fn rough(span: Duration) -> String {
    let seconds = span.as_secs();
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7200 => (seconds / 60, "minute"),
        7200..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    counted(count as usize, unit)
}

/// `1 model`, `2 models`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// `1.2 MB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "kB", "MB", "GB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// As nvidia-smi, Docker and `gpu_memory` count memory, in powers of two.
pub(crate) fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_empty_ones_are_left_out() {
        let row = |name: &str, image: &str, count: &str| [name.into(), image.into(), count.into()];
        let rows = [row("digits", "", "1"), row("a", "", "200")];
        let shown = render(["NAME", "IMAGE", "COUNT"], &rows);
        assert_eq!(shown, "NAME    COUNT\ndigits  1\na       200\n");
        let rows = [row("digits", "", "1"), row("a", "x:1", "200")];
        let shown = render(["NAME", "IMAGE", "COUNT"], &rows);
        assert_eq!(shown, "NAME    IMAGE  COUNT\ndigits  -      1\na       x:1    200\n");
    }

    #[test]
    fn a_cell_is_one_line_of_bounded_length() {
        let shown = render(["WHY"], &[[format!("{}\nmore", "ü".repeat(200))]]);
        assert_eq!(shown.lines().count(), 2);
        assert_eq!(shown.lines().last().map(|line| line.chars().count()), Some(61));
    }

    #[test]
    fn spans_and_sizes_are_rough() {
        let said = |seconds| rough(Duration::from_secs(seconds));
        assert_eq!(
            [said(1), said(119), said(120), said(7200)],
            ["1 second", "119 seconds", "2 minutes", "2 hours"]
        );
        assert_eq!(said(3 * 86_400), "3 days");
        assert_eq!([size(999), size(1234), size(7_000_000)], ["999 B", "1.2 kB", "7.0 MB"]);
    }
}
