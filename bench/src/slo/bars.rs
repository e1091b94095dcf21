//! The experiments: what load each plays and what it makes of the answers.

use std::path::Path;

use super::SloError;
use super::causes::{causes, outside_ms};
use super::curve::{Capacity, Curve};
use super::figures::Figures;
use super::replay::engine_over_simulator;
use super::served::{Served, Work};
use super::stage::Stage;
use super::tally::{Played, Rates, SECOND_NS, SLO_MS, SLO_NS};
use crate::arrivals::Stretch;
use crate::report::count;

const MS: u64 = 1_000_000;
const LOADS: [f64; 7] = [0.25, 0.5, 0.75, 0.9, 1.0, 1.2, 1.5];
/// A second with a burst in it: from, to.
const BURST_MS: (u64, u64) = (400, 500);
/// A second whose load steps up half-way.
const STEP_MS: u64 = 500;
/// After the burst, as long as the simulator looks.
const AFTER_MS: u64 = 200;
const TAIL_REQUESTS: f64 = 1e5;
/// The default length of a cell; shorter ones shorten the long experiment too.
pub(super) const SECONDS: u32 = 3;

/// The adaptive model of the literature's device, with one or several replicas.
#[derive(Clone, Debug)]
pub(super) struct Subject<'a> {
    pub(super) served: Served,
    pub(super) curve: &'a Curve,
}

impl Subject<'_> {
    fn name(&self) -> String {
        format!("n{}", self.served.replicas)
    }

    fn capacity(&self) -> Capacity {
        self.curve.capacity(self.served.replicas, SLO_MS)
    }
}

pub(super) struct Bench<'a> {
    pub(super) stage: &'a mut Stage,
    pub(super) figures: &'a mut Figures,
    pub(super) seconds: u32,
}

/// Settings by hand: sizes around the best one, short delays; each worth a try to an expert.
pub(super) fn by_hand(capacity: Capacity, work: Work) -> Vec<Served> {
    let best = capacity.rows.max(1);
    let mut sizes = [best.div_ceil(2), best, (best * 2).min(work.batch_max())].to_vec();
    sizes.dedup();
    sizes.iter().flat_map(|&rows| [0, 4].map(|delay_ms| Served::by_hand(rows, delay_ms))).collect()
}

pub(super) fn unbatched() -> Served {
    Served::by_hand(1, 0)
}

