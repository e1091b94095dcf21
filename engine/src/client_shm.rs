//! Memory that clients share with the engine, so that large tensors need not pass through a socket.
//!
//! Two ways in. A client names a POSIX object (`named`: Triton's system shared memory extension), or passes the
//! descriptor of a sealed memfd over a Unix socket (`passed`), which needs no name that others could guess and ends with
//! its connection. Both end in one [`registry`] as a [`region::Region`].
//!
//! Invariants: nothing here is ever mapped, so no client can bring SIGBUS upon the engine by cutting its memory off;
//! bytes are copied out by `pread` first, and checked and used after, since the client may write at any time. Memory that
//! the engine itself shares with its containers can't be registered, by whatever name or descriptor (`own_memory`).
//! Everything is off unless switched on.

mod named;
mod own_memory;
pub mod passed;
pub mod region;
pub mod registry;
