use super::*;
use crate::fleet::devices::test_library::{Library, TWO_GPUS};

fn open(library: &Library) -> Result<Gpus, NoGpus> {
    Gpus::open(Some(library.file()))
}

fn why(library: &Library) -> NoGpus {
    open(library).err().expect("no GPUs")
}

#[test]
fn gpus_and_slices_are_listed_with_what_they_have() {
    let library = Library::new("listed", TWO_GPUS);
    let gpus = open(&library).expect("it opens");
    let Listing { gpus: listed, unreadable } = gpus.list();
    assert_eq!(unreadable, [""; 0]);
    let [one, two] = &listed[..] else { panic!("two GPUs: {listed:?}") };
    let memory = (one.memory_bytes, one.reserved_bytes, one.used_bytes);
    assert_eq!(memory, (80 << 30, 512 << 20, 1 << 30));
    assert_eq!((one.uuid.as_str(), one.name.as_str()), ("GPU-1", "NVIDIA H100 80GB HBM3"));
    assert_eq!(one.compute_capability.as_deref(), Some("9.0"));
    assert_eq!((&one.slices, &one.health), (&None, &Health::Healthy));
    let slices = two.slices.as_ref().expect("it is split");
    let slice = |at: usize| (slices[at].uuid.as_str(), slices[at].profile.as_str());
    assert_eq!([slice(0), slice(1)], [("MIG-a", "1g.10gb"), ("MIG-b", "2g.20gb")]);
    assert_eq!((slices[1].memory_bytes, slices[1].used_bytes), (20096 << 20, 13 << 20));
    let driver = Driver { version: "570.86.15".to_owned(), cuda: "12.8".to_owned() };
    assert_eq!(gpus.driver(), driver);
}

#[test]
fn a_gpu_that_is_lost_before_anybody_knew_it_is_told_apart() {
    let library = Library::new("unreadable", &format!("{TWO_GPUS}lost 0\n"));
    let listing = open(&library).expect("it opens").list();
    assert_eq!(listing.gpus.iter().map(|gpu| gpu.uuid.as_str()).collect::<Vec<_>>(), ["GPU-2"]);
    assert_eq!(listing.unreadable.len(), 1);
    assert!(listing.unreadable[0].starts_with("GPU 0: "), "{listing:?}");
}

#[test]
fn there_being_no_gpus_has_a_reason_that_says_what_to_do() {
    let nowhere = Gpus::open(Some("/nowhere/libnvidia-ml.so.1".into())).err().expect("no GPUs");
    assert!(matches!(nowhere, NoGpus::NoLibrary { .. }), "{nowhere:?}");
    assert!(nowhere.to_string().contains("/nowhere/libnvidia-ml.so.1"), "{nowhere}");
    let library = Library::new("fails", "fails 9\n");
    assert!(matches!(why(&library), NoGpus::NoDriver));
    library.now("fails 18\n");
    assert!(matches!(why(&library), NoGpus::TwoVersions));
    library.now("fails 4\n");
    assert!(matches!(why(&library), NoGpus::NoPermission));
    library.now("fails 999\n");
    assert_eq!(why(&library).remedy(), "nvidia-smi");
    library.now("");
    assert!(matches!(why(&library), NoGpus::None));
}

#[test]
fn a_look_tells_what_each_process_uses_and_all_of_them_together() {
    let library = Library::new("processes", &format!("{TWO_GPUS}process 0 300\nprocess 0 200\n"));
    let looks = open(&library).expect("it opens").look(&["GPU-1".to_owned()]);
    let reads = looks[0].read.as_ref().expect("it answers");
    assert_eq!((reads[0].used_bytes, reads[0].held_bytes), (1 << 30, Some(500 << 20)));
    let bytes: Vec<u64> = reads[0].processes.iter().map(|process| process.bytes).collect();
    assert_eq!(bytes, [300 << 20, 200 << 20]);
    assert!(reads[0].processes.iter().all(|process| !process.lineage.is_empty()));
}
