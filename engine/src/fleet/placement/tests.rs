//! Every rule by an example; `laws` over random ones.

use std::time::Duration;

use super::*;
use crate::fleet::devices::inventory::{Cpus, DeviceId, Gpu, Health, Host, Node, Slice};
use crate::ids::DeviceClass;

mod laws;
mod planning;

const GB: u64 = 1 << 30;

fn gpu(uuid: &str, gb: u64) -> Gpu {
    let name = "NVIDIA H100 80GB HBM3".into();
    Gpu { uuid: uuid.into(), name, memory_bytes: gb * GB, ..Gpu::default() }
}

/// Nodes of so many cores, each of so many CPUs, numbered through as Linux does: siblings lie half of all apart.
fn cpus(nodes: u32, cores: usize, smt: usize) -> Cpus {
    let all = nodes as usize * cores;
    let core = |nth: usize| (0..smt).map(|sibling| nth + sibling * all).collect();
    let node = |id: u32| {
        let first = id as usize * cores;
        Node { id, memory_bytes: 64 * GB, cores: (first..first + cores).map(core).collect() }
    };
    Cpus { quota: None, front_end: Vec::new(), nodes: (0..nodes).map(node).collect() }
}

fn one(cpus: Cpus, gpus: Vec<Gpu>) -> Inventory {
    Inventory { hosts: vec![Host { name: "a".into(), cpus, gpus }] }
}

fn gpus(gpus: Vec<Gpu>) -> Inventory {
    one(cpus(1, 4, 1), gpus)
}

fn on_gpu(gb: u64) -> Choice {
    let on = Kind::Gpu { name: None, whole: false };
    Choice { class: DeviceClass(0), on, memory_bytes: gb * GB, curve: None }
}

fn on_cpu(threads: u32) -> Choice {
    let on = Kind::Cpu { threads, exact: None };
    Choice { class: DeviceClass(1), on, memory_bytes: 0, curve: None }
}

fn named(name: &str, gb: u64) -> Choice {
    Choice { on: Kind::Gpu { name: Some(name.into()), whole: false }, ..on_gpu(gb) }
}

fn whole(gb: u64) -> Choice {
    Choice { on: Kind::Gpu { name: None, whole: true }, ..on_gpu(gb) }
}

fn exact(cpus: &[usize]) -> Choice {
    Choice { on: Kind::Cpu { threads: 0, exact: Some(cpus.to_vec()) }, ..on_cpu(0) }
}

/// `fixed + each · rows` ms, measured up to 64 rows.
fn takes(choice: Choice, fixed: f64, each: f64) -> Choice {
    let point = |rows: f64| (rows, fixed + each * rows);
    let curve = Curve::new([1.0, 64.0].map(point)).expect("a curve");
    Choice { curve: Some(curve), ..choice }
}

fn ask(options: Vec<Choice>) -> Ask {
    let slo = Some(Duration::from_millis(20));
    Ask { model: "digits".into(), options, slo, rate_rows_s: 10.0 }
}

/// One after the other, each beside those before.
fn fill(inventory: &Inventory, asks: &[Ask]) -> Vec<Seat> {
    let mut seats = Vec::new();
    for ask in asks {
        let found = seat(inventory, &seats, ask);
        seats.push(found.unwrap_or_else(|error| panic!("{error}")));
    }
    seats
}

fn place(seat: &Seat) -> String {
    seat.device.to_string()
}

fn refused(inventory: &Inventory, taken: &[Seat], ask: &Ask) -> String {
    seat(inventory, taken, ask).expect_err("there is no room").to_string()
}

#[test]
fn replicas_are_spread_over_gpus_and_not_piled_on_the_first() {
    let two = gpus(vec![gpu("GPU-1", 80), gpu("GPU-0", 80)]);
    let seats = fill(&two, &vec![ask(vec![on_gpu(10)]); 4]);
    assert_eq!(seats.iter().map(place).collect::<Vec<_>>(), ["GPU-0", "GPU-1", "GPU-0", "GPU-1"]);
    assert!(seats[0].why.contains("nobody"), "{}", seats[0].why);
    assert!(seats[2].why.contains("least busy"), "{}", seats[2].why);
}

