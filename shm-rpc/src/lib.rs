//! Shared-memory lanes between two processes that do not trust each other.
//!
//! # Parties and trust
//!
//! A lane joins the engine to one replica of a model. The engine creates everything and keeps the
//! truth in private memory; the container is a guest. Whatever a peer writes is copied, checked
//! against our own record, and only then used. A contradiction is a typed [`LaneFault`] that ends
//! this incarnation of the replica; it is never a panic. The lane moves opaque bytes: what they
//! mean is the business of the crate `schemas`.
//!
//! # Memory
//!
//! Three sealed memfds, passed over a per-replica Unix socket ([`handshake`]):
//!
//! * **E**, engine out: header, request descriptors. Engine read-write, container read-only by
//!   seal (FUTURE_WRITE).
//! * **C**, container out: completion descriptors and reply slots. Container read-write, engine
//!   read-only by its own choice.
//! * **D**, request data: request slots. Engine write-only by habit; container read-write, since
//!   tensors over read-only memory crash models that work in place.
//!
//! Request slot *i* and reply slot *i* belong together. All sizes are sealed, so no load can raise
//! SIGBUS. Fresh segments and a fresh incarnation number serve every restart; there is no epoch
//! logic in memory, and a zombie writes into memory nobody looks at.
//!
//! # Words
//!
//! | Word | Writer | Reader | Ordering | Partner |
//! |---|---|---|---|---|
//! | E tail, requests published | engine | container | store release | container: load, acquire fence, in `Consumer::pop` |
//! | C head, requests taken | container | engine | store release | engine: load, acquire fence, in `Producer::push` when the ring seems full |
//! | C tail, replies published | container | engine | store release | engine: load, acquire fence, in `Consumer::pop` |
//! | E head, replies taken | engine | container | store release | container: load, acquire fence, in `Producer::push` when the ring seems full |
//! | C sleeps | container | engine | store relaxed, full fence, then look at E tail | engine: store E tail, full fence, then load: `Waker::peer_sleeps` |
//! | E sleeps | engine | container | store relaxed, full fence, then look at C tail | container: store C tail, full fence, then load: `Waker::peer_sleeps` |
//! | descriptors, eight relaxed words each | the ring's producer | its consumer | by the tail (whole) and the head (free again) | as above |
//! | slot bytes | D engine, C container | the other | by the tail of the descriptor that names the slot | the reply frees D, the next request frees C |
//! | header of E | engine, before the descriptors are sent | container, once | by the socket | – |
//!
//! Loads are relaxed with a fence rather than acquiring because the words lie in memory mapped
//! read-only by their reader.
//!
//! # Life of a request
//!
//! `lease` takes a free slot under a new generation; `write` fills it; `publish` pushes the
//! descriptor and wakes the container if it sleeps (a futex on E tail). The container takes it,
//! reads D, writes C, and `reply`s, ringing an eventfd if the engine sleeps. `poll` compares slot,
//! generation, tag, status and lengths with the engine's record; `read` copies out; `finish` frees
//! the slot. `shut` pushes a last descriptor behind everything published.
//!
//! # What each death leaves behind
//!
//! *Container*: the socket hangs up; the engine drops its side, and with it the memory. Rows live
//! in engine memory until answered, so nothing is lost. *Engine*: the container sees the socket
//! closed within one bounded wait and exits; anonymous files vanish with their last descriptor.
//! *Either, in the middle of a write*: no lock is held in shared memory, ever; a descriptor whose
//! tail was not stored does not exist.

#![cfg_attr(loom, allow(dead_code, reason = "the models drive the ring and the flags alone"))]

mod control;
mod doorbell;
mod error;
mod layout;
mod ring;
mod slot;
mod sync;

#[cfg(feature = "c-abi")]
pub mod c_abi;
#[cfg(not(loom))]
mod clock;
#[cfg(not(loom))]
pub mod container_side;
#[cfg(not(loom))]
pub mod engine_side;
#[cfg(not(loom))]
mod fds;
#[cfg(feature = "schemas")]
mod geometry;
#[cfg(not(loom))]
pub mod handshake;
#[cfg(not(loom))]
mod segment;
#[cfg(not(loom))]
mod spin;

pub use error::{LaneError, LaneFault};
#[cfg(not(loom))]
pub use fds::LaneFds;
pub use layout::{ABI_HASH, LaneConfig, Memory};
#[cfg(not(loom))]
pub use segment::posix::sweep;
pub use slot::{RequestSlot, Status};
