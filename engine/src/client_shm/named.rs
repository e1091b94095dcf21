//! From the key of a POSIX shared memory object to its descriptor.
//!
//! A name is no proof of a right to what it names, and the engine may have more rights than the client that says it. So
//! an object must belong to the engine's own user or be open to everyone, and must not be one of the engine's own.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, open, openat};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::path::Path;

use super::own_memory;
use super::registry::RegisterFault;

/// Where Linux shows POSIX shared memory objects as files.
pub(super) const DIRECTORY: &str = "/dev/shm";
/// As the kernel has it for a file's name.
const NAME_BYTES_MAX: usize = 255;
/// Read and write, for everyone.
const OPEN_TO_ALL: u32 = 0o006;

/// Opens the object for both ways and makes sure that it has these bytes.
pub(super) fn open_object(
    directory: &Path,
    key: &str,
    offset: u64,
    byte_size: u64,
) -> Result<OwnedFd, RegisterFault> {
    let name = object_name(key)?;
    let directory = open(directory, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(RegisterFault::System)?;
    // A name without a slash and without following links leaves the directory by no way; NONBLOCK, for pipes.
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let object = openat(&directory, name, flags, Mode::empty()).map_err(unopened)?;
    let (found, home) = (status(&object)?, status(&directory)?);
    check_kind(&found, &home)?;
    check_owner(&found)?;
    check_size(&found, offset, byte_size)?;
    check_not_own(&found)?;
    Ok(object)
}

/// The name of the file. Like the C library, whether or not there is one slash ahead of it.
fn object_name(key: &str) -> Result<&str, RegisterFault> {
    let name = key.strip_prefix('/').unwrap_or(key);
    let plain = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !matches!(name, "." | "..")
        && !name.contains(['/', '\0']);
    if !plain {
        return Err(RegisterFault::Key);
    }
    if name.starts_with(shm_rpc::NAME_PREFIX) {
        return Err(RegisterFault::Reserved { prefix: shm_rpc::NAME_PREFIX });
    }
    Ok(name)
}

fn unopened(errno: Errno) -> RegisterFault {
    match errno {
        Errno::NOENT => RegisterFault::NoObject,
        Errno::ACCESS | Errno::PERM => RegisterFault::NotOurs,
        // A link, a directory, a socket, a device without a driver.
        Errno::LOOP | Errno::ISDIR | Errno::NXIO => RegisterFault::Kind,
        errno => RegisterFault::System(errno),
    }
}

pub(super) fn status(file: impl AsFd) -> Result<Stat, RegisterFault> {
    fstat(file).map_err(RegisterFault::System)
}

fn check_kind(found: &Stat, home: &Stat) -> Result<(), RegisterFault> {
    let regular = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
    // Something mounted over a name is of another file system.
    if regular && found.st_dev == home.st_dev { Ok(()) } else { Err(RegisterFault::Kind) }
}

fn check_owner(found: &Stat) -> Result<(), RegisterFault> {
    let ours = found.st_uid == geteuid().as_raw();
    let open_to_all = found.st_mode & OPEN_TO_ALL == OPEN_TO_ALL;
    if ours || open_to_all { Ok(()) } else { Err(RegisterFault::NotOurs) }
}

pub(super) fn check_size(found: &Stat, offset: u64, byte_size: u64) -> Result<(), RegisterFault> {
    let object = found.st_size.cast_unsigned();
    match offset.checked_add(byte_size) {
        Some(end) if byte_size > 0 && end <= object => Ok(()),
        _ => Err(RegisterFault::Size { offset, byte_size, object }),
    }
}

pub(super) fn check_not_own(found: &Stat) -> Result<(), RegisterFault> {
    match own_memory::is_mapped(found) {
        Ok(false) => Ok(()),
        Ok(true) => Err(RegisterFault::Own),
        // Where it can't be known, nothing is let in.
        Err(error) => Err(RegisterFault::System(Errno::from_io_error(&error).unwrap_or(Errno::IO))),
    }
}

#[cfg(test)]
mod tests;