#[test]
fn measured_load_goes_before_free_memory_and_that_before_the_uuid() {
    let two = gpus(vec![gpu("GPU-0", 40), gpu("GPU-1", 80)]);
    let light = Ask { rate_rows_s: 1.0, ..ask(vec![takes(on_gpu(1), 1.0, 0.1)]) };
    let heavy = Ask { rate_rows_s: 2000.0, ..light.clone() };
    let seats = fill(&two, &[heavy, light.clone(), light]);
    let places: Vec<_> = seats.iter().map(place).collect();
    assert_eq!(places, ["GPU-1", "GPU-0", "GPU-0"], "free memory, then the load twice");
    assert!(seats[0].busy > 0.2 && seats[1].busy < 0.01);
}

#[test]
fn memory_that_others_use_and_what_cuda_takes_for_itself_count() {
    let one = gpus(vec![Gpu { reserved_bytes: GB, used_bytes: 2 * GB, ..gpu("GPU-0", 10) }]);
    assert!(seat(&one, &[], &ask(vec![on_gpu(6)])).is_ok(), "6 and 0.5 of 7");
    let says = refused(&one, &[], &ask(vec![on_gpu(7)]));
    assert!(says.contains("digits has no place: GPU: it needs 7.5 GiB"), "{says}");
    assert!(says.contains("most that is free on one is 7.0 GiB; lower gpu_memory"), "{says}");
    let taken = fill(&one, &[ask(vec![on_gpu(4)]), ask(vec![on_gpu(2)])]);
    assert_eq!(taken.len(), 2, "4.5 and 2.5 of the 7 that others leave");
}

#[test]
fn a_gpu_out_of_service_takes_nobody() {
    let health = Health::Unhealthy { reason: "Xid 79: fell off the bus".into() };
    let sick = Gpu { health, ..gpu("GPU-0", 80) };
    let with_well = gpus(vec![sick.clone(), gpu("GPU-1", 8)]);
    assert_eq!(place(&fill(&with_well, &[ask(vec![on_gpu(1)])])[0]), "GPU-1");
    let says = refused(&gpus(vec![sick.clone()]), &[], &ask(vec![on_gpu(1)]));
    assert!(says.contains("GPU-0 is out of service (Xid 79"), "{says}");
    let instead = seat(&gpus(vec![sick]), &[], &ask(vec![on_gpu(1), on_cpu(0)])).expect("the CPU");
    assert!(instead.why.starts_with("its GPU is out of service; "), "{}", instead.why);
}

#[test]
fn a_split_gpu_is_its_slices() {
    let slice = |uuid: &str, profile: &str, gb| Slice {
        uuid: uuid.into(),
        profile: profile.into(),
        memory_bytes: gb * GB,
        used_bytes: 0,
    };
    let slices = vec![slice("MIG-a", "1g.10gb", 10), slice("MIG-b", "3g.40gb", 40)];
    let split = gpus(vec![Gpu { slices: Some(slices), ..gpu("GPU-0", 80) }]);
    let of = |choice| seat(&split, &[], &ask(vec![choice])).map(|seat| place(&seat));
    assert_eq!(of(named("1g", 2)), Ok("MIG-a".into()));
    assert_eq!(of(named("H100", 2)), Ok("MIG-b".into()), "the one with the most room");
    assert_eq!(of(on_gpu(20)), Ok("MIG-b".into()));
    assert!(of(on_gpu(50)).is_err(), "nothing runs on the whole of it");
    let empty = gpus(vec![Gpu { slices: Some(Vec::new()), ..gpu("GPU-0", 80) }]);
    let says = refused(&empty, &[], &ask(vec![on_gpu(1)]));
    assert!(says.contains("GPU-0 is split (MIG) and has no slice"), "{says}");
    let instead = seat(&empty, &[], &ask(vec![on_gpu(1), on_cpu(0)])).expect("the CPU");
    assert!(instead.why.starts_with("the GPU is split and has no slice; "), "{}", instead.why);
}

