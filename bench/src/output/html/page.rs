//! The shell around every report: one file, its own style, no script, nothing to fetch. Pure.

use super::super::figures::utc;
use super::super::markup::{escaped, facts, put, section};
use crate::environment::Environment;

const STYLE: &str = include_str!("report.css");

/// How much of the figures may be used; the page shows it before any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Valid,
    Invalid,
}

impl Standing {
    /// Valid without a reason against it.
    pub(super) fn of(reasons: &[String]) -> Standing {
        if reasons.is_empty() { Standing::Valid } else { Standing::Invalid }
    }
}

pub(super) struct Page<'a> {
    /// As in "Hydrofoil load report".
    pub(super) kind: &'a str,
    pub(super) heading: &'a str,
    pub(super) under: String,
    pub(super) standing: Standing,
    /// HTML.
    pub(super) body: String,
}

/// A figure that is read first: what, how much, and what it is measured against.
pub(super) struct Card {
    pub(super) what: &'static str,
    pub(super) value: String,
    pub(super) more: String,
    pub(super) alarm: bool,
}

impl Page<'_> {
    pub(super) fn render(&self) -> String {
        let invalid = self.standing == Standing::Invalid;
        let (mark, class) = if invalid { ("INVALID: ", "invalid") } else { ("", "") };
        let (kind, heading) = (escaped(self.kind), escaped(self.heading));
        let (under, body) = (escaped(&self.under), &self.body);
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{mark}{heading} – {kind}</title>\n<style>\n{STYLE}</style>\n</head>\n\
             <body class=\"{class}\">\n<header><p>{kind}</p><h1>{heading}</h1><p>{under}</p></header>\n\
             <main>\n{body}</main>\n\
             <footer>Made by foil-bench, which belongs to Hydrofoil. This page is complete in itself: it loads nothing.</footer>\n\
             </body>\n</html>\n"
        )
    }
}

/// Reasons scream, remarks are told.
pub(super) fn banner(standing: Standing, reasons: &[String], remarks: &[String]) -> String {
    let mut out = match standing {
        Standing::Invalid => format!(
            "<div class=\"verdict bad\" role=\"alert\"><strong>INVALID</strong>\
             <p>Use no figure of this run: the load generator itself was not up to it.</p>{}</div>\n",
            list(reasons)
        ),
        Standing::Valid => "<div class=\"verdict good\"><strong>VALID</strong>\
             <span>The load generator was up to it.</span></div>\n"
            .to_owned(),
    };
    if !remarks.is_empty() {
        out.push_str("<div class=\"verdict warn\"><strong>Know before use</strong>");
        put(&mut out, format_args!("{}</div>\n", list(remarks)));
    }
    out
}

fn list(lines: &[String]) -> String {
    let items: String = lines.iter().map(|line| format!("<li>{}</li>", escaped(line))).collect();
    format!("<ul>{items}</ul>")
}

pub(super) fn cards(cards: &[Card]) -> String {
    let mut out = String::from("<ul class=\"cards\">");
    for Card { what, value, more, alarm } in cards {
        let class = if *alarm { " class=\"alarm\"" } else { "" };
        let (value, more) = (escaped(value), escaped(more));
        put(
            &mut out,
            format_args!(
                "<li{class}><span class=\"what\">{what}</span><span class=\"value\">{value}</span><span class=\"more\">{more}</span></li>"
            ),
        );
    }
    out.push_str("</ul>\n");
    out
}

/// Where and with what: the same in every report.
pub(super) fn environment(environment: &Environment) -> String {
    let told = |value: &Option<String>| value.clone().unwrap_or_else(|| "not told".to_owned());
    let rows = [
        ("measured at", utc(environment.at_unix_s)),
        ("processor", format!("{}, {} cores to use", environment.cpu, environment.cores)),
        ("memory", format!("{:.1} GiB", environment.memory_mib as f64 / 1024.0)),
        ("kernel", environment.kernel.clone()),
        ("frequency governor", told(&environment.governor)),
        (
            "processor quota",
            environment.cpu_quota.map_or("none".to_owned(), |cores| format!("{cores} cores")),
        ),
        (
            "stolen by the host",
            environment.steal_share.map_or("not told".to_owned(), |share| {
                format!("{:.2} % of all cores' time", share * 100.0)
            }),
        ),
        ("server", told(&environment.server)),
        ("foil-bench", environment.version.to_owned()),
        ("git revision", told(&environment.git_revision)),
    ];
    let rows = rows.map(|(name, value)| (name.to_owned(), value));
    let line = escaped(&command_line(&environment.command_line));
    section("Where it was measured", &facts(&rows))
        + &section("Command line", &format!("<pre>{line}</pre>"))
}

/// As it can be typed again.
fn command_line(arguments: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+%".contains(c);
    let quoted = |argument: &String| match argument {
        plainly if !plainly.is_empty() && plainly.chars().all(plain) => plainly.clone(),
        other => format!("'{}'", other.replace('\'', "'\\''")),
    };
    arguments.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_can_be_typed_again() {
        let arguments = ["foil-bench", "run", "it's", "a b", ""].map(str::to_owned);
        assert_eq!(command_line(&arguments), "foil-bench run 'it'\\''s' 'a b' ''");
    }

    #[test]
    fn the_style_fetches_nothing_and_knows_both_schemes() {
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import") && !STYLE.contains("</"));
        assert!(STYLE.contains("prefers-color-scheme: dark"));
    }
}
