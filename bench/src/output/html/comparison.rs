//! The report of two servers or revisions side by side: ratios, each with where it lies 95 times of 100. Pure.

use super::super::chart::{Ink, Whisker, whiskers};
use super::super::markup::{section, table};
use super::page::{Page, Standing, banner, environment};
use crate::environment::Environment;

/// One figure of both, and how many times the second is the first.
#[derive(Clone, Debug)]
pub struct Compared {
    /// As in "latency, p99".
    pub name: String,
    /// With their units.
    pub first: String,
    pub second: String,
    pub ratio: f64,
    pub low: f64,
    pub high: f64,
    pub better: Better,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    Lower,
    Higher,
}

pub struct Comparison<'a> {
    pub heading: &'a str,
    pub under: &'a str,
    pub first: &'a str,
    pub second: &'a str,
    pub rows: &'a [Compared],
    /// Why the whole can't be used; empty where it can.
    pub reasons: &'a [String],
    pub remarks: &'a [String],
    pub environment: &'a Environment,
}

pub fn comparison(comparison: &Comparison<'_>) -> String {
    let standing = Standing::of(comparison.reasons);
    let told = "<p>A ratio of 1 is no difference. Where the interval holds 1, none was shown (grey), which is not to say that \
                there is none; green is better, red is worse.</p>\n";
    let drawn: Vec<Whisker> = comparison.rows.iter().map(whisker).collect();
    let title = format!("{} over {}", comparison.second, comparison.first);
    let figure = whiskers("ratios", &title, &drawn);
    let body = [
        banner(standing, comparison.reasons, comparison.remarks),
        section("Ratios", &(told.to_owned() + &figure)),
        section("Figures", &rows(comparison)),
        environment(comparison.environment),
    ];
    let page = Page {
        kind: "Hydrofoil comparison",
        heading: comparison.heading,
        under: comparison.under.to_owned(),
        standing,
        body: body.concat(),
    };
    page.render()
}

/// What the interval says of the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    Better,
    Worse,
    NotShown,
}

fn finding(compared: &Compared) -> Finding {
    let (below, above) = (compared.high < 1.0, compared.low > 1.0);
    match (compared.better, below, above) {
        (Better::Lower, true, _) | (Better::Higher, _, true) => Finding::Better,
        (Better::Lower, _, true) | (Better::Higher, true, _) => Finding::Worse,
        (_, false, false) => Finding::NotShown,
    }
}

fn whisker(compared: &Compared) -> Whisker {
    let ink = match finding(compared) {
        Finding::Better => Ink::Third,
        Finding::Worse => Ink::Bad,
        Finding::NotShown => Ink::Quiet,
    };
    let Compared { ratio: middle, low, high, ref name, .. } = *compared;
    Whisker { name: name.clone(), low, middle, high, ink }
}

fn rows(comparison: &Comparison<'_>) -> String {
    let verdict = format!("{} is", comparison.second);
    let header = ["", comparison.first, comparison.second, "ratio", "95 of 100 between", &verdict];
    let row = |compared: &Compared| {
        let found = match finding(compared) {
            Finding::Better => "better",
            Finding::Worse => "worse",
            Finding::NotShown => "no difference shown",
        };
        vec![
            compared.name.clone(),
            compared.first.clone(),
            compared.second.clone(),
            format!("{:.3}", compared.ratio),
            format!("{:.3} – {:.3}", compared.low, compared.high),
            found.to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = comparison.rows.iter().map(row).collect();
    table("medians, and ratios pair by pair", &header, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::examples::{compared, good};

    #[test]
    fn an_interval_that_holds_one_shows_nothing() {
        let of = |better, low, high| {
            finding(&Compared { low, high, better, ..compared("p99", 1.0, better) })
        };
        assert_eq!(of(Better::Lower, 0.98, 1.02), Finding::NotShown);
        assert_eq!(of(Better::Lower, 0.90, 0.95), Finding::Better);
        assert_eq!(of(Better::Lower, 1.01, 1.05), Finding::Worse);
        assert_eq!(of(Better::Higher, 1.01, 1.05), Finding::Better);
        assert_eq!(of(Better::Higher, 0.90, 0.95), Finding::Worse);
    }

    #[test]
    fn a_comparison_names_both_and_escapes_them() {
        let environment = good().environment;
        let rows = [
            compared("latency, p99", 0.8, Better::Lower),
            compared("answered/s", 1.0, Better::Higher),
        ];
        let page = comparison(&Comparison {
            heading: "foil against <i>hyper</i>",
            under: "",
            first: "<i>hyper</i>",
            second: "foil",
            rows: &rows,
            reasons: &[],
            remarks: &[],
            environment: &environment,
        });
        assert!(page.contains("&lt;i&gt;hyper") && !page.contains("<i>"));
        assert!(page.contains("<td>better</td>") && page.contains("no difference shown"));
        assert!(page.contains("class=\"whisker third\""));
    }
}
