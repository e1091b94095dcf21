//! What a peer with the descriptor in hand can do, and what it gets for it.

use super::*;
use rustix::fs::{OFlags, ftruncate, open};
use std::os::fd::AsRawFd;

const LEN: usize = 16_384;

#[test]
fn a_segment_cut_off_is_a_fault_and_never_a_signal() {
    let (theirs, ours) = create(Part::ContainerOut, LEN, None).unwrap();
    ours.store(64, 5).unwrap();
    ftruncate(&theirs, 64).unwrap();
    assert_eq!(ours.load(64), Err(LaneFault::SegmentCut));
    assert_eq!(ours.read_entry(256), Err(LaneFault::SegmentCut));
    assert_eq!(ours.get(60, &mut [0; 8]), Err(LaneFault::SegmentCut));
    assert_eq!(ours.get(60, &mut [0; 4]), Ok(()));
    ftruncate(&theirs, 0).unwrap();
    ours.wake(64);
    assert!(ours.put(0, b"still no signal").is_ok(), "writing merely grows the file again");
}

#[test]
fn the_peer_gets_what_the_engine_says_read_only() {
    let (theirs, ours) = create(Part::EngineOut, LEN, None).unwrap();
    assert!(Mapping::new(theirs.as_fd(), 0, LEN, Access::ReadWrite).is_err());
    assert_eq!(pwrite(&theirs, b"lie", 0), Err(Errno::BADF));
    let seen = Mapping::new(theirs.as_fd(), 0, LEN, Access::ReadOnly).unwrap();
    ours.put(100, b"truth").unwrap();
    let mut bytes = [0; 5];
    seen.copy_out(100, &mut bytes);
    assert_eq!(&bytes, b"truth");
}

#[test]
fn no_name_outlives_the_creation_and_every_page_is_backed() {
    for part in [Part::EngineOut, Part::ContainerOut, Part::RequestData] {
        let (theirs, ours) = create(part, LEN, None).unwrap();
        let stat = rustix::fs::fstat(&ours.fd).unwrap();
        assert_eq!((stat.st_nlink, stat.st_blocks * 512), (0, LEN as i64), "{part:?}");
        let path = format!("/proc/self/fd/{}", theirs.as_raw_fd());
        let reopened = open(path, OFlags::RDONLY, Mode::empty()).unwrap();
        assert!(Mapping::new(reopened.as_fd(), 0, LEN, Access::ReadOnly).is_ok());
    }
}

#[test]
fn the_sweep_removes_old_names_of_ours_and_nothing_else() {
    let directory = std::env::temp_dir().join(format!("lane-sweep-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    for name in ["hydrofoil-1-aa", "hydrofoil-2-bb", "somebody-else"] {
        std::fs::write(directory.join(name), b"x").unwrap();
    }
    let written = |name: &str| directory.join(name).metadata().unwrap().modified().unwrap();
    assert_eq!(sweep_directory(&directory, written("hydrofoil-1-aa") - LEFTOVER_AGE), 0);
    let later = written("somebody-else") + Duration::from_secs(1);
    assert_eq!(sweep_directory(&directory, later), 2);
    assert!(directory.join("somebody-else").exists());
    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!(sweep_directory(&directory, later), 0, "no directory, nothing to sweep");
}
