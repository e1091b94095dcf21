//! Named shared memory, for hosts where files can't be sealed.
//!
//! Its size can't be fixed, so a peer may cut it off under us at any moment, and a load from a
//! mapping would then kill the engine by SIGBUS. The engine therefore reads and writes such
//! segments by `pread` and `pwrite`, which merely come back short. The one mapping it keeps serves
//! the futex call, which never touches the page from user space. Kernel copies may be bytewise;
//! that is why control words are counters of one byte (see `ring`).
//!
//! The name lives for microseconds: created, opened again, unlinked, then filled. What a killed
//! engine leaves in between is removed by [`sweep`].

use super::{Access, Mapping, Part, Segment, Window, numa};
use crate::control::{Control, Entry};
use crate::error::{LaneError, LaneFault};
use crate::layout::{ENTRY_BYTES, PAGE_BYTES};
use crate::sync::release;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FallocateFlags, Mode, fallocate};
use rustix::io::{Errno, pread, pwrite};
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::shm;
use shared_memory::{ShmemConf, ShmemError};
use std::path::Path;
use std::time::{Duration, SystemTime};

#[cfg(test)]
mod tests;

/// What all our names begin with.
pub const NAME_PREFIX: &str = "hydrofoil-";
/// Where Linux shows shared memory objects as files.
const SHM_DIRECTORY: &str = "/dev/shm";
/// A name outlives its creation by microseconds; one this old belongs to an engine that died.
const LEFTOVER_AGE: Duration = Duration::from_secs(60);
/// A clash of 64 random bits does not happen twice in a row.
const NAME_TRIES: u32 = 3;

/// One segment, reached by system calls.
pub(crate) struct PosixSegment {
    fd: OwnedFd,
    /// The control head, mapped for futex calls alone; never loaded from, never stored to.
    head: Mapping,
}

/// Makes one segment. Also returns the descriptor for the container: read-only for E.
pub(crate) fn create(
    part: Part,
    len: usize,
    node: Option<u32>,
) -> Result<(OwnedFd, PosixSegment), LaneError> {
    let (fd, theirs) = named(part, len)?;
    if let Some(node) = node {
        numa::prefer(&Mapping::untouched(fd.as_fd(), 0, len, Access::ReadWrite)?, node)?;
    }
    // Unbacked pages would turn into SIGBUS or an OOM kill in whoever touches them first.
    fallocate(&fd, FallocateFlags::empty(), 0, len as u64)
        .map_err(LaneError::system("reserve memory for a segment"))?;
    let head = Mapping::untouched(fd.as_fd(), 0, PAGE_BYTES, Access::ReadOnly)?;
    Ok((theirs, PosixSegment { fd, head }))
}

/// A fresh object of `len` bytes, opened twice, its name gone again.
fn named(part: Part, len: usize) -> Result<(OwnedFd, OwnedFd), LaneError> {
    for _ in 0..NAME_TRIES {
        let mut random = [0; 8];
        getrandom(&mut random, GetRandomFlags::empty())
            .map_err(LaneError::system("draw a segment's name"))?;
        let name =
            format!("{NAME_PREFIX}{}-{:016x}", std::process::id(), u64::from_le_bytes(random));
        // The object unlinks its name when it is dropped, on every way out of here.
        let object = match ShmemConf::new().size(len).os_id(&name).create() {
            Ok(object) => object,
            Err(ShmemError::MappingIdExists) => continue,
            Err(error) => return Err(unmade(error)),
        };
        let open = |flags| {
            shm::open(name.as_str(), flags, Mode::empty())
                .map_err(LaneError::system("open a segment"))
        };
        let ours = open(shm::OFlags::RDWR)?;
        let theirs = match part {
            Part::EngineOut => open(shm::OFlags::RDONLY)?,
            Part::ContainerOut | Part::RequestData => open(shm::OFlags::RDWR)?,
        };
        drop(object);
        return Ok((ours, theirs));
    }
    Err(LaneError::system("find a free name for a segment")(Errno::EXIST))
}

fn unmade(error: ShmemError) -> LaneError {
    let code = match error {
        ShmemError::MapCreateFailed(code)
        | ShmemError::MapOpenFailed(code)
        | ShmemError::UnknownOsError(code) => code as i32,
        _ => Errno::IO.raw_os_error(),
    };
    let source = std::io::Error::from_raw_os_error(code);
    LaneError::System { doing: "create a segment in /dev/shm", source }
}

/// Removes the names that engines killed while creating a lane left behind. Returns how many.
pub fn sweep(now: SystemTime) -> usize {
    sweep_directory(Path::new(SHM_DIRECTORY), now - LEFTOVER_AGE)
}

fn sweep_directory(directory: &Path, older_than: SystemTime) -> usize {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let is_leftover = |entry: &std::fs::DirEntry| {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(NAME_PREFIX));
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        ours && modified.is_ok_and(|modified| modified < older_than)
    };
    let leftovers = entries.flatten().filter(is_leftover);
    // Another user's file can't be removed, nor is it ours to remove.
    leftovers.filter(|entry| std::fs::remove_file(entry.path()).is_ok()).count()
}

impl PosixSegment {
    fn read(&self, at: usize, mut into: &mut [u8]) -> Result<(), LaneFault> {
        let mut at = at as u64;
        while !into.is_empty() {
            match pread(&self.fd, &mut *into, at) {
                Ok(0) => return Err(LaneFault::SegmentCut),
                Ok(bytes) => {
                    at += bytes as u64;
                    into = &mut into[bytes..];
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(LaneFault::SegmentIo(errno)),
            }
        }
        Ok(())
    }

    fn write(&self, at: usize, mut bytes: &[u8]) -> Result<(), LaneFault> {
        let mut at = at as u64;
        while !bytes.is_empty() {
            match pwrite(&self.fd, bytes, at) {
                Ok(0) => return Err(LaneFault::SegmentCut),
                Ok(written) => {
                    at += written as u64;
                    bytes = &bytes[written..];
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(LaneFault::SegmentIo(errno)),
            }
        }
        Ok(())
    }
}

impl Control for PosixSegment {
    fn load(&self, at: usize) -> Result<u32, LaneFault> {
        let mut word = [0; 4];
        self.read(at, &mut word)?;
        Ok(u32::from_le_bytes(word))
    }

    fn store(&self, at: usize, value: u32) -> Result<(), LaneFault> {
        self.write(at, &value.to_le_bytes())
    }

    fn publish(&self, at: usize, value: u32) -> Result<(), LaneFault> {
        release();
        self.write(at, &value.to_le_bytes())
    }

    fn read_entry(&self, at: usize) -> Result<Entry, LaneFault> {
        let mut bytes = [0; ENTRY_BYTES];
        self.read(at, &mut bytes)?;
        let (words, _) = bytes.as_chunks::<8>();
        Ok(std::array::from_fn(|word| u64::from_le_bytes(words[word])))
    }

    fn write_entry(&self, at: usize, entry: &Entry) -> Result<(), LaneFault> {
        let mut bytes = [0; ENTRY_BYTES];
        for (place, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(entry) {
            *place = word.to_le_bytes();
        }
        self.write(at, &bytes)
    }
}

impl Segment for PosixSegment {
    fn put(&self, at: usize, bytes: &[u8]) -> Result<(), LaneFault> {
        self.write(at, bytes)
    }

    fn get(&self, at: usize, into: &mut [u8]) -> Result<(), LaneFault> {
        self.read(at, into)
    }

    fn wake(&self, at: usize) {
        let head: &Window = &self.head;
        head.wake(at);
    }
}
