//! A run's charts: latency by percentile, and what happened when. Pure.

use super::super::chart::{
    Along, Axis, Band, Chart, Dots, Ink, Line, Marks, Rule, Shape, Unit, parts,
};
use super::super::figures::{percentile, quantity, time, time_or_dash};
use crate::outcome::{Distribution, Moment, Outcome, StageTimes};

/// Finer than a screen shows; a page of an hour stays small.
const MOMENTS_MAX: usize = 300;
/// Samples that must lie beyond a percentile for it to be more than an anecdote.
const SAMPLES_BEYOND: f64 = 10.0;

pub(super) fn by_percentile(outcome: &Outcome, slo_us: Option<f64>) -> String {
    let shown = [
        ("latency, from the due time", Ink::Main, &outcome.latency),
        ("service, from the send", Ink::Second, &outcome.service),
        ("send lag of the load generator", Ink::Third, &outcome.send_lag),
    ];
    let samples = outcome.latency.summary.samples as f64;
    let lines: Vec<Line> = shown
        .iter()
        .map(|(name, ink, of)| curve(name, *ink, of))
        .filter(|line| !line.points.is_empty())
        .collect();
    let x = Axis::over("percentile", Unit::Percentile, std::iter::once(samples));
    let values = lines.iter().flat_map(|line| &line.points).filter_map(|point| point.1);
    let y = Axis::over("time", Unit::Time, values.chain(room_for(slo_us)));
    let mut chart = Chart::new("percentiles", "Latency by percentile", x, y);
    let few_from = (samples / SAMPLES_BEYOND).max(1.0);
    let few = format!("fewer than {SAMPLES_BEYOND} samples beyond");
    chart.bands.push(Band { name: few, from: few_from, to: samples });
    chart.rules.extend(slo_us.map(objective));
    chart.description = described(&outcome.latency);
    chart.notes = notes_of(&outcome.latency, samples);
    chart.lines = lines;
    chart.render()
}

/// Of points at one place the last is drawn: the steps beyond the last sample would make a wall of it.
fn curve(name: &str, ink: Ink, distribution: &Distribution) -> Line {
    let samples = distribution.summary.samples as f64;
    let mut points: Vec<(f64, Option<f64>)> = Vec::new();
    for &(quantile, us) in &distribution.percentiles {
        let x = rarity(quantile, samples);
        points.pop_if(|last| last.0 == x);
        points.push((x, Some(us)));
    }
    Line { name: name.to_owned(), ink, points, dots: Dots::None }
}

/// 1 / (1 - quantile); the longest of so many samples is one in as many.
fn rarity(quantile: f64, samples: f64) -> f64 {
    if quantile >= 1.0 { samples } else { (1.0 / (1.0 - quantile)).min(samples) }
}

pub(super) fn objective(us: f64) -> Rule {
    Rule { name: format!("objective {}", time(us)), along: Along::Horizontal(us) }
}

/// Above the objective stands its name.
pub(super) fn room_for(slo_us: Option<f64>) -> impl Iterator<Item = f64> {
    slo_us.into_iter().map(|us| us * 2.0)
}

fn described(latency: &Distribution) -> String {
    let summary = latency.summary;
    format!(
        "Latency: median {}, 99th percentile {}, longest {}.",
        time_or_dash(summary.p50_us),
        time_or_dash(summary.p99_us),
        time_or_dash(summary.max_us)
    )
}

/// Every point of the curve would be one note for each pixel.
fn notes_of(latency: &Distribution, samples: f64) -> Vec<(f64, String)> {
    let mut notes: Vec<(f64, String)> = Vec::new();
    for &(quantile, us) in &latency.percentiles {
        let x = rarity(quantile, samples);
        if notes.last().is_none_or(|last| x > last.0 * 1.05) {
            notes.push((x, format!("{} took at most {}", percentile(quantile), time(us))));
        }
    }
    notes
}

pub(super) fn over_time(outcome: &Outcome, slo_us: Option<f64>) -> String {
    let together = together(outcome.timeline.len());
    let moments = thinned(&outcome.timeline, together);
    let any = moments.iter().any(|moment| moment.p50_us.is_some());
    let latencies = if any { latencies(&moments, slo_us) } else { String::new() };
    let told = match together {
        1 => String::new(),
        several => format!(
            "<p>Each point stands for {several} stretches of the run: their mean rates, all their failures and \
             their worst latencies.</p>\n"
        ),
    };
    told + &rates(&moments) + &latencies
}

fn seconds(moments: &[Moment]) -> Axis {
    Axis::over("seconds of measured time", Unit::Seconds, moments.iter().map(|moment| moment.at_s))
}

fn line(name: &str, ink: Ink, moments: &[Moment], of: impl Fn(&Moment) -> Option<f64>) -> Line {
    let points = moments.iter().map(|moment| (moment.at_s, of(moment))).collect();
    Line { name: name.to_owned(), ink, points, dots: Dots::None }
}

fn rates(moments: &[Moment]) -> String {
    let ends =
        moments.iter().flat_map(|moment| [moment.due_per_second, moment.answered_per_second]);
    let y = Axis::over("requests/s", Unit::Quantity, ends);
    let mut chart = Chart::new("throughput", "Throughput over time", seconds(moments), y);
    chart.lines = vec![
        line("answered", Ink::Main, moments, |moment| Some(moment.answered_per_second)),
        line("offered (due)", Ink::Second, moments, |moment| Some(moment.due_per_second)),
    ];
    let failed = moments.iter().filter(|moment| moment.failures > 0);
    chart.marks.push(Marks {
        name: "with failures".to_owned(),
        shape: Shape::Cross,
        ink: Ink::Bad,
        at: failed.map(|moment| (moment.at_s, moment.answered_per_second)).collect(),
    });
    chart.description = "Requests due and right answers a second, stretch by stretch.".to_owned();
    chart.notes = moments.iter().map(|moment| (moment.at_s, rate_note(moment))).collect();
    chart.render()
}

