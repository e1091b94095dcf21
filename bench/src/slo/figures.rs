//! The figures by name, with what is due; as a table and as JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::stage::Shares;
use crate::report::{Table, count};

/// A run of which others had more is no measurement.
const EXCLUDED_SHARE_MAX: f64 = 0.2;

/// What is due of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Due {
    Least(f64),
    Most(f64),
    Within(f64, f64),
    /// Told for itself.
    Nothing,
}

/// By the beginning of a figure's name, the longest first.
const DUE: [(&str, Due); 24] = [
    ("B1_timed_of_bound", Due::Least(0.95)),
    ("B1_compute_of_bound", Due::Least(0.95)),
    ("B1_mlp_of_bound", Due::Least(0.95)),
    ("B1_timed_vs_none", Due::Least(1.0)),
    ("B1_compute_vs_none", Due::Least(1.0)),
    ("B1_mlp_vs_none", Due::Least(1.0)),
    ("B1_timed_vs_static", Due::Least(1.0)),
    ("B1_compute_vs_static", Due::Least(1.0)),
    ("B1_mlp_vs_static", Due::Least(1.0)),
    ("B2_n1_fall", Due::Most(0.02)),
    ("B2_n4_fall", Due::Most(0.02)),
    ("B2_n4_at_capacity", Due::Least(0.94)),
    ("B2_", Due::Least(0.95)),
    ("B3_n1_late", Due::Most(0.001)),
    ("B3_n4_late", Due::Most(0.001)),
    ("B3_", Due::Most(0.01)),
    ("B8_n1_after", Due::Least(0.99)),
    ("B8_n4_after", Due::Least(0.99)),
    ("B8_", Due::Least(0.3)),
    // Half a point of noise: both are near 1 on most mixes.
    ("B11_vs_static", Due::Least(-0.005)),
    ("B11_urgent_gain", Due::Least(0.15)),
    ("B13_on_time", Due::Least(0.999)),
    ("B18_", Due::Least(0.95)),
    ("B20_engine_", Due::Within(0.98, 1.02)),
];

impl Due {
    fn of(name: &str) -> Due {
        let found = DUE.iter().find(|(start, _)| name.starts_with(start));
        found.map_or(Due::Nothing, |(_, due)| *due)
    }

    fn text(self) -> String {
        match self {
            Due::Least(least) => format!("≥ {least}"),
            Due::Most(most) => format!("≤ {most}"),
            Due::Within(least, most) => format!("{least} to {most}"),
            Due::Nothing => String::new(),
        }
    }

    fn verdict(self, figure: f64) -> &'static str {
        let kept = match self {
            Due::Least(least) => figure >= least,
            Due::Most(most) => figure <= most,
            Due::Within(least, most) => (least..=most).contains(&figure),
            Due::Nothing => return "",
        };
        if kept { "yes" } else { "NO" }
    }
}

#[derive(Debug, Default)]
pub(super) struct Figures {
    figures: BTreeMap<String, f64>,
    shares: Shares,
}

impl Figures {
    /// What could not be measured, because no second counted, is left out.
    pub(super) fn put(&mut self, name: &str, figure: f64) {
        if !figure.is_finite() {
            println!(
                "{name} is left out: no second of a cell counts, or what it is compared with kept no promise"
            );
            return;
        }
        self.figures.insert(name.to_owned(), (figure * 1e5).round() / 1e5);
    }

    pub(super) fn add(&mut self, shares: Shares) {
        self.shares.seconds += shares.seconds;
        self.shares.excluded += shares.excluded;
        for (sum, more) in self.shares.blamed.iter_mut().zip(shares.blamed) {
            *sum += more;
        }
        self.shares.requests += shares.requests;
        self.shares.late_sends += shares.late_sends;
    }

    fn excluded_share(&self) -> f64 {
        self.shares.excluded as f64 / self.shares.seconds.max(1) as f64
    }

    pub(super) fn is_valid(&self) -> bool {
        self.excluded_share() <= EXCLUDED_SHARE_MAX
    }

    pub(super) fn for_people(&self) -> String {
        let mut table = Table::new(&["figure", "measured", "due", "kept"]);
        for (name, &figure) in &self.figures {
            let due = Due::of(name);
            let cells = [format!("{figure:.4}"), due.text(), due.verdict(figure).to_owned()];
            table.row(std::iter::once(name.clone()).chain(cells));
        }
        format!("{table}{}\n", self.standing())
    }

    fn standing(&self) -> String {
        let Shares { seconds, excluded, blamed, requests, late_sends } = self.shares;
        let [steal, canary, client] = blamed;
        let share = self.excluded_share() * 100.0;
        let (requests, late_sends) = (count(requests as f64), count(late_sends as f64));
        let mut text = format!(
            "{excluded} of {seconds} seconds excluded ({share:.1} %): others had more than 2 % of a core ({steal} by steal, {canary} by the canary, {client} by the client); {late_sends} of {requests} requests were sent over 1 ms late"
        );
        if !self.is_valid() {
            let most = EXCLUDED_SHARE_MAX * 100.0;
            text += &format!(
                "\nINVALID: more than {most} % of the seconds were disturbed; measure again on a quiet machine"
            );
        }
        text
    }

    pub(super) fn as_json(&self) -> Value {
        let mut all = json!(self.figures);
        let late = self.shares.late_sends as f64 / self.shares.requests.max(1) as f64;
        all["excluded_share"] = json!((self.excluded_share() * 1e5).round() / 1e5);
        all["late_send_share"] = json!((late * 1e5).round() / 1e5);
        all["valid"] = json!(self.is_valid());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_is_held_against_what_is_due_of_it() {
        let verdict = |name: &str, figure| Due::of(name).verdict(figure);
        assert_eq!((verdict("B2_n1", 0.95), verdict("B2_n1", 0.94)), ("yes", "NO"));
        assert_eq!(
            (verdict("B2_n4_at_capacity", 0.94), verdict("B2_n1_fall", 0.03)),
            ("yes", "NO")
        );
        assert_eq!((verdict("B3_n4_late", 0.002), verdict("B3_n4", 0.002)), ("NO", "yes"));
        assert_eq!((verdict("B8_n1", 0.4), verdict("B8_n1_after", 0.4)), ("yes", "NO"));
        assert_eq!((verdict("B20_engine_0.9", 1.03), verdict("B1_mlp_goodput", 1.0)), ("NO", ""));
    }

    #[test]
    fn a_run_that_was_disturbed_for_over_a_fifth_is_invalid() {
        let mut figures = Figures::default();
        figures.put("B3_n1", 0.004);
        figures.add(Shares { seconds: 10, excluded: 2, requests: 100, ..Shares::default() });
        assert_eq!(figures.as_json()["valid"], true);
        figures.add(Shares { seconds: 1, excluded: 1, ..Shares::default() });
        figures.put("B3_n4", f64::NAN);
        let json = figures.as_json();
        assert_eq!(json["B3_n4"], Value::Null);
        assert_eq!((&json["valid"], &json["B3_n1"]), (&json!(false), &json!(0.004)));
        assert!(figures.for_people().contains("INVALID"));
    }
}
