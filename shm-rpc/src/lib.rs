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
//! The threat model: the container is hostile and may write anything anywhere it can, at any time,
//! and stop, lie, flood or die in any state. The engine must stay up, serve others, name the
//! violation and replace the replica. Given to a container of a user of its own, nothing here lets it
//! read or change more than its own lane. What a process of the engine's own user can do besides
//! (signals, ptrace, files) is for whoever launches it to prevent.
//!
//! # Memory
//!
//! Three segments, whose descriptors pass over a per-replica Unix socket ([`handshake`]) together
//! with the bell, in this order:
//!
//! * **E**, engine out: header, control words, request descriptors. The container reads.
//! * **C**, container out: control words, completion descriptors and reply slots. The engine reads.
//! * **D**, request data: request slots. Engine write-only by habit; container read-write, since
//!   tensors over read-only memory crash models that work in place.
//!
//! They are made of one of two memories ([`Memory`], told in the welcome):
//!
//! * `memfd`: anonymous files whose sizes are sealed, so no load can raise SIGBUS; E also has
//!   FUTURE_WRITE, so the container gets no writable view of it. Both sides map them.
//! * `posix`: named shared memory, the name gone again after microseconds. Its size can't be sealed,
//!   so the engine reads and writes it by system calls alone, and a segment cut off is a fault. The
//!   container maps it all the same: whoever cuts it off then kills only the container.
//!
//! Request slot *i* and reply slot *i* belong together. Slots lie on whole pages (4 KiB, or 2 MiB with
//! `huge_pages`, where only D and C are huge). Fresh segments and a fresh incarnation number serve every
//! restart; there is no epoch logic in memory, and a zombie writes into memory nobody looks at.
//!
//! ```text
//! E and C, control head, one cache line per writer's concern (offsets in bytes, little-endian):
//!    0  C: heartbeat u32. E: magic u64 · ABI hash u64 · incarnation u64 · ring depth, slots, request slot bytes,
//!       reply slot bytes, memory (1 memfd, 2 posix), huge pages (0, 1): u32 each
//!   64  tail u32: descriptors pushed by this segment's writer, modulo 256
//!  128  sleeps u32: not 0 while this segment's writer sleeps or is about to
//!  192  head u32: descriptors of the other segment taken by this segment's writer, modulo 256
//!  256  2 × ring depth descriptors of 64 bytes; descriptor n lies at 256 + 64 × (n mod 2 × depth)
//! C, from the next page on: the reply slots.     D: the request slots, from 0.
//!
//! request     [kind u32 | slot u32] [tag u64] [header bytes u32 | total bytes u32] [generation u32 | 0] 0 0 0 0
//! completion  [slot u32 | 0] [tag u64] [header bytes u32 | total bytes u32] [generation u32 | status u32]
//!             [started ns u64] [ended ns u64] 0 0
//! ```
//!
//! Kinds: 1 a request, 2 the farewell, 3 go on and 4 stop (the verdicts on a part, with slot, tag and
//! generation of its request). Statuses: 1 predictions, 2 a failure, 3 predictions with more to come, 4 the end of
//! such a reply, empty. A completion repeats slot, tag and generation of its request. Positions stay below 256 so that they are one byte, which no copy
//! by a kernel can tear; a ring holds at most 128, so a distance is never ambiguous.
//!
//! # Words
//!
//! | Word | Writer | Reader | Ordering | Partner |
//! |---|---|---|---|---|
//! | E tail, requests published | engine | container | store release | container: load, acquire fence, in `Consumer::pop` |
//! | C head, requests taken | container | engine | store release | engine: load, acquire fence, in `Producer::push` when the ring seems full |
//! | C tail, replies published | container | engine | store release | engine: load, acquire fence, in `Consumer::pop` |
//! | E head, replies taken | engine | container | store release | container: load, acquire fence, in `Producer::push` when the ring seems full |
//! | C sleeps | container | engine | store relaxed, full fence, then look at E tail | engine: store E tail, full fence, then load: `peer_sleeps` |
//! | E sleeps | engine | container | store relaxed, full fence, then look at C tail | container: store C tail, full fence, then load: `peer_sleeps` |
//! | descriptors, eight relaxed words each | the ring's producer | its consumer | by the tail (whole) and the head (free again) | as above |
//! | slot bytes | D engine, C container | the other | by the tail of the descriptor that names the slot | the reply frees D, the next request frees C |
//! | C heartbeat | container, a thread of its own | engine | relaxed both ways: nothing is read on its strength | – |
//! | header of E | engine, before the descriptors are sent | container, once | by the socket | – |
//!
//! Loads are relaxed with a fence rather than acquiring because the words lie in memory mapped
//! read-only by their reader. Over `posix` the fences stand before `pwrite` and after `pread`.
//!
//! # Life of a request
//!
//! `lease` takes a free slot under a new generation; `write` fills it; `publish` pushes the
//! descriptor and wakes the container if it sleeps (a futex on E tail, without the private flag). The
//! container takes it, reads D, writes C, and `reply`s, ringing the bell, an eventfd that nobody reads,
//! if the engine sleeps. `poll` compares slot, generation, tag, status and lengths with the engine's
//! record; `read` copies out; `finish` frees the slot. `shut` pushes a last descriptor behind everything
//! published. An honest container rings at most once a reply; one that rings more is a storm, and the
//! engine's dispatcher counts.
//!
//! # Replies in parts
//!
//! A reply may be any number of parts and then one end: predictions, a failure, or an empty "done". All of them use the
//! request's one reply slot, and the request stays in flight till the end. The container writes a part, publishes it, and
//! touches the reply slot no more before it has taken the engine's verdict on it from the request ring: it waits there
//! as it waits for requests, by the same words, and looks at its socket in between. The engine copies the part, then
//! publishes the verdict: `go on`, and the slot is free for the next part; or `stop`, since nobody waits any more, and
//! only the end may follow. That is all the flow control there is, and also how a reply is cancelled: a container hears
//! of it with its next part. A taken head would not do as a verdict, since a descriptor is taken before its slot is read.
//!
//! The request ring has room: a slot has its request, or one verdict, in it, never both, and there are twice as many
//! places as slots. A part or an end that comes before the verdict, a part after `stop`, after the end or of a slot that is
//! not in flight is a fault; so is a verdict for which no part is out, on the container's side. A container that pushes
//! parts without taking verdicts fills the ring, one that takes them unread has at most one part of its taken in each
//! turn of its dispatcher. The farewell is a `stop` for a part that still waits.
//!
//! A container sleeps as soon as there is nothing to do, at most 100 ms at a time, and looks at its
//! socket in between. Where it shares its cores with nobody it may look for work a little longer first
//! ([`container_side::ContainerSide::set_spin`]). The engine never spins.
//!
//! # Heartbeat
//!
//! A container that says so in its hello raises its heartbeat word every [`BEAT_EVERY`], from a thread that does nothing
//! else and waits for nobody. The engine looks now and then, with a load or over `posix` a `pread`, whether the word has
//! changed: one that has not for a second, over several looks, belongs to a process that is stopped or worse. It is no
//! sign of a model's progress, which batches and their timeouts are there for.
//!
//! # What each death leaves behind
//!
//! *Container*: the socket hangs up; the engine drops its side, and with it the memory. Rows live
//! in engine memory until answered, so nothing is lost. *Engine*: the container sees the socket
//! closed within one bounded wait and exits; anonymous files vanish with their last descriptor, and
//! a posix name caught in the microseconds of its life is removed by the next engine ([`sweep`]).
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
mod heartbeat;
#[cfg(not(loom))]
mod segment;
#[cfg(not(loom))]
mod spin;

pub use error::{LaneError, LaneFault};
#[cfg(not(loom))]
pub use fds::LaneFds;
#[cfg(not(loom))]
pub use heartbeat::BEAT_EVERY;
pub use layout::{ABI_HASH, LaneConfig, Memory};
#[cfg(not(loom))]
pub use segment::posix::{NAME_PREFIX, sweep};
pub use slot::{RequestSlot, Status, Verdict};
