use super::*;
use crate::fleet::devices::health::{Action, Trouble};
use crate::fleet::devices::test_library::{Library, TWO_GPUS};

/// The script's whole life takes a hundred looks.
const QUICKLY: Duration = Duration::from_millis(2);

/// Longer than any look that does not hang.
const HANG: Duration = Duration::from_secs(2);

/// A watch over what a script describes.
struct Watched {
    found: Vec<Gpu>,
    library: Library,
    heard: Receiver<DeviceEvent>,
    residents: watch::Sender<Residents>,
}

impl Watched {
    fn start(name: &str, script: &str) -> Watched {
        let library = Library::new(name, script);
        let found = Gpus::open(Some(library.file())).expect("it opens").list().gpus;
        let (to, heard) = channel();
        let residents = watch::Sender::new(Residents::new());
        let rounds = Rounds {
            found: found.clone(),
            to,
            residents: residents.subscribe(),
            every: QUICKLY,
            silence_max: HANG,
        };
        spawn(Some(library.file()), rounds).expect("a thread");
        Watched { found, library, heard, residents }
    }

    fn now(&self, more: &str) {
        self.library.now(&format!("{TWO_GPUS}{more}"));
    }

    fn are_on_gpu_1(&self, replicas: u32) {
        self.residents.send_replace([("GPU-1".to_owned(), replicas)].into());
    }

    fn next(&mut self) -> DeviceEvent {
        self.heard.blocking_recv().expect("the thread goes on")
    }

    /// The next that is no look's news.
    fn trouble(&mut self) -> (String, Trouble, Action) {
        loop {
            if let DeviceEvent::Trouble { devices, trouble } = self.next() {
                let action = trouble.action();
                return (devices.join(" "), trouble, action);
            }
        }
    }

    /// Looks until GPU-1 is seen to use so much.
    fn look_until_used(&mut self, bytes: u64) {
        let wanted = ("GPU-1".to_owned(), bytes);
        while !matches!(self.next(), DeviceEvent::Memory(used) if used.contains(&wanted)) {}
    }
}

#[test]
fn looks_tell_what_gpus_and_slices_use() {
    let mut watched = Watched::start("looks", TWO_GPUS);
    let used = [("GPU-1", 1024), ("GPU-2", 0), ("MIG-a", 12), ("MIG-b", 13)];
    let used = used.map(|(uuid, mib)| (uuid.to_owned(), mib << 20)).to_vec();
    assert_eq!(watched.next(), DeviceEvent::Memory(used));
}

#[test]
fn xids_and_ecc_lead_to_what_the_table_says() {
    let mut watched = Watched::start("xids", TWO_GPUS);
    watched.now("xid 0 31\necc 1\nxid 0 79\n");
    let suspect = ("GPU-1".to_owned(), Trouble::Xid { number: 31 }, Action::SuspectReplicas);
    assert_eq!(watched.trouble(), suspect);
    let ecc = ("GPU-2 MIG-a MIG-b".to_owned(), Trouble::DoubleBitEcc, Action::Unhealthy);
    assert_eq!(watched.trouble(), ecc);
    let bus = ("GPU-1".to_owned(), Trouble::Xid { number: 79 }, Action::Unhealthy);
    assert_eq!(watched.trouble(), bus);
}

#[test]
fn a_gpu_that_falls_off_the_bus_is_lost_and_the_others_are_watched_on() {
    let mut watched = Watched::start("lost", TWO_GPUS);
    // The wait says only that one is.
    watched.now("lost 0\nwait 15\n");
    let (device, trouble, action) = watched.trouble();
    assert_eq!((device.as_str(), action), ("GPU-1", Action::Unhealthy));
    assert!(matches!(trouble, Trouble::Lost { .. }), "{trouble:?}");
    watched.now("lost 0\nxid 1 13\n");
    let suspect =
        ("GPU-2 MIG-a MIG-b".to_owned(), Trouble::Xid { number: 13 }, Action::SuspectReplicas);
    assert_eq!(watched.trouble(), suspect);
}

