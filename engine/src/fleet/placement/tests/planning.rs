//! Plans: what they give whom, and that the laws hold of them too.

use proptest::prelude::*;

use super::laws::{an_ask, an_inventory, check};
use super::*;

fn demand(model: &str, rate_rows_s: f64, options: Vec<Choice>) -> Demand {
    let ask = Ask { model: model.into(), rate_rows_s, ..ask(options) };
    Demand { ask, weight: 1.0, replicas_min: 1, replicas_max: 8 }
}

/// 60 rows in 9 ms, 6 600 a second, in a promise of 20 ms.
fn fast(gb: u64) -> Choice {
    takes(on_gpu(gb), 3.0, 0.1)
}

fn places(plan: &Plan, model: &str) -> Vec<String> {
    let seats = plan.seats.iter().filter(|seat| seat.model == model);
    let mut places: Vec<String> = seats.map(place).collect();
    places.sort();
    places
}

fn four() -> Inventory {
    gpus((0..4).map(|nth| gpu(&format!("GPU-{nth}"), 80)).collect())
}

#[test]
fn a_model_gets_the_replicas_that_carry_its_rate_within_its_bounds() {
    let count = |rate, max| {
        let one = Demand { replicas_max: max, ..demand("a", rate, vec![fast(10)]) };
        let plan = plan(&four(), &[one]);
        (plan.seats.len(), plan.standings[0].on_time_rows_s.round())
    };
    assert_eq!(count(0.0, 8), (1, 0.0), "the least, though nobody asks");
    assert_eq!(count(5_000.0, 8), (1, 5_000.0));
    assert_eq!(count(15_000.0, 8), (3, 15_000.0));
    assert_eq!(count(15_000.0, 2).0, 2);
    let (replicas, on_time) = count(1e6, 8);
    assert!((4..=8).contains(&replicas) && on_time < 40_000.0, "four GPUs are all there is");
}

#[test]
fn what_is_worth_more_goes_first_where_not_all_have_room() {
    let one = gpus(vec![gpu("GPU-0", 80)]);
    let (small, large) =
        (demand("small", 10.0, vec![fast(60)]), demand("large", 3_000.0, vec![fast(60)]));
    let plan_of = |demands: &[Demand]| plan(&one, demands);
    let found = plan_of(&[small.clone(), large.clone()]);
    assert_eq!((places(&found, "small").len(), places(&found, "large").len()), (0, 1));
    let why = found.standings[0].short.as_ref().expect("a reason").to_string();
    assert!(why.contains("small has no place: GPU: it needs 60.5 GiB"), "{why}");
    let dear = Demand { weight: 1000.0, ..small };
    let found = plan_of(&[dear, large]);
    assert_eq!((places(&found, "small").len(), places(&found, "large").len()), (1, 0));
}

#[test]
fn one_that_can_go_elsewhere_makes_room() {
    let one = gpus(vec![gpu("GPU-0", 80)]);
    let both = vec![fast(60), takes(on_cpu(1), 1.0, 0.4)];
    let (movable, bound) = (demand("movable", 600.0, both), demand("bound", 500.0, vec![fast(50)]));
    let found = plan(&one, &[movable, bound]);
    assert_eq!(places(&found, "bound"), ["GPU-0"]);
    assert_eq!(places(&found, "movable"), ["cpu0"]);
}

#[test]
fn nothing_asked_is_nothing_planned() {
    let empty = plan(&four(), &[]);
    assert_eq!((empty.seats.len(), empty.standings.len(), empty.worth), (0, 0, 0.0));
}

fn a_demand() -> impl Strategy<Value = Demand> {
    (an_ask(), 0u32..3, 0u32..3, 1u32..5).prop_map(|(ask, least, more, weight)| Demand {
        ask,
        weight: f64::from(weight),
        replicas_min: least,
        replicas_max: least + more,
    })
}

fn named(mut demands: Vec<Demand>) -> Vec<Demand> {
    let place_of = |class: usize| DeviceClass(class as u8);
    for (nth, demand) in demands.iter_mut().enumerate() {
        demand.ask.model = format!("m{nth}");
        let choices = demand.ask.options.iter_mut().enumerate();
        choices.for_each(|(class, choice)| choice.class = place_of(class));
    }
    demands
}

proptest! {
    #[test]
    fn plans_keep_the_laws_and_the_bounds(
        inventory in an_inventory(),
        demands in proptest::collection::vec(a_demand(), 0..8).prop_map(named),
    ) {
        let planned = plan(&inventory, &demands);
        prop_assert_eq!(&planned, &plan(&inventory, &demands), "equal input, equal output");
        check(&inventory, &planned.seats);
        for (demand, standing) in demands.iter().zip(&planned.standings) {
            let sit = planned.seats.iter().filter(|seat| seat.model == demand.ask.model).count();
            prop_assert_eq!(sit as u32, standing.replicas);
            prop_assert!(standing.replicas <= demand.replicas_max);
            prop_assert!(standing.replicas >= demand.replicas_min || standing.short.is_some());
            prop_assert!(standing.on_time_rows_s <= standing.rate_rows_s * (1.0 + 1e-9));
        }
        let (seats, was) = (worth(&inventory, &demands, &planned.seats), planned.worth);
        prop_assert!((seats - was).abs() <= 1e-6 * was.abs().max(1.0), "{} is not {}", seats, was);
    }
}
