//! An engine that gives its place to another while clients ask: no request fails, and a successor that can't serve
//! changes nothing.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use harness::client::Client;
use harness::engine::{Ends, Engine, Scratch, WATCHDOG, command_of, kill, program, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// Clients that keep their connection as long as they may.
const KEEPING: usize = 3;
/// Clients that connect for each request.
const CONNECTING: usize = 2;
const UPGRADES: usize = 3;

/// An engine that runs from a file of its own, so that the file may be replaced.
struct Place {
    engine: Engine,
    program: PathBuf,
    socket: PathBuf,
    /// What a service manager hears.
    told: UnixDatagram,
    _files: Scratch,
}

impl Place {
    fn new(name: &str) -> Place {
        let files = Scratch::new(name);
        files.write(
            "models/echo/model.toml",
            "runtime = \"native\"\nkind = \"echo\"\nreplicas = 2\n",
        );
        files.write("models/echo/1/keep", "");
        let file = files.0.join("foil");
        // By another process: a file that this one has written may be open in a child that another test is starting.
        let copied = Command::new("cp").arg(program("foil")).arg(&file).status();
        assert!(copied.expect("cp runs").success());
        let native = files.0.join("foil-container");
        std::os::unix::fs::symlink(program("foil-container"), native).expect("linked");
        let socket = files.0.join("http.sock");
        let manager = files.0.join("notify");
        let told = UnixDatagram::bind(&manager).expect("bound");
        told.set_read_timeout(Some(WATCHDOG)).expect("a watchdog");
        let mut command = command_of(&file, &[&files.path("models"), "--shared-user"]);
        command.arg("--http-socket").arg(&socket).env("NOTIFY_SOCKET", manager);
        let engine = Engine::start_with(command, 1);
        Place { engine, program: file, socket, told, _files: files }
    }

    /// The next thing that its service manager hears.
    fn tells(&self) -> String {
        let mut bytes = [0; 256];
        let count = self.told.recv(&mut bytes).expect("something is told");
        String::from_utf8_lossy(&bytes[..count]).trim().to_owned()
    }

    /// The process that answers after upgrade number `count`.
    fn upgraded(&self, count: usize) -> u32 {
        let mut pid = None;
        wait_until("another engine answers", || {
            let said = self.engine.said();
            let mut lines = said.lines().filter_map(|line| line.strip_prefix("upgraded: process "));
            pid = lines.nth(count).and_then(|line| line.split(' ').next()?.parse().ok());
            pid.is_some()
        });
        pid.expect("it was said")
    }
}

/// Kills an engine that the harness doesn't know.
struct Successor(u32);

impl Drop for Successor {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.0.cast_signed()).expect("a process id");
        // It may have given its place to the next and ended.
        let _ended = kill_process(pid, Signal::KILL);
    }
}

fn body(text: &str) -> String {
    let input = json!({"name": "x", "shape": [1, 1], "datatype": "BYTES", "data": [text]});
    json!({ "inputs": [input] }).to_string()
}

fn ask(client: &mut Client, text: &str) -> bool {
    let answer = client.infer("echo", &body(text));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.output(0), json!([text]));
    answer.header("connection") == Some("close")
}

fn keep_asking(address: SocketAddr, keeps: bool, done: &AtomicBool, asked: &AtomicUsize) {
    let mut client = Client::connect(address);
    for number in 0.. {
        if done.load(Ordering::Relaxed) {
            return;
        }
        let closes = ask(&mut client, &format!("number {number}"));
        asked.fetch_add(1, Ordering::Relaxed);
        if closes || !keeps {
            client = Client::connect(address);
        }
    }
}

#[test]
fn upgrades_under_load_fail_no_request() {
    let place = Place::new("upgrade");
    let (done, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (address, mut answering) = (place.engine.http, place.engine.pid());
    let mut successors = Vec::new();
    assert_eq!(place.tells(), "READY=1");
    std::thread::scope(|scope| {
        let _ends = Ends(&done);
        for client in 0..KEEPING + CONNECTING {
            let (done, asked) = (&done, &asked);
            scope.spawn(move || keep_asking(address, client < KEEPING, done, asked));
        }
        for count in 0..UPGRADES {
            let more = |by| {
                let before = asked.load(Ordering::Relaxed);
                wait_until("load flows", || asked.load(Ordering::Relaxed) > before + by);
            };
            more(50);
            kill(answering, Signal::USR2);
            let next = place.upgraded(count);
            let told = [place.tells(), place.tells()];
            assert!(told.contains(&"READY=1".to_owned()), "{told:?}");
            assert!(told.contains(&format!("MAINPID={next}")), "{told:?}");
            let before = std::mem::replace(&mut answering, next);
            successors.push(Successor(next));
            if count > 0 {
                let gone = PathBuf::from(format!("/proc/{before}"));
                wait_until("the old engine has gone", || !gone.exists());
            }
            more(50);
        }
    });
    assert_eq!(Client::connect(place.engine.metrics).get("/metrics").status, 200);
    UnixStream::connect(&place.socket).expect("the last engine answers on the socket's path");
    drop(successors);
}

#[test]
fn a_successor_that_can_not_serve_changes_nothing() {
    let place = Place::new("upgrade-fails");
    let mut client = place.engine.client();
    for (program, why) in
        [("#!/bin/sh\nexit 3\n", "exit status: 3"), ("no program", "could not be started")]
    {
        // The running one's file is busy: another takes its path.
        fs::remove_file(&place.program).expect("removed");
        fs::write(&place.program, program).expect("written");
        fs::set_permissions(&place.program, fs::Permissions::from_mode(0o755)).expect("allowed");
        place.engine.signal(Signal::USR2);
        wait_until("it says why", || place.engine.said().contains(why));
        ask(&mut client, "still here");
        assert_eq!(place.engine.get("/v2/health/ready").status, 200);
    }
    assert!(place.engine.stop().success());
}