#[test]
fn a_wait_that_fails_is_everyones_trouble_until_it_works_again() {
    let mut watched = Watched::start("wait", TWO_GPUS);
    watched.now("wait 999\n");
    let (devices, trouble, action) = watched.trouble();
    assert_eq!((devices.as_str(), action), ("GPU-1 GPU-2 MIG-a MIG-b", Action::Unhealthy));
    assert!(matches!(trouble, Trouble::WaitFailed { .. }), "{trouble:?}");
    watched.now("");
    let healthy = ("GPU-1 GPU-2 MIG-a MIG-b".to_owned(), Trouble::WaitWorks, Action::Healthy);
    assert_eq!(watched.trouble(), healthy);
}

#[test]
fn a_gpu_that_tells_of_no_events_is_still_looked_at() {
    let mut watched = Watched::start("deaf", &format!("{TWO_GPUS}deaf 0\n"));
    watched.now("deaf 0\nxid 1 79\n");
    assert_eq!(watched.trouble().0, "GPU-2 MIG-a MIG-b");
    watched.now("deaf 0\nlost 0\n");
    assert_eq!(watched.trouble().0, "GPU-1");
}

#[test]
fn memory_that_stays_after_an_unload_is_counted_as_taken_until_it_comes_back() {
    let using = |mib: u64| TWO_GPUS.replacen(" 1024 ", &format!(" {mib} "), 1);
    let mut watched = Watched::start("leak", TWO_GPUS);
    watched.look_until_used(1024 << 20);
    watched.are_on_gpu_1(1);
    watched.library.now(&using(9000));
    watched.look_until_used(9000 << 20);
    watched.library.now(&using(5120));
    watched.look_until_used(5120 << 20);
    watched.are_on_gpu_1(0);
    let bytes = 4 << 30;
    let leak = ("GPU-1".to_owned(), Trouble::Leak { bytes }, Action::Taken { bytes });
    assert_eq!(watched.trouble(), leak);
    watched.library.now(TWO_GPUS);
    let returned = ("GPU-1".to_owned(), Trouble::LeakReturned, Action::Taken { bytes: 0 });
    assert_eq!(watched.trouble(), returned);
}

#[tokio::test]
async fn a_thread_that_hangs_in_the_driver_makes_all_unhealthy_until_it_is_over() {
    let mut watched = Watched::start("hangs", TWO_GPUS);
    let all = ["GPU-1", "GPU-2", "MIG-a", "MIG-b"].map(str::to_owned).to_vec();
    let (_closed, nothing) = channel();
    let heard = std::mem::replace(&mut watched.heard, nothing);
    let mut events = Events { silence_max: HANG / 2, ..Events::new(heard, &watched.found) };
    watched.now("hang 1\n");
    let mut troubles = Vec::new();
    while !matches!(troubles.last(), Some((_, Trouble::WaitWorks, _))) {
        match events.recv().await.expect("the thread goes on") {
            DeviceEvent::Memory(_) | DeviceEvent::Processes(_) => {}
            DeviceEvent::Trouble { devices, trouble } => {
                let action = trouble.action();
                troubles.push((devices, trouble, action));
            }
        }
    }
    let (devices, trouble, action) = &troubles[0];
    assert_eq!((devices, action), (&all, &Action::Unhealthy));
    assert!(matches!(trouble, Trouble::Hangs { .. }), "{troubles:?}");
    let afterwards = troubles.iter().any(|it| matches!(it.1, Trouble::WaitFailed { .. }));
    assert!(afterwards, "it knows itself that it hung: {troubles:?}");
    let (devices, _, action) = troubles.last().expect("the loop ended");
    assert_eq!((devices, action), (&all, &Action::Healthy));
}

#[test]
fn without_gpus_nothing_is_watched() {
    let (to, mut heard) = channel();
    let residents = watch::Sender::new(Residents::new());
    start(&[], to, residents.subscribe()).expect("nothing to do");
    assert_eq!(heard.blocking_recv(), None);
}
