//! One registered region: a window of a client's memory, read and written by system calls.

use bytes::Bytes;
use rustix::fd::OwnedFd;
use rustix::io::{Errno, pread, pwrite};
use std::sync::Arc;

/// What a request says about a tensor that lies in a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub region: String,
    /// From the region's start.
    pub offset: u64,
    pub size: u64,
}

/// Why a tensor can't be fetched from a region or put into it. Each message is a sentence for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegionFault {
    #[error(
        "client shared memory is switched off; send the tensor in the request, or start the server with --client-shm"
    )]
    Off,
    #[error("there is no shared memory region '{region}'; register it first")]
    Unknown { region: String },
    #[error(
        "{size} bytes from offset {offset} on leave the shared memory region, which has {byte_size} bytes"
    )]
    Outside { offset: u64, size: u64, byte_size: u64 },
    #[error(
        "the tensor takes {needed} bytes but shared_memory_byte_size is {size}; register a larger region or ask for less"
    )]
    TooSmall { needed: u64, size: u64 },
    #[error(
        "the tensors of one request may take {limit} bytes of shared memory together; send fewer rows per request"
    )]
    TooMuch { limit: u64 },
    #[error(
        "the memory behind the region is shorter than it was when it was registered; keep it as it is until it is unregistered"
    )]
    Cut,
    #[error(
        "the memory behind the region can't be written; pass a descriptor that is open for writing, without a write seal"
    )]
    ReadOnly,
    #[error("the system could not read or write the region: {0}")]
    System(Errno),
}

/// Who registered a region, and with it who may take it away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// By the name of a POSIX object.
    Named { key: String, offset: u64 },
    /// By a descriptor, over the connection of this number.
    Passed { connection: u64 },
}

/// Lives until nobody uses it, even when its name is gone: requests under way end as they began.
#[derive(Debug)]
pub struct Region {
    pub name: Arc<str>,
    pub origin: Origin,
    pub byte_size: u64,
    pub(super) memory: OwnedFd,
}

impl Region {
    /// A private copy of what lies there now.
    pub fn read(&self, offset: u64, size: u64) -> Result<Bytes, RegionFault> {
        let mut at = self.position(offset, size)?;
        let mut copy = vec![0; size as usize];
        let mut rest = &mut copy[..];
        while !rest.is_empty() {
            match pread(&self.memory, &mut *rest, at) {
                Ok(0) => return Err(RegionFault::Cut),
                Ok(count) => {
                    at += count as u64;
                    rest = &mut rest[count..];
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(fault(errno)),
            }
        }
        Ok(copy.into())
    }

    pub fn write(&self, offset: u64, mut bytes: &[u8]) -> Result<(), RegionFault> {
        let mut at = self.position(offset, bytes.len() as u64)?;
        self.check_not_cut(at + bytes.len() as u64)?;
        while !bytes.is_empty() {
            match pwrite(&self.memory, bytes, at) {
                Ok(0) => return Err(RegionFault::Cut),
                Ok(count) => {
                    at += count as u64;
                    bytes = &bytes[count..];
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(fault(errno)),
            }
        }
        Ok(())
    }

    /// Whether these bytes lie inside.
    pub fn check(&self, offset: u64, size: u64) -> Result<(), RegionFault> {
        let end = offset.checked_add(size);
        if end.is_some_and(|end| end <= self.byte_size) {
            return Ok(());
        }
        Err(RegionFault::Outside { offset, size, byte_size: self.byte_size })
    }

    fn position(&self, offset: u64, size: u64) -> Result<u64, RegionFault> {
        self.check(offset, size)?;
        let start = match self.origin {
            Origin::Named { offset, .. } => offset,
            Origin::Passed { .. } => 0,
        };
        Ok(start + offset)
    }

    /// A write past the end would make a file longer that its owner made shorter, and so take memory in his name.
    fn check_not_cut(&self, end: u64) -> Result<(), RegionFault> {
        let stat = rustix::fs::fstat(&self.memory).map_err(RegionFault::System)?;
        if stat.st_size.cast_unsigned() < end { Err(RegionFault::Cut) } else { Ok(()) }
    }
}

fn fault(errno: Errno) -> RegionFault {
    match errno {
        Errno::PERM | Errno::BADF => RegionFault::ReadOnly,
        Errno::FBIG => RegionFault::Cut,
        errno => RegionFault::System(errno),
    }
}

#[cfg(test)]
mod tests;
