//! The figures beside what is wanted of them, for people.

use super::programs::Figures;
use crate::report::Table;

/// What is wanted: at most so much.
const TARGETS: [(&str, f64); 6] = [
    ("rtt_spin_ns", 1_000.0),
    ("rtt_spin_over_iceoryx2", 0.6),
    ("rtt_sleep_over_futex_one_core", 1.4),
    ("rtt_sleep_over_futex_across", 1.2),
    ("handover_rust_us", 6.0),
    ("handover_python_us", 2.0),
];

pub(super) fn table(figures: &Figures) -> Table {
    let mut table = Table::new(&["lane", "median", "wanted", ""]);
    for (name, value) in figures {
        let value = value.as_f64();
        let target = TARGETS.iter().find(|(of, _)| of == name).map(|(_, most)| *most);
        let verdict = match (value, target) {
            (Some(value), Some(most)) if value > most => "missed",
            _ => "",
        };
        table.row([
            name.clone(),
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}")),
            target.map_or_else(String::new, |most| format!("≤ {most}")),
            verdict.to_owned(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_missed_target_is_said_and_an_absent_figure_is_none() {
        let found = [
            ("rtt_spin_ns", json!(900.0)),
            ("handover_rust_us", json!(6.1)),
            ("handover_python_us", Value::Null),
        ];
        let figures = Figures::from_iter(found.map(|(name, value)| (name.to_owned(), value)));
        let text = table(&figures).to_string();
        let line = |name: &str| text.lines().find(|line| line.contains(name)).unwrap_or_default();
        assert!(!line("rtt_spin_ns").contains("missed"));
        assert!(line("handover_rust_us").contains("missed"));
        assert!(line("handover_python_us").contains(" -"));
    }
}