impl Bench<'_> {
    /// B1: the most that each way of forming batches answers on time.
    pub(super) fn ways(&mut self, work: Work, curve: &Curve) -> Result<(), SloError> {
        let capacity = curve.capacity(1, SLO_MS);
        let one_by_one = 1e3 / curve.ms(1);
        let key = format!("B1_{}", work.name());
        let rates = |most: f64, shares: &[f64]| shares.iter().map(|share| share * most).collect();
        let learned: Vec<f64> = rates(capacity.per_second, &[0.8, 0.9, 1.0, 1.1, 1.3]);
        let unloaded: Vec<f64> = rates(one_by_one, &[0.5, 0.7, 0.85, 0.95, 1.1]);
        let ours = self.most(&key, &Served::learned(1), &learned)?;
        let none = self.most(&key, &unbatched(), &unloaded)?;
        let mut best = (0.0, String::from("none kept it"));
        for served in by_hand(capacity, work) {
            let most = self.most(&key, &served, &rates(capacity.per_second, &[0.8, 0.9, 1.0]))?;
            if most > best.0 {
                best = (most, served.name());
            }
        }
        let (of_hand, name) = best;
        println!(
            "{key}: {} of {} a second on time; unbatched {}; best by hand {} ({name})",
            count(ours),
            count(capacity.per_second),
            count(none),
            count(of_hand)
        );
        self.figures.put(&format!("{key}_of_bound"), ours / capacity.per_second);
        self.figures.put(&format!("{key}_vs_none"), ours / none);
        self.figures.put(&format!("{key}_vs_static"), ours / of_hand);
        Ok(())
    }

    /// The highest goodput among these rates whose p99 kept the promise.
    fn most(&mut self, key: &str, served: &Served, rates: &[f64]) -> Result<f64, SloError> {
        let mut most: f64 = 0.0;
        for &rate in rates {
            let played = self.steady(served, rate, self.try_seconds())?;
            let kept = played.tally(|_| true).p99_is_kept();
            let said = if kept { "" } else { ", p99 past the promise" };
            progress(&format!("{key} {} at {}/s{said}", served.name(), count(rate)), &played);
            if kept {
                most = most.max(played.rates().on_time);
            }
        }
        Ok(most)
    }

    /// A way of forming batches is tried at many rates, each for less long.
    fn try_seconds(&self) -> u32 {
        (self.seconds * 2 / 3).max(1)
    }

    /// B2: goodput over its bound at every load; and the deepest fall from one load to a higher one.
    pub(super) fn loads(&mut self, subject: &Subject<'_>) -> Result<(), SloError> {
        let (name, capacity) = (subject.name(), subject.capacity().per_second);
        let (mut lowest, mut highest, mut fall) = (f64::INFINITY, 0.0_f64, 0.0_f64);
        for share in LOADS {
            let rate = share * capacity;
            let played = self.steady(&subject.served, rate, self.seconds)?;
            // What came, not what was meant: a Poisson count of some thousands is off by more than a per cent.
            let Rates { due, on_time } = played.rates();
            let ratio = on_time / subject.curve.bound(subject.served.replicas, due, SLO_MS);
            progress(&format!("B2 {name} at {share} C, {ratio:.3} of its bound"), &played);
            if share == 1.0 {
                self.figures.put(&format!("B2_{name}_at_capacity"), ratio);
            } else if ratio < lowest || ratio.is_nan() {
                // A load that was not measured leaves no lowest one.
                lowest = ratio;
            }
            fall = fall.max(1.0 - on_time / highest.max(1.0));
            highest = highest.max(on_time);
        }
        self.figures.put(&format!("B2_{name}"), lowest);
        self.figures.put(&format!("B2_{name}_fall"), fall);
        Ok(())
    }

    /// B3: what was not answered on time at 0.9 of capacity, and what of it was answered late.
    pub(super) fn violations(&mut self, subject: &Subject<'_>) -> Result<(), SloError> {
        let (name, rate) = (subject.name(), 0.9 * subject.capacity().per_second);
        let played = self.steady(&subject.served, rate, 2 * self.seconds)?;
        progress(&format!("B3 {name} at 0.9 C"), &played);
        tell_causes(&played, subject.curve);
        let tally = played.tally(|_| true);
        self.figures.put(&format!("B3_{name}"), 1.0 - tally.on_time_share());
        self.figures.put(&format!("B3_{name}_late"), tally.late_share());
        Ok(())
    }

    /// B8: a burst each second, and the time after it.
    pub(super) fn burst(&mut self, subject: &Subject<'_>) -> Result<(), SloError> {
        let (name, capacity) = (subject.name(), subject.capacity().per_second);
        let (from_ms, to_ms) = BURST_MS;
        let second = [
            Stretch { span_ns: from_ms * MS, rate: 0.8 * capacity },
            Stretch { span_ns: (to_ms - from_ms) * MS, rate: 3.0 * capacity },
            Stretch { span_ns: SECOND_NS - to_ms * MS, rate: 0.8 * capacity },
        ];
        let played = self.repeated(&subject.served, &second)?;
        progress(&format!("B8 {name}, a burst each second"), &played);
        tell_causes(&played, subject.curve);
        let after_ns = to_ms * MS + 2 * SLO_NS;
        let during = within(&played, from_ms * MS, to_ms * MS);
        let after = within(&played, after_ns, after_ns + AFTER_MS * MS);
        self.figures.put(&format!("B8_{name}"), during.0);
        self.figures.put(&format!("B8_{name}_after"), after.0);
        Ok(())
    }

    /// B18: past capacity from one moment to the next.
    pub(super) fn step(&mut self, subject: &Subject<'_>) -> Result<(), SloError> {
        let (name, capacity) = (subject.name(), subject.capacity().per_second);
        let second = [
            Stretch { span_ns: STEP_MS * MS, rate: 0.5 * capacity },
            Stretch { span_ns: SECOND_NS - STEP_MS * MS, rate: 1.4 * capacity },
        ];
        let played = self.repeated(&subject.served, &second)?;
        progress(&format!("B18 {name}, a step each second"), &played);
        tell_causes(&played, subject.curve);
        let (_, per_second) = within(&played, STEP_MS * MS + 2 * SLO_NS, SECOND_NS);
        self.figures.put(&format!("B18_{name}"), per_second / capacity);
        Ok(())
    }

    /// B13: very many requests at 0.7 of capacity, and a cause for each miss.
    pub(super) fn tail(&mut self, subject: &Subject<'_>) -> Result<(), SloError> {
        let rate = 0.7 * subject.capacity().per_second;
        let share = (f64::from(self.seconds) / f64::from(SECONDS)).min(1.0);
        let seconds = (TAIL_REQUESTS * share / rate).ceil() as u32;
        let before = self.stage.shed_reasons(&subject.served)?;
        let played = self.steady(&subject.served, rate, seconds)?;
        let after = self.stage.shed_reasons(&subject.served)?;
        progress("B13 at 0.7 C", &played);
        tell_causes(&played, subject.curve);
        for (why, count) in after {
            let count = count - before.get(&why).copied().unwrap_or(0);
            if count > 0 {
                println!("    {count} of them the engine names {why}");
            }
        }
        let tally = played.tally(|_| true);
        self.figures.put("B13_on_time", tally.on_time_share());
        self.figures.put("B13_requests", tally.due as f64);
        Ok(())
    }

    /// B20: the simulator with the engine's arrivals and service times. A file for each load stays in `folder`.
    pub(super) fn fidelity(
        &mut self,
        subject: &Subject<'_>,
        simulator: &Path,
        folder: &Path,
    ) -> Result<(), SloError> {
        for share in [0.9, 1.3] {
            let rate = share * subject.capacity().per_second;
            let played = self.steady(&subject.served, rate, self.seconds)?;
            let file = folder.join(format!("slo-replay-{share}.json"));
            let replicas = subject.served.replicas;
            match engine_over_simulator(simulator, &file, &played, replicas) {
                Ok(ratio) => {
                    progress(&format!("B20 at {share} C, {ratio:.3} of the simulator"), &played);
                    self.figures.put(&format!("B20_engine_{share}"), ratio);
                }
                // A simulator that can't replay leaves the other figures as they are.
                Err(error) => println!("B20 at {share} C is left out: {error}"),
            }
        }
        Ok(())
    }

    /// Learns the model's curve, so that no experiment meets a cold one.
    pub(super) fn warm_up(&mut self, subject: &Subject<'_>) -> Result<(), SloError> {
        let rate = 0.8 * subject.capacity().per_second;
        self.steady(&subject.served, rate, 1).map(|_| ())
    }

    fn steady(&mut self, served: &Served, rate: f64, seconds: u32) -> Result<Played, SloError> {
        let span_ns = u64::from(seconds) * SECOND_NS;
        self.calm(served, &[Stretch { span_ns, rate }], seed_of(rate))
    }

    /// The same second over and over: as often as twice a cell's length.
    fn repeated(&mut self, served: &Served, second: &[Stretch]) -> Result<Played, SloError> {
        let times = 2 * self.seconds as usize;
        let plan = second.repeat(times);
        self.calm(served, &plan, seed_of(plan[0].rate))
    }

    /// Once more where others had most of it: the better of two tries.
    fn calm(&mut self, served: &Served, plan: &[Stretch], seed: u64) -> Result<Played, SloError> {
        let first = self.stage.play(served, plan, seed)?;
        if 2 * first.calm_seconds() >= first.excluded.len() as u64 {
            return Ok(first);
        }
        let second = self.stage.play(served, plan, seed)?;
        Ok(if second.calm_seconds() > first.calm_seconds() { second } else { first })
    }
}

