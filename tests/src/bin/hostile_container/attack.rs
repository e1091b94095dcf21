//! The attacks. Each is one rule broken in the way that would hurt most.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, ftruncate, open};
use rustix::io::{pwrite, read, write};
use rustix::process::{Signal, getpid, kill_process};
use schemas::lifecycle::{FromContainer, SCHEMA_VERSION, encode_from_container};
use schemas::predict::BatchHeader;
use schemas::tensor::{DType, Layout, Placement};

use crate::lane::{HEAD, Lane, Request, TAIL};
use crate::socket::Socket;
use crate::{hello, system, welcomed};

/// Statuses of replies in parts.
const PART: u64 = 3;
const DONE: u64 = 4;

macro_rules! attacks {
    ($($attack:ident = $name:literal)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Attack { $($attack),* }

        impl Attack {
            pub(crate) fn named(name: &str) -> Attack {
                match name {
                    $($name => Attack::$attack,)*
                    _ => panic!("there is no attack {name}"),
                }
            }
        }
    };
}

attacks! {
    // The ring.
    TailJump = "tail_jump"
    TailRewind = "tail_rewind"
    TailWrap = "tail_wrap"
    HeadJump = "head_jump"
    HeadFrozen = "head_frozen"
    HeadGarbage = "head_garbage"
    // Descriptors.
    StaleId = "stale_id"
    DuplicateId = "duplicate_id"
    WrongGeneration = "wrong_generation"
    WrongTag = "wrong_tag"
    UnknownSlot = "unknown_slot"
    UnknownStatus = "unknown_status"
    Oversize = "oversize"
    HeaderBeyondMessage = "header_beyond_message"
    // Contents.
    GarbageHeader = "garbage_header"
    ShapeOverflow = "shape_overflow"
    TensorOutside = "tensor_outside"
    TooManyOutputs = "too_many_outputs"
    WrongRows = "wrong_rows"
    FlipWhileVerifying = "flip_while_verifying"
    // Parts of replies.
    PartUndeclared = "part_undeclared"
    DoneUndeclared = "done_undeclared"
    PartOfOtherTag = "part_of_other_tag"
    PartBehindTheEnd = "part_behind_the_end"
    PartOfNonsense = "part_of_nonsense"
    PartFlood = "part_flood"
    PartFloodTaken = "part_flood_taken"
    PartThenSilence = "part_then_silence"
    PartThenExit = "part_then_exit"
    // Memory.
    TruncateOwn = "truncate_own"
    TruncateAll = "truncate_all"
    Grow = "grow"
    Punch = "punch"
    Reopen = "reopen"
    // Bells and sockets.
    BellStorm = "bell_storm"
    BellDrained = "bell_drained"
    BellBlocked = "bell_blocked"
    PushDescriptors = "push_descriptors"
    SocketFlood = "socket_flood"
    ReadyTwice = "ready_twice"
    // Time.
    Stop = "stop"
    NeverReply = "never_reply"
    ReplyLate = "reply_late"
    LogFlood = "log_flood"
    // Ends.
    ExitWithRequest = "exit_with_request"
    ExitAfterBytes = "exit_after_bytes"
    ExitAfterEntry = "exit_after_entry"
    ExitBeforeBell = "exit_before_bell"
    // The machine, from inside an image only.
    Attempts = "attempts"
    ForkBomb = "fork_bomb"
    MemoryHog = "memory_hog"
    FillTemporary = "fill_temporary"
    FillShared = "fill_shared"
    KillAll = "kill_all"
    // The handshake.
    ExitBeforeConnect = "exit_before_connect"
    ExitAfterConnect = "exit_after_connect"
    ExitAfterHello = "exit_after_hello"
    ExitAfterWelcome = "exit_after_welcome"
    ExitAfterReady = "exit_after_ready"
    GarbageHello = "garbage_hello"
    HugeHello = "huge_hello"
    WrongNonce = "wrong_nonce"
    WrongSchema = "wrong_schema"
    WrongAbi = "wrong_abi"
    OtherModel = "other_model"
    ReadyFirst = "ready_first"
    DoubleConnect = "double_connect"
    HelloWithDescriptors = "hello_with_descriptors"
}

impl Attack {
    pub(crate) fn is_on_the_handshake(self) -> bool {
        self as usize >= Attack::ExitBeforeConnect as usize
    }

