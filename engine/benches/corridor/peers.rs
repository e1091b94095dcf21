//! Who the engine works for and with: clients that all ask at once, and a container that sums rows.
//!
//! A peer that sees something wrong panics: of a run with a wrong answer nothing is to be counted.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bench::payload::Encoding;
use bench::response::parse;
use schemas::lifecycle::LaneGeometry;
use schemas::predict::{self, BatchHeader, HeaderWriter};
use schemas::tensor::{DType, Layout};
use shm_rpc::container_side::{ContainerSide, Next, Request};
use shm_rpc::{LaneConfig, LaneFds, Status};
use smallvec::smallvec;

use super::{FEATURES, Load, Outcome};

/// An answer is a tenth of it.
const ANSWER_BYTES_MAX: usize = 4096;
/// Sums of 784 floats in different orders differ by less.
const SUM_TOLERANCE: f32 = 0.01;
const F32_BYTES: usize = 4;
/// Turns in a row without anything to do: the engine sleeps a second at most, and then something was lost.
const IDLE_TURNS_MAX: u32 = 60;

pub(super) struct Peers {
    container: Container,
    connections: Vec<Connection>,
    request: Vec<u8>,
    encoding: Encoding,
    /// What a right answer says.
    sum: f32,
    /// Times that all are still to ask.
    left: u64,
    /// Turns in a row without anything to do.
    idle: u32,
    /// Whoever waits for the last answer.
    waiting: Option<Waker>,
}

impl Peers {
    pub(super) fn connect(
        address: SocketAddr,
        load: Load,
        request: Vec<u8>,
        container: Container,
        sum: f32,
    ) -> Outcome<Peers> {
        let connections =
            (0..load.connections).map(|_| Connection::open(address)).collect::<Outcome<_>>()?;
        let encoding = load.encoding;
        Ok(Peers {
            container,
            connections,
            request,
            encoding,
            sum,
            left: 0,
            idle: 0,
            waiting: None,
        })
    }

    pub(super) fn ask(&mut self, times: u64) {
        self.left += times;
    }

    /// The engine would sleep: whoever of us has something to do does it.
    pub(super) fn turn(&mut self) {
        let busy = self.container.answer() || self.receive() | self.send();
        if self.is_done() {
            self.waiting.take().into_iter().for_each(Waker::wake);
        }
        self.idle = if busy || self.waiting.is_none() { 0 } else { self.idle + 1 };
        assert!(self.idle < IDLE_TURNS_MAX, "the engine sleeps and owes an answer");
    }

    /// False where nothing came.
    fn receive(&mut self) -> bool {
        let asked = self.connections.iter_mut().filter(|one| one.asked);
        asked.filter_map(|one| one.receive(self.encoding, self.sum)).count() > 0
    }

    /// All at once; false where answers are due, or nobody is to ask.
    fn send(&mut self) -> bool {
        let sends = self.left > 0 && self.all_answered();
        if sends {
            self.left -= 1;
            self.connections.iter_mut().for_each(|one| one.send(&self.request));
        }
        sends
    }

    fn is_done(&self) -> bool {
        self.left == 0 && self.all_answered()
    }

    fn all_answered(&self) -> bool {
        self.connections.iter().all(|one| !one.asked)
    }

    /// Ready when all have asked as often as they should, and have their answers.
    pub(super) fn poll_done(&mut self, context: &Context<'_>) -> Poll<()> {
        if self.is_done() {
            return Poll::Ready(());
        }
        self.waiting = Some(context.waker().clone());
        Poll::Pending
    }

    pub(super) fn rows_per_batch(&self) -> f64 {
        self.container.rows as f64 / self.container.batches as f64
    }
}

// ---- clients ----

struct Connection {
    stream: TcpStream,
    received: [u8; ANSWER_BYTES_MAX],
    received_bytes: usize,
    /// An answer is due.
    asked: bool,
}

