//! `foil-sim`: the engine's own batcher under virtual time, beside the literature's controllers.

mod arrivals;
mod baselines;
mod device;
mod optimum;
mod world;

use arrivals::Load;
use baselines::{Kind, Task};
use device::{Device, Shape, SlowDown};
use world::{Setup, play};

fn main() {
    let slo_ms = 20.0;
    for replicas in [4] {
        let base = Device::new(Shape::Gpu);
        let c = base.capacity(replicas, slo_ms);
        let span = if replicas == 1 { 2500.0 } else { 900.0 };
        let bimodal = |share| Device { slow_share: share, ..base };
        let slow = Device { slow_down: Some(SlowDown { from_ms: 200.0 + span * 0.4, to_ms: 200.0 + span * 0.8, factor: 2.0 }), ..base };
        let cells: Vec<(&str, Device, Load)> = vec![
            /*("poisson .9", base, Load::Poisson(0.9 * c)),
            ("poisson 1.0", base, Load::Poisson(c)),
            ("poisson 1.3", base, Load::Poisson(1.3 * c)),
            ("poisson 2.0", base, Load::Poisson(2.0 * c)),
            ("mmpp", base, Load::Mmpp { rates: [0.4 * c, 1.5 * c], sojourns: [150.0, 75.0] }),
            ("gamma", base, Load::Gamma { rate: 0.7 * c, cv: 6.0 }),
            ("slow .3", slow, Load::Poisson(0.3 * c)),
            ("slow .6", slow, Load::Poisson(0.6 * c)),
            */("bimodal .5%", bimodal(0.005), Load::Poisson(0.6 * c)),
            ("bimodal 3%", bimodal(0.03), Load::Poisson(0.6 * c)),
        ];
        println!("N={replicas} C={:.0}/s", c * 1000.0);
        for (name, device, load) in cells {
            print!("{name:12}");
            for kind in [Kind::Aimd, Kind::Nexus, Kind::Clockwork, Kind::Ours, Kind::Oracle] {
                let (mut goodput, mut attained, mut late, mut hedged) = (0.0, 0.0, 0.0, 0.0);
                for seed in 0..3 {
                    let arrivals = load.draw(200.0 + span, seed);
                    let setup = Setup { device, replicas, slo_ms, hard: true, seed };
                    let run = play(&setup, &arrivals, kind.controller(Task { device, slo_ms }));
                    goodput += run.goodput(200.0, 200.0 + span) * 1000.0 / 3.0;
                    attained += run.attained(200.0, 200.0 + span) * 100.0 / 3.0;
                    hedged += run.hedged as f64 / 1e6 / replicas as f64 / (200.0 + span) / 3.0;
                    late += run.late(200.0, 200.0 + span) * 100.0 / 3.0;
                }
                print!(" | {} {goodput:6.0} {attained:5.1} {late:5.2} {:4.2}", &kind.name()[..3], hedged * 100.0);
            }
            if replicas == 1 {
                for seed in 0..3 {
                    let arrivals = load.draw(200.0 + span, seed);
                    let service = |batch: usize| (device.shape.millis(batch as f64) * 1e6) as u64;
                    let best = optimum::attainable(&arrivals, 20_000_000, service);
                    let setup = Setup { device, replicas, slo_ms, hard: true, seed };
                    let run = play(&setup, &arrivals, Kind::Ours.controller(Task { device, slo_ms }));
                    print!(" {:5.1}", run.attained(0.0, 1e9) / best * 100.0);
                }
            }
            println!();
        }
    }
}
