use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

use super::*;

fn memory(bytes: u64) -> OwnedFd {
    let memory = memfd_create("test", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&memory, bytes).unwrap();
    memory
}

fn region(memory: OwnedFd, offset: u64, byte_size: u64) -> Region {
    let origin = Origin::Named { key: "/test".into(), offset };
    Region { name: "r".into(), origin, byte_size, memory }
}

#[test]
fn what_is_written_is_read_at_the_same_place() {
    let memory = memory(4096);
    let object = memory.try_clone().unwrap();
    let region = region(memory, 100, 64);
    region.write(8, b"hello").unwrap();
    assert_eq!(&region.read(8, 5).unwrap()[..], b"hello");
    let mut at_its_place = [0; 5];
    pread(&object, &mut at_its_place, 108).unwrap();
    assert_eq!(&at_its_place, b"hello");
    assert_eq!(region.read(64, 0).unwrap().len(), 0);
}

#[test]
fn nothing_outside_of_the_region_is_reached() {
    let region = region(memory(4096), 100, 64);
    for (offset, size) in [(0, 65), (64, 1), (65, 0), (u64::MAX, 1), (1, u64::MAX), (u64::MAX, 0)] {
        let outside = RegionFault::Outside { offset, size, byte_size: 64 };
        assert_eq!(region.read(offset, size), Err(outside.clone()), "{offset} {size}");
        assert_eq!(region.check(offset, size), Err(outside), "{offset} {size}");
    }
    assert!(matches!(region.write(60, b"hello"), Err(RegionFault::Outside { .. })));
}

#[test]
fn memory_cut_off_under_a_request_is_a_fault_and_no_signal() {
    let memory = memory(4096);
    let object = memory.try_clone().unwrap();
    let region = region(memory, 0, 4096);
    ftruncate(&object, 100).unwrap();
    assert_eq!(region.read(0, 101), Err(RegionFault::Cut));
    assert_eq!(region.read(0, 100).unwrap().len(), 100);
    assert_eq!(region.write(90, &[7; 20]), Err(RegionFault::Cut));
    let stat = rustix::fs::fstat(&object).unwrap();
    assert_eq!(stat.st_size, 100, "what its owner made short stays short");
}

#[test]
fn memory_that_can_not_be_written_says_so() {
    let memory = memory(64);
    fcntl_add_seals(&memory, SealFlags::FUTURE_WRITE).unwrap();
    let sealed = region(memory, 0, 64);
    assert_eq!(sealed.write(0, b"x"), Err(RegionFault::ReadOnly));
    assert_eq!(sealed.read(0, 1).unwrap().len(), 1);
}