#[test]
fn a_name_is_the_beginning_of_one_in_any_letters_with_or_without_the_maker() {
    let mixed = gpus(vec![gpu("GPU-0", 80), Gpu { name: "Tesla T4".into(), ..gpu("GPU-9", 16) }]);
    let of = |name| seat(&mixed, &[], &ask(vec![named(name, 1)])).map(|seat| place(&seat));
    for name in ["H100", "h100 80gb", "NVIDIA H100", "gpu-0"] {
        assert_eq!(of(name), Ok("GPU-0".into()), "{name}");
    }
    assert_eq!(of("Tesla"), Ok("GPU-9".into()));
    let says = refused(&mixed, &[], &ask(vec![named("A100", 1)]));
    assert!(says.contains("'A100'; there are NVIDIA H100 80GB HBM3, Tesla T4"), "{says}");
}

#[test]
fn who_has_a_gpu_whole_shares_it_with_nobody() {
    let one = gpus(vec![gpu("GPU-0", 80)]);
    let (shared, alone) = (ask(vec![on_gpu(1)]), ask(vec![whole(1)]));
    let says = refused(&one, &fill(&one, std::slice::from_ref(&alone)), &shared);
    assert!(says.contains("take gpu_whole off that model"), "{says}");
    let says = refused(&one, &fill(&one, std::slice::from_ref(&shared)), &alone);
    assert!(says.contains("none that would do is without replicas"), "{says}");
    let two = gpus(vec![gpu("GPU-0", 80), gpu("GPU-1", 80)]);
    let places: Vec<_> = fill(&two, &[alone, shared.clone(), shared]).iter().map(place).collect();
    assert_eq!(places, ["GPU-0", "GPU-1", "GPU-1"]);
}

#[test]
fn a_pinned_replica_gets_whole_cores_of_one_node_and_its_memory() {
    let two_nodes = one(cpus(2, 2, 2), Vec::new());
    let seats =
        fill(&two_nodes, &[ask(vec![on_cpu(3)]), ask(vec![on_cpu(1)]), ask(vec![on_cpu(1)])]);
    assert_eq!(seats[0].cpus, [0, 1, 4, 5], "three CPUs are two whole cores");
    assert_eq!((place(&seats[0]), seats[0].mems, seats[0].threads), ("cpu0".into(), Some(0), 3));
    assert_eq!([&seats[1].cpus[..], &seats[2].cpus[..]], [[2, 6], [3, 7]]);
    let says = refused(&two_nodes, &seats, &ask(vec![on_cpu(1)]));
    assert!(says.contains("the most that are left on one NUMA node are 0"), "{says}");
}

#[test]
fn a_replica_never_spans_nodes() {
    let two_nodes = one(cpus(2, 2, 2), Vec::new());
    let says = refused(&two_nodes, &[], &ask(vec![on_cpu(5)]));
    assert!(says.contains("no NUMA node has more than 4") && says.contains("lower threads to 4"));
    let seats = fill(&two_nodes, &[ask(vec![on_cpu(2)]), ask(vec![on_cpu(2)])]);
    assert_eq!(seats.iter().map(place).collect::<Vec<_>>(), ["cpu0", "cpu1"], "the emptier one");
}

#[test]
fn a_host_of_one_node_has_no_memory_node_to_name() {
    let seats = fill(&one(cpus(1, 4, 1), Vec::new()), &[ask(vec![on_cpu(2)])]);
    assert_eq!((seats[0].mems, &seats[0].cpus[..]), (None, &[0, 1][..]));
}