/// Other rates see other arrivals; the same one sees the same again.
fn seed_of(rate: f64) -> u64 {
    rate.to_bits()
}

/// Share on time, and on-time answers a second, of the same part of every calm second.
fn within(played: &Played, from_ns: u64, to_ns: u64) -> (f64, f64) {
    let tally = played.tally(|after_ns| (from_ns..to_ns).contains(&(after_ns % SECOND_NS)));
    let span_s = (to_ns - from_ns) as f64 / SECOND_NS as f64 * played.calm_seconds() as f64;
    (tally.on_time_share(), tally.on_time as f64 / span_s)
}

fn tell_causes(played: &Played, curve: &Curve) {
    for (cause, count) in causes(played, curve) {
        println!("    {count} {cause}");
    }
    if let Some((median, p99)) = outside_ms(played) {
        println!("    outside queue, lane and model: median {median:.3} ms, p99 {p99:.3} ms");
    }
}

fn progress(what: &str, played: &Played) {
    let tally = played.tally(|_| true);
    let (seconds, calm) = (played.excluded.len(), played.calm_seconds());
    let by = played.late_by_ms().map_or_else(String::new, |ms| format!(" (by {ms:.2} ms)"));
    println!(
        "{what}: {} of {} on time, {} late{by}, {} refused, {} expired, {} failed; {calm} of {seconds} s count",
        count(tally.on_time as f64),
        count(tally.due as f64),
        tally.late,
        tally.refused,
        tally.expired,
        tally.failed
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slo::tally::LEAD_NS;
    use crate::trace::{Ended, Record};

    #[test]
    fn experts_try_sizes_around_the_best_one_and_none_past_the_models_most() {
        let names = |rows, work| {
            let tried = by_hand(Capacity { rows, per_second: 1.0 }, work);
            tried.iter().map(Served::name).collect::<Vec<_>>()
        };
        let tried = names(32, Work::Sleep);
        assert_eq!(tried.len(), 6);
        assert!(tried.contains(&"static_16_0ms".into()) && tried.contains(&"static_64_4ms".into()));
        assert_eq!(names(256, Work::Mlp).len(), 4);
    }

    #[test]
    fn a_part_of_every_second_is_looked_at() {
        let record = |after_ms: u64, took_ms: u64| {
            let due_ns = LEAD_NS + after_ms * MS;
            let ended = Ended::Answered { status: 200, timing: None };
            Record { due_ns, sent_ns: due_ns, ended_ns: due_ns + took_ms * MS, ended }
        };
        let records = vec![record(450, 5), record(1_450, 50), record(1_460, 5), record(600, 5)];
        let due_ns = records.iter().map(|record| record.due_ns).collect();
        let played = Played { due_ns, records, excluded: vec![false; 2] };
        let (share, per_second) = within(&played, 400 * MS, 500 * MS);
        assert!((share - 2.0 / 3.0).abs() < 1e-9);
        assert!((per_second - 10.0).abs() < 1e-9, "{per_second}");
    }
}
