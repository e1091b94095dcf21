//! What can go wrong with Docker, why probably, and what to do about it.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use bollard::errors::Error;

use super::{NOT_FOUND, SOCKET};
use crate::fleet::launch::Advice;

/// What the daemon is asked to do, and how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Connect,
    Info,
    Inspect,
    List,
    Create,
    Attach,
    Start,
    Update,
    Kill,
    Remove,
    Pull,
    Run,
}

impl Call {
    /// Each takes some 10 to 500 ms on an idle machine; a disk that is busy makes it seconds.
    pub fn bound(self) -> Duration {
        Duration::from_secs(match self {
            Call::Connect => 5,
            Call::Info | Call::Inspect | Call::List | Call::Attach | Call::Update => 10,
            Call::Kill => 10,
            Call::Create | Call::Remove | Call::Run => 30,
            // Layers may have to be read from a cold disk.
            Call::Start => 60,
            // Without any progress; a pull that goes on may take its time.
            Call::Pull => 60,
        })
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Call::Connect => "say which version it has",
            Call::Info => "describe itself",
            Call::Inspect => "describe a container",
            Call::List => "list its containers",
            Call::Create => "create the container",
            Call::Attach => "hand out the container's output",
            Call::Start => "start the container",
            Call::Update => "give the container its share of CPU time",
            Call::Kill => "kill the container",
            Call::Remove => "remove the container",
            Call::Pull => "pull the image",
            Call::Run => "run a command in the image",
        })
    }
}

/// What a caller can tell apart. The messages come with what to do.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    #[error("Docker can't be reached at {socket}: {why}. {}", self.advice())]
    Unreachable { socket: String, why: String },
    #[error("DOCKER_HOST is {host}, which is not on this machine. {}", self.advice())]
    Remote { host: String },
    #[error("Docker did not {call} within {seconds} s. {}", self.advice())]
    Slow { call: Call, seconds: u64 },
    #[error("the image {image} is not on this machine. {}", self.advice())]
    NoImage { image: String },
    #[error("the image {image} could not be pulled: {why}. {}", self.advice())]
    Pull { image: String, why: String },
    #[error("Docker did not {call}: {message}. {}", self.advice())]
    Refused { call: Call, status: u16, message: String },
    #[error("Docker has no GPU to give: {message}. {}", self.advice())]
    NoGpuRuntime { message: String },
    #[error("the command ended with status {code}: {output}")]
    Run { code: i64, output: String },
}

impl DockerError {
    /// Why probably, and what to do.
    pub fn advice(&self) -> Advice {
        match self {
            DockerError::Unreachable { why, .. } => unreachable(why),
            DockerError::Remote { .. } => Advice::new(
                "this shell was set up for another machine's Docker, and models share memory with the engine",
                "unset DOCKER_HOST, or name a Unix socket in it: DOCKER_HOST=unix:///var/run/docker.sock",
            ),
            DockerError::Slow { .. } => Advice::new(
                "the daemon or its disk is overloaded, or the daemon hangs",
                "see whether `docker info` answers; restart the daemon if it does not",
            ),
            DockerError::NoImage { image } => Advice::new(
                "it was not built or fetched yet",
                &format!(
                    "build Hydrofoil's images with `cargo xtask images`, or fetch it with `docker pull {image}` (foil serve \
                     --pull does it when it is needed)"
                ),
            ),
            DockerError::Pull { image, .. } => Advice::new(
                "no registry that this machine can reach serves it under that name",
                &format!(
                    "try `docker pull {image}` by hand; build Hydrofoil's images with `cargo xtask images`"
                ),
            ),
            DockerError::Refused { message, .. } => refused(message),
            DockerError::NoGpuRuntime { .. } => Advice::new(
                "NVIDIA's container toolkit or its driver is not set up on this host",
                "install nvidia-container-toolkit (1.17.8 or later), then `sudo nvidia-ctk runtime configure \
                 --runtime=docker && sudo systemctl restart docker`; `foil doctor` checks each part. Or run the model on the \
                 CPU: device = \"cpu\" or \"auto\" in model.toml",
            ),
            DockerError::Run { .. } => Advice::new(
                "the image lacks what the command needs",
                "use one of Hydrofoil's images, or one made from them",
            ),
        }
    }
}

fn unreachable(why: &str) -> Advice {
    if why.to_lowercase().contains("permission denied") {
        return Advice::new(
            "this user may not open its socket",
            "add the user to Docker's group (sudo usermod -aG docker $USER) and log in anew, or use --launcher process",
        );
    }
    Advice::new(
        "the daemon does not run",
        "start it (sudo systemctl start docker), name its socket in DOCKER_HOST=unix://…, or use --launcher process",
    )
}

