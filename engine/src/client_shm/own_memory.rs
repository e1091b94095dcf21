//! Which memory is the engine's own. Whatever it shares with containers it has mapped, for as long as the lane lives; so
//! an object that is mapped here is none of a client's, under whatever name and by whatever descriptor it comes.

use rustix::fs::{Stat, major, minor};
use std::io;

/// Whether this process has the object mapped.
pub(super) fn is_mapped(object: &Stat) -> io::Result<bool> {
    let maps = std::fs::read("/proc/self/maps")?;
    Ok(names(&maps, object))
}

/// `7f0c-7f0d rw-s 00000000 00:01 1037   /memfd:lane (deleted)`
fn names(maps: &[u8], object: &Stat) -> bool {
    let device = format!("{:02x}:{:02x}", major(object.st_dev), minor(object.st_dev));
    let inode = object.st_ino.to_string();
    maps.split(|byte| *byte == b'\n').any(|line| {
        let fields = line.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
        fields.skip(3).take(2).eq([device.as_bytes(), inode.as_bytes()])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat() -> Stat {
        rustix::fs::fstat(std::fs::File::open("/proc/self/exe").unwrap()).unwrap()
    }

    #[test]
    fn what_this_process_has_mapped_is_its_own() {
        assert!(is_mapped(&stat()).unwrap(), "its program");
        let other = std::fs::File::open("/proc/self/maps").unwrap();
        assert!(!is_mapped(&rustix::fs::fstat(other).unwrap()).unwrap());
    }

    #[test]
    fn device_and_inode_must_both_be_the_same() {
        let mut it = stat();
        (it.st_dev, it.st_ino) = (rustix::fs::makedev(0, 0x1a), 1037);
        let line = |device: &str, inode: &str| {
            names(format!("7f0c-7f0d rw-s 00001037 {device} {inode}      /x y\n").as_bytes(), &it)
        };
        assert!(line("00:1a", "1037"));
        assert!(!line("00:1b", "1037"));
        assert!(!line("00:1a", "10370"));
    }
}
