//! Pieces of HTML. Pure.

use std::fmt::Write as _;

/// Text from anywhere, harmless between tags and inside of quotes.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // No control character is allowed in SVG, and none is of use in a page.
            control if control.is_control() && control != '\n' && control != '\t' => {
                out.push('\u{fffd}')
            }
            other => out.push(other),
        }
    }
    out
}

/// A table whose first column names its rows; all cells are text.
pub(crate) fn table(caption: &str, header: &[&str], rows: &[Vec<String>]) -> String {
    let caption = escaped(caption);
    // Wider than a phone: to be scrolled by keyboard too.
    let mut out = format!(
        "<div class=\"scroll\" role=\"region\" aria-label=\"{caption}\" tabindex=\"0\">\
         <table><caption>{caption}</caption><thead><tr>"
    );
    for cell in header {
        put(&mut out, format_args!("<th scope=\"col\">{}</th>", escaped(cell)));
    }
    out.push_str("</tr></thead><tbody>");
    for row in rows {
        out.push_str("<tr>");
        for (column, cell) in row.iter().enumerate() {
            let cell = escaped(cell);
            match column {
                0 => put(&mut out, format_args!("<th scope=\"row\">{cell}</th>")),
                _ => put(&mut out, format_args!("<td>{cell}</td>")),
            }
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>\n");
    out
}

/// Names and what they are, both text.
pub(crate) fn facts(rows: &[(String, String)]) -> String {
    let mut out = String::from("<dl class=\"facts\">");
    for (name, value) in rows {
        let (name, value) = (escaped(name), escaped(value));
        put(&mut out, format_args!("<div><dt>{name}</dt><dd>{value}</dd></div>"));
    }
    out.push_str("</dl>\n");
    out
}

pub(crate) fn section(heading: &str, body: &str) -> String {
    format!("<section><h2>{}</h2>\n{body}</section>\n", escaped(heading))
}

/// A string takes everything.
pub(crate) fn put(out: &mut String, what: std::fmt::Arguments<'_>) {
    let _always_ok = out.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let attack = "<script>alert('1')</script>\" onload=\"&\u{1b}";
        let safe = escaped(attack);
        assert!(!safe.contains(['<', '>', '"', '\'', '\u{1b}']), "{safe}");
        let page = [
            table(attack, &[attack], &[vec![attack.to_owned()]]),
            facts(&[(attack.to_owned(), attack.to_owned())]),
            section(attack, ""),
        ]
        .concat();
        assert!(!page.contains("<script") && !page.contains("\" onload"), "{page}");
    }

    #[test]
    fn a_table_has_headers_for_its_columns_and_rows() {
        let html = table("times", &["what", "p50"], &[vec!["lag".to_owned(), "1 µs".to_owned()]]);
        assert!(html.contains("<th scope=\"col\">p50</th>"), "{html}");
        assert!(html.contains("<th scope=\"row\">lag</th><td>1 µs</td>"), "{html}");
    }
}