    /// Its first life ends and a later one attacks, before any request.
    pub(crate) fn needs_a_new_life(self) -> bool {
        self.is_on_the_handshake() || self == Attack::ReadyTwice
    }

    /// Breaks the rule with a request in hand. What comes back has attacked and goes on honestly.
    pub(crate) fn strike(self, lane: &mut Lane, socket: &Socket, request: &Request) {
        println!("striking: {self:?}");
        match self {
            Attack::TailJump => claim(lane, TAIL, (lane.tail + 100) % 256),
            Attack::TailRewind => claim(lane, TAIL, (lane.tail + 255) % 256),
            Attack::TailWrap => claim(lane, TAIL, u32::MAX),
            Attack::HeadJump => head(lane, request, 100),
            Attack::HeadFrozen => head(lane, request, 0),
            Attack::HeadGarbage => {
                lane.put_word(HEAD, 0x1234_5678);
                answer_without_taking(lane, request);
            }
            Attack::TruncateOwn
            | Attack::TruncateAll
            | Attack::Grow
            | Attack::Punch
            | Attack::Reopen => self.meddle(lane, request),
            Attack::BellStorm
            | Attack::BellDrained
            | Attack::BellBlocked
            | Attack::PushDescriptors
            | Attack::SocketFlood => self.make_noise(lane, socket, request),
            Attack::Stop | Attack::NeverReply | Attack::ReplyLate | Attack::LogFlood => {
                self.take_time(lane, request);
            }
            Attack::ExitWithRequest
            | Attack::ExitAfterBytes
            | Attack::ExitAfterEntry
            | Attack::ExitBeforeBell => self.end(lane, request),
            Attack::Attempts
            | Attack::ForkBomb
            | Attack::MemoryHog
            | Attack::FillTemporary
            | Attack::FillShared
            | Attack::KillAll => {
                system::attack(self);
                lane.answer(request);
            }
            Attack::PartFlood
            | Attack::PartFloodTaken
            | Attack::PartThenSilence
            | Attack::PartThenExit => self.answer_in_parts(lane, request),
            _ => self.lie(lane, request),
        }
    }

    /// The model declares replies in parts.
    pub(crate) fn is_in_parts(self) -> bool {
        (Attack::PartOfOtherTag as usize..=Attack::PartThenExit as usize).contains(&(self as usize))
    }

    /// Honest parts, but too many, or not to their end.
    fn answer_in_parts(self, lane: &mut Lane, request: &Request) {
        lane.take();
        let (header, total_bytes) = lane.fill(request);
        lane.put(lane.reply_at(request.slot), &header);
        let part = as_status(lane.reply_to(request, header.len() as u32, total_bytes), PART);
        lane.say(&part);
        match self {
            Attack::PartThenSilence => std::thread::park(),
            Attack::PartThenExit => std::process::exit(0),
            _ => loop {
                // Slow enough for the engine to have taken it: what it is to mind is the parts, not a full ring.
                std::thread::park_timeout(Duration::from_millis(5));
                if self == Attack::PartFloodTaken {
                    lane.take_all();
                }
                lane.say(&part);
            },
        }
    }

    /// A wrong descriptor, or a wrong message behind a right one.
    fn lie(self, lane: &mut Lane, request: &Request) {
        lane.take();
        let (header, total_bytes) = lane.fill(request);
        let header_bytes = header.len() as u32;
        lane.put(lane.reply_at(request.slot), &header);
        let mut entry = lane.reply_to(request, header_bytes, total_bytes);
        match self {
            Attack::StaleId => entry[0] = u64::from(1 - request.slot),
            Attack::DuplicateId => lane.say(&entry.clone()),
            Attack::WrongGeneration => entry[3] -= 1,
            Attack::WrongTag => entry[1] += 1,
            Attack::UnknownSlot => entry[0] = 77,
            Attack::UnknownStatus => entry[3] |= 0xff << 32,
            Attack::Oversize => entry[2] = u64::from(header_bytes) | u64::from(u32::MAX) << 32,
            Attack::HeaderBeyondMessage => entry[2] = 2 | 1 << 32,
            Attack::PartUndeclared | Attack::PartOfNonsense => entry = as_status(entry, PART),
            Attack::DoneUndeclared => entry = as_status(entry, DONE),
            Attack::PartOfOtherTag => {
                entry = as_status(entry, PART);
                entry[1] += 1;
            }
            Attack::PartBehindTheEnd => {
                lane.say(&entry.clone());
                entry = as_status(entry, PART);
            }
            Attack::FlipWhileVerifying => flip_header(lane, request, header_bytes),
            _ => self.lie_in_the_header(lane, request, &mut entry),
        }
        if self == Attack::PartOfNonsense {
            lane.put(lane.reply_at(request.slot), &[0xa5; 64]);
        }
        lane.say(&entry);
    }

