//! What the last lanes build, built while those in front of them wait for models, clients and sockets.

use std::process::{Child, Stdio};

use crate::fuzz::{self, Build};
use crate::instructions;
use crate::shell::{Done, command};

/// The system gives it the time that nobody else wants, and next to none besides.
const NICENESS: &str = "19";

/// A build that runs beside the lanes.
pub(crate) struct Ahead(Child);

impl Ahead {
    pub(crate) fn start() -> Done<Ahead> {
        let own = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
        let mut build = command("nice", &["-n", NICENESS]);
        build
            .arg(own)
            .arg("ahead")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        build.spawn().map(Ahead).map_err(|error| format!("cannot build ahead: {error}"))
    }

    /// How it ended is not told: a lane builds again what it does not find, and tells what fails.
    pub(crate) fn wait(mut self) {
        let _ended = self.0.wait();
    }
}

/// What runs beside the lanes. It installs no system packages: one may do so at a time.
pub(crate) fn build() -> Done {
    let counted = instructions::build();
    fuzz::build(Build::Quick).and(counted)
}