#[test]
fn the_front_ends_cores_are_left_alone_where_the_others_would_do() {
    let front = Cpus { front_end: vec![0], ..cpus(1, 4, 2) };
    let host = one(front, Vec::new());
    let seats = fill(&host, &[ask(vec![on_cpu(6)])]);
    assert_eq!(seats[0].cpus, [1, 2, 3, 5, 6, 7], "nor the sibling of one");
    let says = refused(&host, &seats, &ask(vec![on_cpu(1)]));
    assert!(says.contains("without the front end's"), "{says}");
    let all = fill(&host, &[ask(vec![on_cpu(8)])]);
    assert_eq!(all[0].cpus.len(), 8, "the others would never be enough");
    assert!(all[0].why.contains("front end too"), "{}", all[0].why);
    assert!(refused(&host, &all, &ask(vec![on_cpu(8)])).contains("left on one NUMA node are 0"));
}

#[test]
fn pinned_replicas_keep_within_the_quota_beside_the_front_end() {
    let tight = Cpus { quota: Some(4.0), front_end: vec![0], ..cpus(1, 16, 1) };
    let host = one(tight, Vec::new());
    let seats = fill(&host, &[ask(vec![on_cpu(2)])]);
    let says = refused(&host, &seats, &ask(vec![on_cpu(2)]));
    assert!(says.contains("quota leaves 1.0"), "{says}");
    assert!(seat(&host, &seats, &ask(vec![on_cpu(1)])).is_ok());
    assert!(seat(&host, &[], &ask(vec![on_cpu(4)])).is_ok(), "more than is beside the front end");
    assert!(refused(&host, &[], &ask(vec![on_cpu(5)])).contains("quota leaves 4.0"));
}

#[test]
fn cpus_that_were_named_are_given_as_they_are_and_to_nobody_else() {
    let host = one(Cpus { front_end: vec![0], ..cpus(2, 2, 1) }, Vec::new());
    let seats = fill(&host, &[ask(vec![exact(&[1, 0])]), ask(vec![exact(&[1, 2])])]);
    assert_eq!(seats[0].cpus, [1, 0]);
    assert_eq!([seats[0].mems, seats[1].mems], [Some(0), None], "the second's are of two nodes");
    let next = seat(&host, &seats, &ask(vec![on_cpu(1)])).expect("one core is left");
    assert_eq!(next.cpus, [3]);
    assert!(refused(&host, &[], &ask(vec![exact(&[7])])).contains("CPU 7 is not one"));
}

#[test]
fn a_replica_that_is_not_pinned_needs_memory_only() {
    let host = one(cpus(2, 1, 1), Vec::new());
    let big = Choice { memory_bytes: 100 * GB, ..on_cpu(0) };
    let seats = fill(&host, &[ask(vec![big.clone()]), ask(vec![on_cpu(0)])]);
    assert!(seats.iter().all(|seat| seat.cpus.is_empty() && seat.mems.is_none()));
    let says = refused(&host, &seats, &ask(vec![big]));
    assert!(
        says.contains(
            "needs 100.0 GiB of memory and the most that is free in one place is 28.0 GiB"
        ),
        "{says}"
    );
    let pinned = Choice { memory_bytes: 30 * GB, ..on_cpu(1) };
    assert!(refused(&host, &seats, &ask(vec![pinned])).contains("lower memory"));
}

#[test]
fn before_all_are_measured_the_order_of_wish_decides() {
    let host = gpus(vec![gpu("GPU-0", 80)]);
    let slow = takes(on_gpu(1), 9.0, 1.0);
    let seats = fill(&host, &[ask(vec![slow.clone(), on_cpu(0)]), ask(vec![on_cpu(0), slow])]);
    assert_eq!(seats.iter().map(|seat| seat.class.0).collect::<Vec<_>>(), [0, 1]);
    assert!(seats[0].why.contains("first wish"), "{}", seats[0].why);
    let too_slow = takes(on_gpu(1), 30.0, 1.0);
    let seat = seat(&host, &[], &ask(vec![too_slow, on_cpu(0)])).expect("the CPU");
    assert_eq!(seat.class.0, 1, "what breaks the promise is no wish");
}

/// `3 + 0.05 b` and `0.3 + 1.0 b` ms meet at a batch of 2.8, which is needed at 822 rows a second.
fn unlike() -> Vec<Choice> {
    vec![takes(on_gpu(1), 3.0, 0.05), takes(on_cpu(1), 0.3, 1.0)]
}