    fn lie_in_the_header(self, lane: &mut Lane, request: &Request, entry: &mut [u64; 8]) {
        let tensor = |shape: &[u64], offset, len| Placement {
            dtype: DType::F32,
            shape: shape.into(),
            offset,
            len,
            offsets_at: 0,
        };
        let fit = Layout::new().fixed(DType::F32, [1, 2].as_slice().into()).expect("it fits");
        let tensors = match self {
            Attack::ShapeOverflow => vec![tensor(&[1 << 33, 1 << 31], fit.offset, 8)],
            Attack::TensorOutside => vec![tensor(&[1, 2], 0xffff_fff0, 8)],
            Attack::TooManyOutputs => vec![fit.clone(), fit],
            Attack::WrongRows => vec![tensor(&[3, 2], fit.offset, 24)],
            _ => {
                let garbage: Vec<u8> = (0..64_u8).map(|byte| byte.wrapping_mul(89)).collect();
                lane.put(lane.reply_at(request.slot), &garbage);
                return;
            }
        };
        let header = lane.encode(&BatchHeader { batch_id: request.tag, rows: 1, tensors });
        lane.put(lane.reply_at(request.slot), &header);
        let total = entry[2] >> 32;
        entry[2] = header.len() as u64 | (total.max(header.len() as u64 + 64)) << 32;
    }

    /// Takes the memory away, adds to it, or looks for a way around its protection.
    fn meddle(self, lane: &mut Lane, request: &Request) {
        let page = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match self {
            Attack::TruncateOwn => println!("truncated: {:?}", ftruncate(&lane.container_out, 0)),
            Attack::TruncateAll => {
                for fd in [&lane.request_data, &lane.engine_out, &lane.container_out] {
                    println!("truncated: {:?}", ftruncate(fd, 0));
                }
            }
            Attack::Grow => {
                for fd in [&lane.container_out, &lane.request_data] {
                    println!("grown: {:?}", ftruncate(fd, 1 << 30));
                }
            }
            Attack::Punch => {
                for fd in [&lane.request_data, &lane.engine_out, &lane.container_out] {
                    println!("punched: {:?}", fallocate(fd, page, 0, 4096));
                }
            }
            _ => {
                let path = format!("/proc/self/fd/{}", raw(&lane.engine_out));
                let reopened = open(path, OFlags::RDWR, Mode::empty());
                let written = reopened.and_then(|fd| pwrite(&fd, &[0xff; 192], 64));
                println!("reopened and written: {written:?}");
                // The honest part of the engine's words is gone; carry on from our own record.
            }
        }
        // The engine is to look before an answer grows the segment again.
        lane.ring();
        std::thread::park_timeout(Duration::from_millis(20));
        lane.answer(request);
    }

    fn make_noise(self, lane: &mut Lane, socket: &Socket, request: &Request) {
        match self {
            Attack::BellStorm => loop {
                lane.ring();
                std::thread::yield_now();
                if socket.is_closed() {
                    return;
                }
            },
            Attack::BellDrained => {
                lane.answer(request);
                let _empty = read(lane.bell.as_fd(), &mut [0; 8]);
            }
            Attack::BellBlocked => {
                let _full = write(lane.bell.as_fd(), &(u64::MAX - 1).to_ne_bytes());
                lane.answer(request);
            }
            Attack::PushDescriptors => {
                let fds = [lane.bell.as_fd(); 60];
                loop {
                    socket.push(&fds);
                }
            }
            _ => loop {
                socket.send(&[0x55; 4000]);
            },
        }
    }

    fn take_time(self, lane: &mut Lane, request: &Request) {
        match self {
            Attack::Stop => kill_process(getpid(), Signal::STOP).expect("it stops"),
            Attack::NeverReply => std::thread::park(),
            Attack::ReplyLate => {
                std::thread::park_timeout(Duration::from_millis(900));
                lane.answer(request);
            }
            _ => {
                let line = "all work and no play ".repeat(50);
                (0..20_000).for_each(|number| println!("{number} {line}"));
                lane.answer(request);
            }
        }
    }

