use std::io::{BufRead, BufReader, IoSlice, Write};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::thread::JoinHandle;

use rustix::fd::BorrowedFd;
use rustix::fs::{MemfdFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use shm_rpc::LaneConfig;
use shm_rpc::engine_side::EngineSide;
use tokio::runtime::{Builder, LocalOptions};

use super::*;
use crate::client_shm::registry::{Bounds, Names};

/// No test takes a tenth of it; it is there so that a hang fails.
const WATCHDOG: Duration = Duration::from_secs(30);

struct Client {
    stream: StdUnixStream,
    lines: BufReader<StdUnixStream>,
}

impl Client {
    fn over(stream: StdUnixStream) -> Client {
        stream.set_read_timeout(Some(WATCHDOG)).unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap());
        Client { stream, lines }
    }

    /// One line and its answer.
    fn ask(&mut self, line: &str, descriptors: &[BorrowedFd<'_>]) -> String {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
        }
        let bytes = format!("{line}\n");
        let parts = [IoSlice::new(bytes.as_bytes())];
        sendmsg(&self.stream, &parts, &mut control, SendFlags::NOSIGNAL).unwrap();
        self.answer()
    }

    /// Empty at the end.
    fn answer(&mut self) -> String {
        let mut answer = String::new();
        // A reset is an end, too.
        let _count = self.lines.read_line(&mut answer);
        answer.trim_end().to_owned()
    }
}

/// Runs `act` against the engine's end of a connection; it has ended when this returns.
fn with_client(act: impl FnOnce(&mut Client, &Registry) + Send + 'static) -> Arc<Registry> {
    let bounds = Bounds { regions_max: 8, bytes_max: 1 << 20 };
    let registry = Arc::new(Registry::new(bounds, Names::Refused));
    let (ours, theirs) = StdUnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let seen = registry.clone();
    let client: JoinHandle<()> = std::thread::spawn(move || act(&mut Client::over(theirs), &seen));
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_all().build_local(LocalOptions::default()).unwrap();
    let guest = Guest { registry: registry.clone(), connection: 1, _counted: Rc::new(()) };
    runtime.block_on(async {
        let stream = UnixStream::from_std(ours).unwrap();
        let talk = tokio::time::timeout(WATCHDOG, guest.converse(stream));
        let _how_it_ended = talk.await.expect("the test hangs");
    });
    drop(guest);
    client.join().unwrap();
    registry
}

fn sealed(bytes: u64) -> OwnedFd {
    let memory = memfd_create("test", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&memory, bytes).unwrap();
    fcntl_add_seals(&memory, SEALS).unwrap();
    memory
}

#[test]
fn a_region_lives_as_long_as_its_connection() {
    let registry = with_client(|client, registry| {
        let memory = sealed(4096);
        let answer = client.ask(r#"{"register":"frames"}"#, &[memory.as_fd()]);
        assert_eq!(answer, r#"{"byte_size":4096,"registered":"frames"}"#);
        assert_eq!(registry.snapshot().find("frames").unwrap().byte_size, 4096);
    });
    assert!(registry.snapshot().find("frames").is_none());
}

#[test]
fn a_refusal_says_why_and_the_connection_goes_on() {
    with_client(|client, registry| {
        let (memory, plain) = (sealed(64), std::fs::File::open("/proc/self/exe").unwrap());
        let mut refused = |line: &str, descriptors: &[BorrowedFd<'_>], why: &str| {
            let answer = client.ask(line, descriptors);
            assert!(answer.contains("error") && answer.contains(why), "{line}: {answer}");
        };
        refused(r#"{"register":"a"}"#, &[], "descriptor");
        refused(r#"{"register":"a"}"#, &[plain.as_fd()], "SHRINK");
        refused(r#"{"register":""}"#, &[memory.as_fd()], "name");
        refused(r#"{"register":1}"#, &[memory.as_fd()], "the line must be");
        refused("what?", &[], "the line must be");
        refused(r#"{"unregister":"a"}"#, &[], "no region of this name");
        assert!(client.ask(r#"{"register":"a"}"#, &[memory.as_fd()]).contains("registered"));
        assert!(client.ask(r#"{"unregister":"a"}"#, &[]).contains("unregistered"));
        assert!(registry.snapshot().find("a").is_none());
    });
}

#[test]
fn a_lane_is_not_taken_for_a_clients_memory() {
    with_client(|client, _| {
        let config = LaneConfig::new(2, 1, 4096, 4096);
        let (_side, descriptors) = EngineSide::create(config, 1).unwrap();
        let [engine_out, container_out, request_data, bell] = descriptors.as_fds();
        for segment in [engine_out, container_out, request_data] {
            let answer = client.ask(r#"{"register":"a"}"#, &[segment]);
            assert!(answer.contains("the server's own"), "{answer}");
        }
        assert!(client.ask(r#"{"register":"a"}"#, &[bell]).contains("SHRINK"));
    });
}

#[test]
fn more_descriptors_than_one_end_the_connection() {
    with_client(|client, registry| {
        let memory = sealed(64);
        let many = [memory.as_fd(); 4];
        assert_eq!(client.ask(r#"{"register":"a"}"#, &many), "");
        assert!(registry.snapshot().find("a").is_none());
    });
}

#[test]
fn a_line_without_end_ends_the_connection() {
    with_client(|client, _| {
        client.stream.write_all(&[b'x'; LINE_BYTES_MAX]).unwrap();
        assert_eq!(client.answer(), "");
    });
}
