//! Asking for the memory of a segment on the node whose cores will read it.

use super::Mapping;
use crate::error::LaneError;
use rustix::io::Errno;

/// `MPOL_PREFERRED` of linux/mempolicy.h: that node first, any other when it is full.
const MPOL_PREFERRED: libc::c_int = 1;
/// Nodes one mask word can name; Linux's own limit is 1024, machines have at most a few dozen.
pub(crate) const NODES_MAX: u32 = 64;

/// Prefers `node` for pages of the mapping not touched yet. A shared mapping's policy belongs to
/// the file, so the peer's touches follow it too.
pub(crate) fn prefer(mapping: &Mapping, node: u32) -> Result<(), LaneError> {
    if node >= NODES_MAX {
        return Err(LaneError::system("choose a memory node")(Errno::INVAL));
    }
    let mask: libc::c_ulong = 1 << node;
    let (base, len) = (mapping.base().as_ptr(), mapping.len());
    // The kernel reads one bit less than `maxnode` says.
    let maxnode: libc::c_ulong = libc::c_ulong::from(NODES_MAX) + 1;
    // SAFETY: the range is a mapping of ours; the mask is one live word of `NODES_MAX` bits.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_mbind,
            base,
            len,
            MPOL_PREFERRED,
            &raw const mask,
            maxnode,
            0 as libc::c_uint,
        )
    };
    match outcome {
        0 => Ok(()),
        _ => Err(LaneError::System {
            doing: "choose a memory node",
            source: std::io::Error::last_os_error(),
        }),
    }
}
