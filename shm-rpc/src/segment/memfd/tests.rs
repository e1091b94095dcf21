//! What a peer with the descriptor in hand can't do.

use super::*;
use crate::segment::Access;
use rustix::fs::{Mode, OFlags, ftruncate, open};
use rustix::io::pwrite;
use std::os::fd::AsRawFd;

const LEN: usize = 8192;
const PLAIN: Pages = Pages { huge: false, node: None };
const ALL: [Part; 3] = [Part::EngineOut, Part::ContainerOut, Part::RequestData];

#[test]
fn nobody_resizes_or_reseals_a_segment() {
    for part in ALL {
        let (fd, _mapping) = create(part, LEN, PLAIN).unwrap();
        for len in [0, 4096, 16384] {
            assert_eq!(ftruncate(&fd, len), Err(Errno::PERM), "{part:?} to {len}");
        }
        assert_eq!(fcntl_add_seals(&fd, SealFlags::WRITE), Err(Errno::PERM), "{part:?}");
    }
}

#[test]
fn the_peer_gets_no_writable_view_of_what_the_engine_says() {
    let (fd, mapping) = create(Part::EngineOut, LEN, PLAIN).unwrap();
    assert!(Mapping::new(fd.as_fd(), 0, LEN, Access::ReadWrite).is_err());
    assert_eq!(pwrite(&fd, b"lie", 0), Err(Errno::PERM));
    let theirs = Mapping::new(fd.as_fd(), 0, LEN, Access::ReadOnly).unwrap();
    mapping.copy_in(100, b"truth");
    let mut seen = [0; 5];
    theirs.copy_out(100, &mut seen);
    assert_eq!(&seen, b"truth");
}

#[test]
fn reopening_the_descriptor_does_not_lift_the_seals() {
    let (fd, _mapping) = create(Part::EngineOut, LEN, PLAIN).unwrap();
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let reopened = open(path, OFlags::RDWR, Mode::empty()).unwrap();
    assert!(Mapping::new(reopened.as_fd(), 0, LEN, Access::ReadWrite).is_err());
    assert_eq!(ftruncate(&reopened, 0), Err(Errno::PERM));
}

#[test]
fn a_read_only_mapping_does_not_become_writable() {
    use rustix::mm::{MprotectFlags, mprotect};
    let (fd, _mapping) = create(Part::EngineOut, LEN, PLAIN).unwrap();
    let theirs = Mapping::new(fd.as_fd(), 0, LEN, Access::ReadOnly).unwrap();
    let flags = MprotectFlags::READ | MprotectFlags::WRITE;
    // SAFETY: the range is our mapping; the call is expected to change nothing.
    let changed = unsafe { mprotect(theirs.base().as_ptr().cast(), LEN, flags) };
    assert_eq!(changed, Err(Errno::ACCESS));
}

#[test]
fn every_page_is_backed_before_anyone_touches_it() {
    for part in ALL {
        let (fd, _mapping) = create(part, LEN, PLAIN).unwrap();
        let stat = fstat(&fd).unwrap();
        assert_eq!(stat.st_blocks * 512, LEN as i64, "{part:?}");
    }
}

#[test]
fn a_descriptor_without_seals_or_of_another_size_is_refused() {
    for part in ALL {
        let (fd, _mapping) = create(part, LEN, PLAIN).unwrap();
        assert!(check(part, fd.as_fd(), LEN).is_ok());
        let wrong_size = check(part, fd.as_fd(), LEN + 4096);
        assert!(matches!(wrong_size, Err(LaneError::SegmentBytes { .. })));
        let bare = create_sealable("bare", false).unwrap();
        ftruncate(&bare, LEN as u64).unwrap();
        let unsealed = check(part, bare.as_fd(), LEN);
        assert!(matches!(unsealed, Err(LaneError::Unsealed { .. })));
    }
    let (fd, _mapping) = create(Part::ContainerOut, LEN, PLAIN).unwrap();
    assert!(check(Part::EngineOut, fd.as_fd(), LEN).is_err(), "E needs FUTURE_WRITE too");
}

#[test]
#[should_panic(expected = "a copy lies inside its mapping")]
fn a_copy_beyond_the_mapping_is_our_bug() {
    let (_fd, mapping) = create(Part::RequestData, LEN, PLAIN).unwrap();
    mapping.copy_in(LEN - 2, b"abc");
}