#[test]
fn rare_requests_go_to_the_cpu_and_many_to_the_gpu() {
    let host = gpus(vec![gpu("GPU-0", 80)]);
    let class = |rate_rows_s| {
        let asked = Ask { rate_rows_s, ..ask(unlike()) };
        seat(&host, &[], &asked).expect("a place").class.0
    };
    assert_eq!([0.0, 10.0, 800.0].map(class), [1, 1, 1]);
    assert_eq!([850.0, 2_000.0, 1e6].map(class), [0, 0, 0]);
}

#[test]
fn where_none_carries_the_rate_the_one_that_carries_most_is_taken() {
    let host = gpus(vec![gpu("GPU-0", 80)]);
    let seat = seat(&host, &[], &Ask { rate_rows_s: 1e6, ..ask(unlike()) }).expect("a place");
    assert!(seat.why.starts_with("carries the most"), "{}", seat.why);
    assert_eq!(seat.busy, 1.0);
}

#[test]
fn where_nothing_keeps_the_promise_the_nearest_is_taken_and_said_so() {
    let host = gpus(vec![gpu("GPU-0", 80)]);
    let slo = Some(Duration::from_millis(1));
    let seat = seat(&host, &[], &Ask { slo, ..ask(unlike()) }).expect("a place");
    assert_eq!(seat.class.0, 1);
    assert!(seat.why.contains("nothing keeps 1ms"), "{}", seat.why);
}

#[test]
fn a_busy_gpu_is_worth_what_is_left_of_it() {
    let host = gpus(vec![gpu("GPU-0", 80)]);
    let asked = Ask { rate_rows_s: 850.0, ..ask(unlike()) };
    let hog = Ask { rate_rows_s: 1e9, ..ask(vec![takes(on_gpu(1), 3.0, 0.05)]) };
    let taken = fill(&host, &[hog]);
    assert_eq!(seat(&host, &[], &asked).expect("a place").class.0, 0);
    assert_eq!(seat(&host, &taken, &asked).expect("a place").class.0, 1);
}

#[test]
fn a_seat_on_a_device_that_is_gone_holds_nobody_up() {
    let before = gpus(vec![gpu("GPU-0", 80)]);
    let taken = fill(&before, &[ask(vec![whole(1)]), ask(vec![on_cpu(4)])]);
    let after = one(cpus(1, 8, 1), vec![gpu("GPU-1", 80)]);
    assert!(seat(&after, &taken, &ask(vec![whole(1)])).is_ok());
    assert_eq!(seat(&after, &taken, &ask(vec![on_cpu(4)])).expect("four more").cpus, [4, 5, 6, 7]);
}

#[test]
fn each_choice_has_its_reason() {
    let says = refused(&one(cpus(1, 2, 1), Vec::new()), &[], &ask(vec![on_gpu(1), on_cpu(9)]));
    assert!(says.starts_with("digits has no place: GPU: there is no GPU here"), "{says}");
    assert!(says.contains(". CPU: it wants 9 CPUs of its own"), "{says}");
    let nothing = refused(&gpus(Vec::new()), &[], &ask(Vec::new()));
    assert!(nothing.contains("give it a device"), "{nothing}");
    assert!(refused(&Inventory::default(), &[], &ask(vec![on_cpu(0)])).contains("no CPU here"));
}

#[test]
fn a_seat_names_its_host_among_several() {
    let host = |name: &str| Host { name: name.into(), cpus: cpus(1, 2, 1), gpus: Vec::new() };
    let two = Inventory { hosts: vec![host("a"), host("b")] };
    let seats = fill(&two, &[ask(vec![on_cpu(2)]), ask(vec![on_cpu(2)]), ask(vec![on_cpu(0)])]);
    let hosts = seats.iter().map(|seat| seat.device.host());
    assert_eq!(hosts.collect::<Vec<_>>()[..2], ["a", "b"]);
}