/// Parts of Docker's messages, in lower case, and what they mean. Their wording changes between versions: what is not
/// found here is shown as it came.
const KNOWN: [(&[&str], &str, &str); 9] = [
    (
        &["bind source path does not exist"],
        "the daemon doesn't see this engine's files: the engine runs in a container, or with a private /tmp",
        "set TMPDIR and XDG_RUNTIME_DIR to a directory that both see (systemd: PrivateTmp=no)",
    ),
    (
        &["executable file not found", "no such file or directory"],
        "the image does not have the program that is to run",
        "name an image that has it: one of Hydrofoil's, or one whose entrypoint speaks to the engine",
    ),
    (
        &["permission denied", "exec format error"],
        "the image's program can't be run by another user than root, or not on this machine",
        "make it executable for everybody (chmod 755) and build it for this machine",
    ),
    (
        &["no command specified"],
        "the image has no program to run",
        "give it an ENTRYPOINT, or name a program in model.toml",
    ),
    (
        &["no space left on device"],
        "Docker's disk is full",
        "make room (docker system df shows what takes it)",
    ),
    (
        &["minimum memory limit", "memory limit"],
        "the memory limit is one that this system can't set",
        "set another `memory` in model.toml",
    ),
    (
        &["cpuset", "requested cpus"],
        "`cpus` names a CPU that Docker may not use",
        "name others in model.toml",
    ),
    (&["docker-init"], "the daemon's docker-init is not installed", "install Docker whole"),
    (
        &["seccomp", "apparmor"],
        "this system's security profile doesn't fit Docker's",
        "see the daemon's log (journalctl -u docker)",
    ),
];

fn refused(message: &str) -> Advice {
    let message = message.to_lowercase();
    let known = KNOWN.iter().find(|(parts, ..)| parts.iter().any(|part| message.contains(part)));
    match known {
        Some((_, cause, fix)) => Advice::new(cause, fix),
        None => Advice::new(
            "the daemon or its settings refuse it",
            "see the daemon's log (journalctl -u docker)",
        ),
    }
}

/// The client's errors, sorted by what one can do about them.
pub(super) fn of(call: Call, error: Error) -> DockerError {
    let socket = std::env::var("DOCKER_HOST").unwrap_or_else(|_| SOCKET.to_owned());
    match error {
        Error::DockerResponseServerError { status_code, message } => {
            let message = message.trim_end_matches(['\n', '.']).to_owned();
            DockerError::Refused { call, status: status_code, message }
        }
        Error::RequestTimeoutError => DockerError::Slow { call, seconds: call.bound().as_secs() },
        Error::SocketNotFoundError(socket) => {
            let refused = std::fs::symlink_metadata(Path::new(&socket));
            let why = refused.err().map_or("it is no socket".into(), |error| error.to_string());
            DockerError::Unreachable { socket, why }
        }
        error => DockerError::Unreachable { socket, why: chain(&error) },
    }
}

/// With its causes: the first alone only says that something failed.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// An image that is not there is told from everything else that is not found.
pub(super) fn created(image: &str, error: DockerError) -> DockerError {
    match error {
        DockerError::Refused { status: NOT_FOUND, .. } => {
            DockerError::NoImage { image: image.to_owned() }
        }
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(message: &str) -> String {
        let (status_code, message) = (400, message.to_owned());
        of(Call::Start, Error::DockerResponseServerError { status_code, message }).to_string()
    }

    #[test]
    fn refusals_say_the_probable_cause_and_the_fix() {
        let entrypoint = refusal(
            "failed to create shim: OCI runtime create failed: exec: \"/nothing\": stat /nothing: no such file or directory: unknown",
        );
        assert!(entrypoint.contains("does not have the program"), "{entrypoint}");
        let disk = refusal("write /var/lib/docker: no space left on device");
        assert!(disk.contains("docker system df"), "{disk}");
        let private = refusal(
            "invalid mount config for type \"bind\": bind source path does not exist: /tmp/x",
        );
        assert!(private.contains("PrivateTmp"), "{private}");
    }

    #[test]
    fn what_nobody_knows_is_shown_as_it_came() {
        let said = refusal("the moon is full.\n");
        assert!(said.contains("did not start the container: the moon is full. "), "{said}");
    }

    #[test]
    fn an_image_that_is_missing_comes_with_the_commands_that_make_it_there() {
        let (status, message) = (NOT_FOUND, "No such image: mine:1".to_owned());
        let error = created("mine:1", DockerError::Refused { call: Call::Create, status, message });
        let said = error.to_string();
        assert!(
            said.contains("cargo xtask images") && said.contains("docker pull mine:1"),
            "{said}"
        );
    }

    #[test]
    fn a_socket_that_may_not_be_opened_is_told_from_a_daemon_that_does_not_run() {
        let socket = SOCKET.to_owned();
        let of = |why: &str| DockerError::Unreachable { socket: socket.clone(), why: why.into() };
        assert!(of("Permission denied (os error 13)").to_string().contains("usermod"));
        assert!(of("Connection refused (os error 111)").to_string().contains("systemctl start"));
    }
}
