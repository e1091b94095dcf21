//! Two classes in one queue under overload: the dear one is served, and what is served is worth more.

use crate::arrivals::Load;
use crate::bars::Bars;
use crate::baselines::Kind;
use crate::cell::{LEAD_MS, SLO_MS, span_ms};
use crate::device::{Device, Shape};
use crate::run::Run;
use crate::world::{Request, Setup, play};

const LOAD: f64 = 1.3;
/// By class, the dear one first; half of the requests each.
const WEIGHTS: [u32; 2] = [4, 1];

impl Bars {
    /// Shares on time of the dear and the cheap class at 1.3 C; and the value served over that of a run that knows no
    /// weights.
    pub(crate) fn classes(&mut self) {
        for replicas in [1, 4] {
            let name = |figure: &str| match replicas {
                1 => format!("classes_{figure}"),
                _ => format!("classes_{figure}_n{replicas}"),
            };
            let end_ms = LEAD_MS + span_ms(replicas);
            let share = |class: u8| {
                move |seed| weighed(replicas, WEIGHTS, seed).class_attained(class, LEAD_MS, end_ms)
            };
            let gain = |seed| {
                let plain = weighed(replicas, [1, 1], seed);
                value(&weighed(replicas, WEIGHTS, seed), end_ms) / value(&plain, end_ms)
            };
            let (high, low) = (self.worst_low(share(0)), self.worst_low(share(1)));
            let gain = self.worst_low(gain);
            self.put(&name("high"), high);
            self.put(&name("low"), low);
            self.put(&name("value_ratio"), gain);
        }
    }
}

fn weighed(replicas: usize, weights: [u32; 2], seed: u64) -> Run {
    let device = Device::new(Shape::Gpu);
    let rate = LOAD * device.capacity(replicas, SLO_MS);
    let arrivals = Load::Poisson(rate).draw(LEAD_MS + span_ms(replicas), seed);
    let setup = Setup::alike(device, replicas, SLO_MS, seed);
    let requests = arrivals.iter().enumerate().map(|(nth, &arrives)| {
        let class = (nth % 2) as u8;
        let weight = weights[usize::from(class)];
        Request { arrives, cost: 1, work: 1, slo: (SLO_MS * 1e6) as u64, class, weight }
    });
    play(&setup, requests, Kind::Ours.controller(&setup))
}

/// Σ weight of what was on time.
fn value(run: &Run, end_ms: f64) -> f64 {
    let of_class =
        |class: usize| f64::from(WEIGHTS[class]) * run.of_class(class as u8, LEAD_MS, end_ms).0;
    of_class(0) + of_class(1)
}