    fn end(self, lane: &mut Lane, request: &Request) {
        if self != Attack::ExitWithRequest {
            lane.take();
            let (header, total_bytes) = lane.fill(request);
            lane.put(lane.reply_at(request.slot), &header);
            let entry = lane.reply_to(request, header.len() as u32, total_bytes);
            if self != Attack::ExitAfterBytes {
                let at = 256 + u64::from(lane.tail % (2 * lane.geometry.ring_depth)) * 64;
                let bytes: Vec<u8> = entry.iter().flat_map(|word| word.to_le_bytes()).collect();
                lane.put(at, &bytes);
            }
            if self == Attack::ExitBeforeBell {
                lane.put_word(TAIL, (lane.tail + 1) % 256);
            }
        }
        std::process::exit(0);
    }

    /// The handshake gone wrong. What comes back has attacked and was welcomed all the same.
    pub(crate) fn shake_hands(self) -> (Socket, Lane) {
        if self == Attack::ExitBeforeConnect {
            std::process::exit(0);
        }
        let socket = Socket::connect();
        let mut hello = hello();
        let fd_of_ours = socket.0.as_fd();
        match self {
            Attack::ExitAfterConnect => std::process::exit(0),
            Attack::GarbageHello => socket.send(&[0xa5; 300]),
            Attack::HugeHello => socket.send(&vec![1; 150_000]),
            Attack::ReadyFirst => socket.send(&encode_from_container(&FromContainer::Ready)),
            Attack::DoubleConnect => println!("second: {}", Socket::try_connect().is_ok()),
            Attack::HelloWithDescriptors => socket.push(&[fd_of_ours; 60]),
            Attack::WrongNonce => hello.nonce ^= 1,
            Attack::WrongSchema => hello.schema_version = SCHEMA_VERSION + 1,
            Attack::WrongAbi => hello.abi_hash ^= 1,
            Attack::OtherModel => hello.spec.max_batch += 1,
            _ => {}
        }
        socket.send(&encode_from_container(&FromContainer::Hello(hello)));
        if self == Attack::ExitAfterHello {
            std::process::exit(0);
        }
        let lane = welcomed(&socket);
        if self == Attack::ExitAfterWelcome {
            std::process::exit(0);
        }
        socket.send(&encode_from_container(&FromContainer::Ready));
        if self == Attack::ExitAfterReady {
            std::process::exit(0);
        }
        (socket, lane)
    }
}

/// The same descriptor with another status.
fn as_status(mut entry: [u64; 8], status: u64) -> [u64; 8] {
    entry[3] = entry[3] & u64::from(u32::MAX) | status << 32;
    entry
}

fn raw(fd: &impl AsFd) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(&fd.as_fd())
}

/// Claims a position, and sees to it that the engine looks.
fn claim(lane: &mut Lane, at: u64, value: u32) {
    lane.put_word(at, value);
    lane.ring();
    std::thread::park_timeout(Duration::from_secs(5));
}

/// Answers every request, but says of its own position only `ahead` of the truth, once.
fn head(lane: &mut Lane, request: &Request, ahead: u32) {
    if ahead > 0 {
        lane.put_word(HEAD, (lane.head + ahead) % 256);
    }
    answer_without_taking(lane, request);
}

fn answer_without_taking(lane: &mut Lane, request: &Request) {
    // Our own record moves on; the word the engine reads does not.
    lane.head = (lane.head + 1) % 256;
    let (header, total_bytes) = lane.fill(request);
    lane.put(lane.reply_at(request.slot), &header);
    let entry = lane.reply_to(request, header.len() as u32, total_bytes);
    lane.say(&entry);
}

/// Rewrites the header all the while the engine copies and verifies it, and for some time after.
fn flip_header(lane: &Lane, request: &Request, header_bytes: u32) {
    let at = lane.reply_at(request.slot);
    let fd = rustix::io::dup(&lane.container_out).expect("one more descriptor");
    std::thread::spawn(move || {
        for round in 0..2_000_000_u64 {
            let flipped = [(round as u8).wrapping_mul(31)];
            let _refused = pwrite(&fd, &flipped, at + round % u64::from(header_bytes));
        }
    });
    std::thread::park_timeout(Duration::from_millis(1));
}
