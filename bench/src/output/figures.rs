//! Figures as people read them: three digits, the unit that suits, thousands apart. Pure.

use crate::measured::Failures;
use crate::outcome::Totals;
use crate::report::count;

/// Stands where there were too few samples to say.
pub const DASH: &str = "–";

/// Microseconds as µs, ms or s.
pub fn time(us: f64) -> String {
    let (value, unit) = match us {
        us if us < 999.5 => (us, "µs"),
        us if us < 999_500.0 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    format!("{} {unit}", three_digits(value))
}

pub fn time_or_dash(us: Option<f64>) -> String {
    us.map_or_else(|| DASH.to_owned(), time)
}

/// A rate or another quantity, grouped from four digits on.
pub fn quantity(value: f64) -> String {
    if value >= 999.5 { count(value) } else { three_digits(value) }
}

pub fn percent(share: f64) -> String {
    format!("{} %", three_digits(share * 100.0))
}

/// All the nines of a percentile: `99.99%`.
pub fn percentile(quantile: f64) -> String {
    let text = format!("{:.6}", quantile * 100.0);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

fn three_digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        small if small < 9.995 => format!("{value:.2}"),
        middling if middling < 99.95 => format!("{value:.1}"),
        _ => count(value),
    }
}

/// The failures that there were, in words, most frequent first.
pub fn failures_in_words(failures: &Failures) -> Vec<(u64, &'static str)> {
    let mut kinds = vec![
        (failures.wrong_status, "answers with the wrong status"),
        (failures.wrong_body, "answers with the wrong body"),
        (failures.not_http, "answers that were not HTTP"),
        (failures.closed, "requests whose connection the server closed"),
        (failures.refused, "requests that no connection could be opened for"),
        (failures.unanswered, "requests that got no answer in time"),
        (failures.held, "requests never sent, as every connection awaited an answer"),
        (failures.dropped, "requests never sent, as the load generator was too late"),
    ];
    kinds.retain(|&(count, _)| count > 0);
    kinds.sort_by_key(|&(count, _)| std::cmp::Reverse(count));
    kinds
}

/// Of the requests that were due; failures before and after the window count too. None where nothing failed.
pub fn failed_share(totals: &Totals) -> Option<f64> {
    let failed = totals.failures.total();
    (failed > 0).then(|| failed as f64 / totals.due.max(failed) as f64)
}

/// `2026-11-25 23:26:04 UTC`. A dash for what is no date: it comes from this machine's clock.
pub fn utc(unix_s: u64) -> String {
    let moment = i64::try_from(unix_s).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    moment.map_or_else(|| DASH.to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_the_unit_that_suits() {
        let times = [0.0, 0.042, 9.996, 42.06, 999.4, 999.6, 12_345.0, 999_600.0, 61e6].map(time);
        assert_eq!(
            times,
            [
                "0 µs", "0.04 µs", "10.0 µs", "42.1 µs", "999 µs", "1.00 ms", "12.3 ms", "1.00 s",
                "61.0 s"
            ]
        );
        assert_eq!(time_or_dash(None), "–");
    }

    #[test]
    fn quantities_are_grouped() {
        assert_eq!([0.5, 999.6, 2_000.4].map(quantity), ["0.50", "1,000", "2,000"]);
        assert_eq!(percent(0.0123), "1.23 %");
    }

    #[test]
    fn dates_follow_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_795_649_164), "2026-11-25 23:26:04 UTC");
        assert_eq!(utc(1_798_761_599), "2026-12-31 23:59:59 UTC");
    }

    #[test]
    fn only_failures_that_happened_are_told() {
        assert!(failures_in_words(&Failures::default()).is_empty());
        let failures = Failures { closed: 2, held: 7, ..Failures::default() };
        let told = failures_in_words(&failures);
        assert_eq!(told.iter().map(|kind| kind.0).collect::<Vec<_>>(), [7, 2]);
        assert_eq!(failures.total(), 9);
    }
}