impl Connection {
    fn open(address: SocketAddr) -> Outcome<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let received = [0; ANSWER_BYTES_MAX];
        Ok(Connection { stream, received, received_bytes: 0, asked: false })
    }

    fn send(&mut self, request: &[u8]) {
        self.stream.write_all(request).expect("a request fits an empty socket's buffer");
        self.asked = true;
    }

    /// Takes what came, and the answer once it is whole; `None` where nothing came.
    fn receive(&mut self, encoding: Encoding, sum: f32) -> Option<()> {
        let room = &mut self.received[self.received_bytes..];
        match self.stream.read(room) {
            Ok(0) => panic!("the engine closed a connection"),
            Ok(count) => self.received_bytes += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(error) => panic!("a connection broke: {error}"),
        }
        let received = &self.received[..self.received_bytes];
        let Some(frame) = parse(received, false).expect("the answer is HTTP") else {
            return Some(());
        };
        let body = &*frame.body(received);
        assert_eq!(frame.status, 200, "{}", String::from_utf8_lossy(body));
        let found = output(encoding, body);
        assert!((found - sum).abs() < SUM_TOLERANCE, "the sum is {sum}, not {found}");
        self.received_bytes = 0;
        self.asked = false;
        Some(())
    }
}

fn output(encoding: Encoding, body: &[u8]) -> f32 {
    if encoding == Encoding::Binary {
        return f32::from_le_bytes(*body.last_chunk().expect("the output is behind the JSON"));
    }
    let answer: serde_json::Value = serde_json::from_slice(body).expect("the answer is JSON");
    answer["outputs"][0]["data"][0].as_f64().expect("the output is a number") as f32
}

// ---- the container ----

pub(super) struct Container {
    side: ContainerSide,
    header: BatchHeader,
    header_bytes: Vec<u8>,
    writer: HeaderWriter,
    batch: Vec<u8>,
    rows: u64,
    batches: u64,
}

impl Container {
    pub(super) fn join(fds: LaneFds, geometry: &LaneGeometry) -> Outcome<Container> {
        let side = ContainerSide::map(fds, LaneConfig::from(geometry), geometry.incarnation)?;
        Ok(Container {
            side,
            header: BatchHeader::default(),
            header_bytes: Vec::new(),
            writer: HeaderWriter::new(),
            batch: Vec::new(),
            rows: 0,
            batches: 0,
        })
    }

    /// Answers a batch; false where none is there.
    fn answer(&mut self) -> bool {
        match self.side.next(Duration::ZERO).expect("the engine keeps the lane's rules") {
            Next::Idle => false,
            Next::Shut => panic!("the engine ended the lane"),
            Next::Request(request) => {
                self.predict(request).expect("the lane carries what its geometry promises");
                true
            }
        }
    }

    fn predict(&mut self, request: Request) -> Outcome<()> {
        self.side.header(&request, &mut self.header_bytes);
        predict::read_request(&self.header_bytes, &mut self.header)?;
        let sums = self.sums(&request)?;
        let mut layout = Layout::new();
        let output = layout.fixed(DType::F32, smallvec![u64::from(self.header.rows)])?;
        self.side.write_reply(&request, output.offset, &sums)?;
        self.header.tensors.clear();
        self.header.tensors.push(output);
        let header = self.writer.reply(&self.header)?;
        self.side.write_reply(&request, 0, header)?;
        let header_bytes = header.len() as u32;
        self.side.reply(request, Status::Ok, header_bytes, layout.total_bytes(), 0, 0);
        self.rows += u64::from(self.header.rows);
        self.batches += 1;
        Ok(())
    }

    fn sums(&mut self, request: &Request) -> Outcome<Vec<u8>> {
        let input = &self.header.tensors[0];
        self.batch.resize(input.len as usize, 0);
        self.side.read(request, input.offset, &mut self.batch)?;
        let rows = self.batch.chunks_exact(FEATURES as usize * F32_BYTES);
        Ok(rows.flat_map(|row| sum(row).to_le_bytes()).collect())
    }
}

fn sum(row: &[u8]) -> f32 {
    let (numbers, _) = row.as_chunks::<F32_BYTES>();
    numbers.iter().map(|number| f32::from_le_bytes(*number)).sum()
}
