//! Containers as programs for Clipper are: processes of their own that dial in.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::engine::{Engine, program, root, wait_until};

/// Where an engine takes containers, once it says so.
pub fn port(engine: &Engine) -> SocketAddr {
    let mut found = None;
    wait_until("the engine takes containers", || {
        let said = engine.said();
        let line = said.lines().find_map(|line| line.strip_prefix("listening  tcp://"));
        found = line.and_then(|line| line.split(' ').next()?.parse().ok());
        found.is_some()
    });
    found.expect("an address")
}

/// A process that runs `tests/containers/clipper.py`, killed with its owner.
pub struct Container {
    child: Child,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Container {
    /// Dials in and waits until the engine has asked it who it is.
    pub fn start(port: SocketAddr, arguments: &[&str]) -> Container {
        let container = Container::dial(port, arguments);
        container.wait_for("asked", 1);
        container
    }

    /// Dials in, whether or not anybody answers.
    pub fn dial(port: SocketAddr, arguments: &[&str]) -> Container {
        let mut command = Command::new(program("python"));
        command.arg(root().join("tests/containers/clipper.py"));
        command.args(["--port", &port.port().to_string()]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("python starts");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (log, stdout) = (heard.clone(), child.stdout.take().expect("stdout is piped"));
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                log.lock().expect("nobody panics while writing").push(line);
            }
        });
        Container { child, heard }
    }

    /// Waits until `count` lines begin with `what`.
    pub fn wait_for(&self, what: &str, count: usize) {
        wait_until(&format!("a container says '{what}' {count} times"), || {
            self.count(what) >= count
        });
    }

    /// Lines so far that begin with `what`.
    pub fn count(&self, what: &str) -> usize {
        let heard = self.heard.lock().expect("nobody panics while writing");
        heard.iter().filter(|line| line.starts_with(what)).count()
    }

    /// Ends it with SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // It may have ended.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
