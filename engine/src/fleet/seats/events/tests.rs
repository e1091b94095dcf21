//! Each event has the action that the page of devices names.

use std::sync::Arc;

use super::*;
use crate::clock::Clock;
use crate::fleet::devices::inventory::{Cpus, Host, Node};
use crate::fleet::placement::{Ask, Choice, Kind};
use crate::fleet::seats::Taken;
use crate::ids::DeviceClass;

const GB: u64 = 1 << 30;

fn gpu(uuid: &str) -> Gpu {
    Gpu { uuid: uuid.into(), name: "H100".into(), memory_bytes: 80 * GB, ..Gpu::default() }
}

fn seats() -> (Rc<Seats>, Devices) {
    let nodes = vec![Node { id: 0, memory_bytes: 64 * GB, cores: vec![vec![0], vec![1]] }];
    let cpus = Cpus { nodes, ..Cpus::default() };
    let host = Host { name: "here".into(), cpus, gpus: vec![gpu("GPU-1"), gpu("GPU-2")] };
    let devices = Devices { inventory: Inventory { hosts: vec![host] }, ..Devices::default() };
    (Seats::new(&devices, Clock::start()), devices)
}

fn take(seats: &Rc<Seats>, gigabytes: u64) -> Option<Taken> {
    let choice = Choice {
        class: DeviceClass(0),
        on: Kind::Gpu { name: None, whole: false },
        memory_bytes: gigabytes * GB,
        curve: None,
    };
    let ask = Ask { model: "m".into(), options: vec![choice], slo: None, rate_rows_s: 0.0 };
    seats.take(&ask).ok()
}

fn trouble(device: &str, trouble: Trouble) -> DeviceEvent {
    DeviceEvent::Trouble { devices: vec![device.into()], trouble }
}

/// What it is told at once, if anything.
fn now(told: impl Future<Output = Arc<str>>) -> Option<Arc<str>> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(told).poll(&mut context) {
        std::task::Poll::Ready(why) => Some(why),
        std::task::Poll::Pending => None,
    }
}

#[test]
fn a_device_that_is_lost_takes_nobody_and_those_there_are_to_leave() {
    let (seats, devices) = seats();
    let (one, two) = (take(&seats, 50).unwrap(), take(&seats, 50).unwrap());
    let lost = Trouble::Lost { why: "off the bus".into() };
    let there = one.gpu().unwrap().to_owned();
    seats.handle(trouble(&there, lost));
    assert!(now(one.unfit()).is_some_and(|why| why.contains("off the bus")));
    assert!(now(two.unfit()).is_none(), "another device");
    drop(one);
    assert!(take(&seats, 50).is_none(), "nowhere else is room");
    let standing = devices.standings.get().into_iter().find(|it| it.uuid == there).unwrap();
    assert_eq!((standing.is_healthy, standing.replicas), (false, 0));
    seats.handle(trouble(&there, Trouble::WaitWorks));
    assert!(take(&seats, 50).is_some());
}

#[test]
fn an_applications_own_mistake_leaves_the_device_sound_and_its_replicas_suspect() {
    let (seats, devices) = seats();
    let one = take(&seats, 50).unwrap();
    let there = one.gpu().unwrap().to_owned();
    seats.handle(trouble(&there, Trouble::Xid { number: 31 }));
    assert!(now(one.suspect()).is_some_and(|why| why.contains("Xid 31")));
    assert!(now(one.unfit()).is_none());
    assert!(devices.standings.get().iter().all(|it| it.is_healthy));
    drop(one);
    let next = take(&seats, 50).unwrap();
    assert!(now(next.suspect()).is_none(), "it came after");
}

#[test]
fn memory_that_stays_taken_is_not_given_out_again() {
    let (seats, devices) = seats();
    let (one, two) = (take(&seats, 70).unwrap(), take(&seats, 70).unwrap());
    let there = one.gpu().unwrap().to_owned();
    seats.handle(DeviceEvent::Memory(vec![(there.clone(), 70 * GB)]));
    drop(one);
    seats.handle(DeviceEvent::Memory(vec![(there.clone(), 60 * GB)]));
    let leak = Trouble::Leak { bytes: 60 * GB };
    seats.handle(trouble(&there, leak));
    assert!(take(&seats, 50).is_none(), "80 less 60, and the other is taken");
    assert_eq!(devices.standings.get().iter().map(|it| it.leaked_bytes).sum::<u64>(), 60 * GB);
    seats.handle(DeviceEvent::Memory(vec![(there.clone(), 0)]));
    seats.handle(trouble(&there, Trouble::LeakReturned));
    assert_eq!(take(&seats, 50).unwrap().gpu(), Some(&*there));
    drop(two);
}

#[test]
fn who_sits_where_is_told_to_whoever_looks_for_leaks() {
    let (seats, devices) = seats();
    let one = take(&seats, 10).unwrap();
    let residents = || seats.residents.borrow().values().sum::<u32>();
    assert_eq!(residents(), 1);
    assert_eq!(devices.standings.get().iter().map(|it| it.replicas).sum::<u32>(), 1);
    drop(one);
    assert_eq!(residents(), 0);
}

#[test]
fn the_most_that_a_replicas_processes_took_is_remembered() {
    let (seats, _) = seats();
    let (taken, peak_bytes) = (take(&seats, 10).unwrap(), Rc::default());
    let there = taken.gpu().unwrap().to_owned();
    taken.is_measured(Some(7), &peak_bytes);
    let process = |lineage: &[u32], gigabytes: u64| {
        let bytes = gigabytes * GB + CONTEXT_BYTES;
        (there.clone(), GpuProcess { lineage: lineage.to_vec(), bytes })
    };
    let looks = [vec![process(&[7, 1], 4)], vec![process(&[9, 8, 7, 1], 12), process(&[5, 1], 40)]];
    looks.into_iter().for_each(|look| seats.handle(DeviceEvent::Processes(look)));
    seats.handle(DeviceEvent::Processes(vec![process(&[7, 1], 1)]));
    let elsewhere = ("GPU-9".to_owned(), process(&[7, 1], 60).1);
    seats.handle(DeviceEvent::Processes(vec![elsewhere]));
    assert_eq!(peak_bytes.get(), 12 * GB, "a stranger's and another GPU's are not its own");
}
