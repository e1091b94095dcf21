//! The laws of the module's head, over random inventories and asks.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const REPLICAS_MAX: usize = 40;

fn a_gpu() -> impl Strategy<Value = Gpu> {
    let slices = proptest::option::weighted(0.3, proptest::collection::vec(1u64..20, 0..4));
    (1u64..20, 0u64..3, 0u64..3, slices, any::<bool>(), 0u32..2).prop_map(
        |(gb, reserved, used, slices, is_sick, node)| {
            let slice = |gb| Slice { memory_bytes: gb * GB, ..Slice::default() };
            let sick = Health::Unhealthy { reason: "Xid 79".into() };
            Gpu {
                reserved_bytes: reserved * GB,
                used_bytes: used * GB,
                node: Some(node),
                slices: slices.map(|sizes| sizes.into_iter().map(slice).collect()),
                health: if is_sick { sick } else { Health::Healthy },
                ..gpu("", gb)
            }
        },
    )
}

fn a_host() -> impl Strategy<Value = Host> {
    let quota = proptest::option::weighted(0.3, (1u32..9).prop_map(f64::from));
    let shape = (1u32..3, 1usize..6, 1usize..3, 0usize..3, quota);
    (shape, proptest::collection::vec(a_gpu(), 0..5)).prop_map(|(shape, gpus)| {
        let (nodes, cores, smt, front, quota) = shape;
        let cpus = Cpus { quota, front_end: (0..front).collect(), ..cpus(nodes, cores, smt) };
        Host { name: String::new(), cpus, gpus }
    })
}

pub(super) fn an_inventory() -> impl Strategy<Value = Inventory> {
    proptest::collection::vec(a_host(), 1..3).prop_map(|mut hosts| {
        let mut number = 0;
        let mut uuid = |text: &mut String| {
            number += 1;
            *text = format!("U-{number:03}");
        };
        for (nth, host) in (0..).zip(&mut hosts) {
            host.name = format!("h{nth}");
            for gpu in &mut host.gpus {
                uuid(&mut gpu.uuid);
                gpu.slices.iter_mut().flatten().for_each(|slice| uuid(&mut slice.uuid));
            }
        }
        Inventory { hosts }
    })
}

fn a_choice() -> impl Strategy<Value = Choice> {
    let on = prop_oneof![
        (0u32..6).prop_map(|threads| Kind::Cpu { threads, exact: None }),
        any::<bool>().prop_map(|whole| Kind::Gpu { name: None, whole }),
    ];
    let curve = proptest::option::of((1u32..30, 1u32..20));
    (on, 0u64..30, curve, 0u8..3).prop_map(|(on, gb, curve, class)| {
        let bare = Choice { on, class: DeviceClass(class), ..on_gpu(gb) };
        match curve {
            Some((fixed, each)) => takes(bare, f64::from(fixed), f64::from(each) / 10.0),
            None => bare,
        }
    })
}

pub(super) fn an_ask() -> impl Strategy<Value = Ask> {
    let options = proptest::collection::vec(a_choice(), 1..4);
    (options, 1u64..60, 0.0..3000.0).prop_map(|(options, slo_ms, rate_rows_s)| Ask {
        slo: Some(Duration::from_millis(slo_ms)),
        rate_rows_s,
        ..ask(options)
    })
}

/// Capacities by device: of its memory, without what the driver and others have.
fn capacities(inventory: &Inventory) -> BTreeMap<DeviceId, u64> {
    let mut found = BTreeMap::new();
    for host in &inventory.hosts {
        let id = |uuid: &String| DeviceId::Gpu { host: host.name.clone(), uuid: uuid.clone() };
        for gpu in host.gpus.iter().filter(|gpu| gpu.health == Health::Healthy) {
            match &gpu.slices {
                None => {
                    let not_ours = gpu.reserved_bytes.saturating_add(gpu.used_bytes);
                    found.insert(id(&gpu.uuid), gpu.memory_bytes.saturating_sub(not_ours));
                }
                Some(slices) => {
                    let free = |slice: &Slice| slice.memory_bytes.saturating_sub(slice.used_bytes);
                    found.extend(slices.iter().map(|slice| (id(&slice.uuid), free(slice))));
                }
            }
        }
        let node = |node: &Node| DeviceId::Cpu { host: host.name.clone(), node: node.id };
        found.extend(host.cpus.nodes.iter().map(|it| (node(it), it.memory_bytes)));
    }
    found
}

