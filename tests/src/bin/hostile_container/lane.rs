//! The container's end of a lane, by plain reads and writes of its descriptors.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::{pread, pwrite, write};
use schemas::lifecycle::LaneGeometry;
use schemas::predict::{BatchHeader, HeaderWriter, read_request};
use schemas::tensor::Layout;

use crate::socket::Socket;

/// Told to the engine in the hello; a container of another build has another.
pub(crate) const ABI_HASH: u64 = shm_rpc::ABI_HASH;

pub(crate) const TAIL: u64 = 64;
pub(crate) const SLEEPS: u64 = 128;
pub(crate) const HEAD: u64 = 192;
pub(crate) const ENTRIES: u64 = 256;
pub(crate) const STATUS_OK: u32 = 1;

/// Between two looks at the engine's tail.
const LOOK_EVERY: Duration = Duration::from_micros(200);

/// What the engine sent.
pub(crate) struct Request {
    pub(crate) slot: u32,
    pub(crate) tag: u64,
    pub(crate) header_bytes: u32,
    pub(crate) generation: u32,
}

pub(crate) struct Lane {
    pub(crate) geometry: LaneGeometry,
    pub(crate) engine_out: OwnedFd,
    pub(crate) container_out: OwnedFd,
    pub(crate) request_data: OwnedFd,
    pub(crate) bell: OwnedFd,
    pub(crate) head: u32,
    pub(crate) tail: u32,
    writer: HeaderWriter,
}

impl Lane {
    pub(crate) fn join(geometry: LaneGeometry, fds: Vec<OwnedFd>) -> Lane {
        let [engine_out, container_out, request_data, bell]: [OwnedFd; 4] =
            fds.try_into().expect("four descriptors make a lane");
        let writer = HeaderWriter::new();
        let (head, tail) = (0, 0);
        Lane { geometry, engine_out, container_out, request_data, bell, head, tail, writer }
    }

    fn entries(&self) -> u32 {
        2 * self.geometry.ring_depth
    }

    fn whole_pages(&self, bytes: u64) -> u64 {
        bytes.next_multiple_of(if self.geometry.huge_pages { 2 << 20 } else { 4096 })
    }

    fn request_at(&self, slot: u32) -> u64 {
        u64::from(slot) * self.whole_pages(self.geometry.request_slot_bytes.into())
    }

    pub(crate) fn reply_at(&self, slot: u32) -> u64 {
        let replies = self.whole_pages(ENTRIES + u64::from(self.entries()) * 64);
        replies + u64::from(slot) * self.whole_pages(self.geometry.reply_slot_bytes.into())
    }

    /// Writes into the container's segment; what the engine took away from it is not written.
    pub(crate) fn put(&self, at: u64, bytes: &[u8]) {
        let _refused = pwrite(&self.container_out, bytes, at);
    }

    pub(crate) fn put_word(&self, at: u64, value: u32) {
        self.put(at, &value.to_le_bytes());
    }

    fn engine_word(&self, at: u64) -> u32 {
        let mut word = [0; 4];
        let _read = pread(&self.engine_out, &mut word, at);
        u32::from_le_bytes(word)
    }

    /// Waits for a request; None when the engine says goodbye or is gone.
    pub(crate) fn next_request(&mut self, socket: &Socket) -> Option<Request> {
        while self.engine_word(TAIL) == self.head {
            if socket.is_closed() {
                return None;
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
        let at = ENTRIES + u64::from(self.head % self.entries()) * 64;
        let mut entry = [0; 64];
        let _read = pread(&self.engine_out, &mut entry, at);
        let words: Vec<u64> = entry
            .chunks_exact(8)
            .map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")))
            .collect();
        let (kind, slot) = (words[0] as u32, (words[0] >> 32) as u32);
        (kind == 1).then_some(Request {
            slot,
            tag: words[1],
            header_bytes: words[2] as u32,
            generation: words[3] as u32,
        })
    }

    /// Tells the engine that its descriptor was taken.
    pub(crate) fn take(&mut self) {
        self.head = (self.head + 1) % 256;
        self.put_word(HEAD, self.head);
    }

    /// Tells it that all its descriptors were.
    pub(crate) fn take_all(&mut self) {
        self.head = self.engine_word(TAIL);
        self.put_word(HEAD, self.head);
    }

    /// Echoes the input, as an honest container would.
    pub(crate) fn answer(&mut self, request: &Request) {
        self.take();
        let (header, total_bytes) = self.fill(request);
        self.put(self.reply_at(request.slot), &header);
        self.say(&self.reply_to(request, header.len() as u32, total_bytes));
    }

    /// Puts the outputs in the reply slot; gives the header that belongs in front and the whole
    /// reply's size.
    pub(crate) fn fill(&mut self, request: &Request) -> (Vec<u8>, u32) {
        let from = self.request_at(request.slot);
        let mut head = vec![0; request.header_bytes as usize];
        let _read = pread(&self.request_data, &mut head, from);
        let mut header = BatchHeader::default();
        read_request(&head, &mut header).expect("an engine's header");
        let mut layout = Layout::new();
        let input = header.tensors[0].clone();
        let output = layout.fixed(input.dtype, input.shape).expect("it fits");
        let mut bytes = vec![0; input.len as usize];
        let _read = pread(&self.request_data, &mut bytes, from + u64::from(input.offset));
        self.put(self.reply_at(request.slot) + u64::from(output.offset), &bytes);
        header.tensors = vec![output];
        (self.encode(&header), layout.total_bytes())
    }

    pub(crate) fn encode(&mut self, header: &BatchHeader) -> Vec<u8> {
        self.writer.reply(header).expect("a header").to_vec()
    }

    pub(crate) fn reply_to(
        &self,
        request: &Request,
        header_bytes: u32,
        total_bytes: u32,
    ) -> [u64; 8] {
        let lengths = u64::from(header_bytes) | u64::from(total_bytes) << 32;
        let state = u64::from(request.generation) | u64::from(STATUS_OK) << 32;
        [request.slot.into(), request.tag, lengths, state, 1, 2, 0, 0]
    }

    /// Publishes a descriptor of any content, and rings if the engine sleeps.
    pub(crate) fn say(&mut self, entry: &[u64; 8]) {
        let at = ENTRIES + u64::from(self.tail % self.entries()) * 64;
        let bytes: Vec<u8> = entry.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.put(at, &bytes);
        self.tail = (self.tail + 1) % 256;
        self.put_word(TAIL, self.tail);
        self.ring_if_asleep();
    }

    pub(crate) fn ring_if_asleep(&self) {
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        if self.engine_word(SLEEPS) != 0 {
            self.ring();
        }
    }

    pub(crate) fn ring(&self) {
        let _full = write(self.bell.as_fd(), &1_u64.to_ne_bytes());
    }
}