fn rate_note(moment: &Moment) -> String {
    let failures = match moment.failures {
        0 => String::new(),
        some => format!(", {} failures", quantity(some as f64)),
    };
    let (due, answered) = (quantity(moment.due_per_second), quantity(moment.answered_per_second));
    format!("at {:.1} s: {due}/s due, {answered}/s answered{failures}", moment.at_s)
}

fn latencies(moments: &[Moment], slo_us: Option<f64>) -> String {
    let values = moments.iter().flat_map(|m| [m.p50_us, m.p99_us, m.max_us]).flatten();
    let y = Axis::over("latency", Unit::Time, values.chain(room_for(slo_us)));
    let mut chart = Chart::new("latencies", "Latency over time", seconds(moments), y);
    chart.lines = vec![
        line("longest", Ink::Quiet, moments, |moment| moment.max_us),
        line("p99", Ink::Second, moments, |moment| moment.p99_us),
        line("median", Ink::Main, moments, |moment| moment.p50_us),
    ];
    chart.rules.extend(slo_us.map(objective));
    chart.description = "Median, 99th percentile and longest latency of each stretch.".to_owned();
    let note = |m: &Moment| {
        let [p50, p99, max] = [m.p50_us, m.p99_us, m.max_us].map(time_or_dash);
        (m.at_s, format!("at {:.1} s: median {p50}, p99 {p99}, longest {max}", m.at_s))
    };
    chart.notes = moments.iter().map(note).collect();
    chart.render()
}

/// How many neighbours are drawn as one.
fn together(moments: usize) -> usize {
    moments.div_ceil(MOMENTS_MAX).max(1)
}

fn thinned(moments: &[Moment], together: usize) -> Vec<Moment> {
    moments.chunks(together).filter_map(one_of).collect()
}

fn one_of(moments: &[Moment]) -> Option<Moment> {
    let last = *moments.last()?;
    let mean = |of: fn(&Moment) -> f64| moments.iter().map(of).sum::<f64>() / moments.len() as f64;
    let worst = |of: fn(&Moment) -> Option<f64>| moments.iter().filter_map(of).reduce(f64::max);
    Some(Moment {
        at_s: last.at_s,
        due_per_second: mean(|moment| moment.due_per_second),
        answered_per_second: mean(|moment| moment.answered_per_second),
        failures: moments.iter().map(|moment| moment.failures).sum(),
        p50_us: worst(|moment| moment.p50_us),
        p99_us: worst(|moment| moment.p99_us),
        max_us: worst(|moment| moment.max_us),
        send_lag_p99_us: worst(|moment| moment.send_lag_p99_us),
    })
}

/// Means add up to the mean of the service time, as medians don't.
pub(super) fn stage_bar(stages: &StageTimes) -> String {
    let named = [
        ("network", &stages.network),
        ("queue", &stages.queue),
        ("lane", &stages.lane),
        ("model", &stages.model),
    ];
    let part = |(name, of): (&str, &Distribution)| {
        let mean_us = of.mean_us.unwrap_or(0.0);
        (name.to_owned(), mean_us, time(mean_us))
    };
    parts("stages", "Mean time in each stage", &named.map(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(second: usize, max_us: f64) -> Moment {
        Moment {
            at_s: second as f64,
            due_per_second: 10.0,
            answered_per_second: 10.0,
            failures: 1,
            p50_us: None,
            p99_us: Some(max_us),
            max_us: Some(max_us),
            send_lag_p99_us: None,
        }
    }

    #[test]
    fn a_long_timeline_is_thinned_without_losing_its_worst() {
        let mut moments: Vec<Moment> = (1..=7_200).map(|second| moment(second, 50.0)).collect();
        moments[4_321].max_us = Some(9e6);
        let thin = thinned(&moments, together(moments.len()));
        assert!(thin.len() <= MOMENTS_MAX, "{}", thin.len());
        assert_eq!(thin.iter().map(|moment| moment.failures).sum::<u64>(), 7_200);
        assert_eq!(thin.iter().filter_map(|moment| moment.max_us).reduce(f64::max), Some(9e6));
        assert_eq!((thin[0].due_per_second, thin[0].p50_us), (10.0, None));
        assert!(thinned(&[], together(0)).is_empty());
    }

    #[test]
    fn a_curve_ends_in_its_longest_without_a_wall() {
        let mut latencies = crate::record::Latencies::default();
        (1..=1_000_u64).for_each(|us| latencies.record(us * 1_000));
        let line = curve("latency", Ink::Main, &Distribution::from(&latencies));
        assert!(line.points.is_sorted_by(|a, b| a.0 < b.0), "{:?}", line.points);
        let (x, us) = *line.points.last().expect("points");
        assert!(x == 1_000.0 && us.is_some_and(|us| (us - 1_000.0).abs() < 1.0), "{x} {us:?}");
    }

    #[test]
    fn the_longest_is_one_in_as_many_as_there_are() {
        assert_eq!([rarity(0.0, 500.0), rarity(1.0, 500.0)], [1.0, 500.0]);
        assert_eq!(rarity(0.9999, 500.0), 500.0);
        assert!((rarity(0.99, 500.0) - 100.0).abs() < 1e-6);
    }
}