/// What holds of any set of seats none of which named its CPUs.
pub(super) fn check(inventory: &Inventory, seats: &[Seat]) {
    let capacities = capacities(inventory);
    let mut taken: BTreeMap<&DeviceId, (u64, Vec<&Seat>)> = BTreeMap::new();
    for seat in seats {
        let is_gpu = matches!(seat.device, DeviceId::Gpu { .. });
        let entry = taken.entry(&seat.device).or_default();
        let counted = is_gpu || !seat.cpus.is_empty();
        entry.0 += if counted { seat.memory_bytes } else { 0 };
        entry.0 += if is_gpu { CONTEXT_BYTES } else { 0 };
        entry.1.push(seat);
    }
    for (device, (bytes, seats)) in taken {
        let capacity = capacities.get(device).expect("a healthy device of the inventory");
        assert!(bytes <= *capacity, "{device}: {bytes} of {capacity}");
        assert!(seats.len() == 1 || seats.iter().all(|seat| !seat.whole), "{device} is shared");
    }
    inventory.hosts.iter().for_each(|host| check_cpus(host, seats));
}

fn check_cpus(host: &Host, seats: &[Seat]) {
    let is_here = |seat: &&Seat| matches!(&seat.device, DeviceId::Cpu { host: name, .. } if *name == host.name);
    let here: Vec<&Seat> = seats.iter().filter(is_here).collect();
    let memory: u64 = host.cpus.nodes.iter().map(|node| node.memory_bytes).sum();
    assert!(here.iter().map(|seat| seat.memory_bytes).sum::<u64>() <= memory);
    let mut given = BTreeSet::new();
    for seat in here.iter().filter(|seat| !seat.cpus.is_empty()) {
        assert!(seat.cpus.len() >= seat.threads as usize);
        let own =
            |node: &&Node| matches!(&seat.device, DeviceId::Cpu { node: id, .. } if *id == node.id);
        let node = host.cpus.nodes.iter().find(own).expect("its node");
        for cpu in &seat.cpus {
            assert!(given.insert(*cpu), "CPU {cpu} is in two seats");
            let core = node.cores.iter().find(|core| core.contains(cpu)).expect("of its node");
            assert!(core.iter().all(|sibling| seat.cpus.contains(sibling)), "half a core");
        }
    }
    let threads: u32 = here.iter().map(|seat| seat.threads).sum();
    assert!(host.cpus.quota.is_none_or(|quota| f64::from(threads) <= quota));
}

proptest! {
    #[test]
    fn seats_keep_the_laws(
        inventory in an_inventory(),
        asks in proptest::collection::vec(an_ask(), 1..REPLICAS_MAX),
    ) {
        let mut seats = Vec::new();
        for ask in &asks {
            let found = seat(&inventory, &seats, ask);
            prop_assert_eq!(&found, &seat(&inventory, &seats, ask), "equal input, equal output");
            match found {
                Ok(found) => {
                    prop_assert!(!found.why.is_empty());
                    seats.push(found);
                }
                Err(error) => prop_assert_eq!(error.reasons.len(), ask.options.len()),
            }
            check(&inventory, &seats);
        }
    }

    #[test]
    fn the_order_in_which_an_inventory_lists_its_gpus_does_not_matter(
        inventory in an_inventory(),
        asks in proptest::collection::vec(an_ask(), 1..8),
    ) {
        let mut turned = inventory.clone();
        turned.hosts.iter_mut().for_each(|host| host.gpus.reverse());
        let mut seats = Vec::new();
        for ask in &asks {
            let found = seat(&inventory, &seats, ask);
            let in_turned = seat(&turned, &seats, ask);
            prop_assert_eq!(found.as_ref().ok(), in_turned.as_ref().ok());
            seats.extend(found);
        }
    }
}
