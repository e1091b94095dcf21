//! Containers in Docker, through the daemon's own API on its Unix socket.
//!
//! Every call but the one that waits for a container's end has a bound by name ([`Call`]). Nobody who asks for a
//! container's removal waits for it: what is left over is removed by a task of its own, what an engine could not remove
//! by the next one (`orphans`).

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bollard::errors::Error;
use bollard::query_parameters::{
    KillContainerOptions, ListContainersOptions, RemoveContainerOptions,
};
use bollard::{API_DEFAULT_VERSION, Docker as Client};
use tokio::sync::Mutex;

pub use self::about::{About, Gear};
pub use self::container::DockerContainer;
pub use self::error::{Call, DockerError};
use self::leftovers::Leftovers;

mod about;
mod body;
mod container;
mod error;
mod gpu;
mod leftovers;
mod once;
mod orphans;
mod pull;

/// Where the daemon listens unless DOCKER_HOST says otherwise.
const SOCKET: &str = "/var/run/docker.sock";

/// Docker 20.10: the oldest that containers are tried with. Requests for devices came one before.
pub const API_LEAST: (usize, usize) = (1, 41);

/// Docker's own answer that there is no such thing.
const NOT_FOUND: u16 = 404;
/// Docker's own answer that what is asked for is under way, or over.
const CONFLICT: u16 = 409;
/// Docker's own answer that nothing was to be done.
const NOT_MODIFIED: u16 = 304;

/// What Python models run in that name no image.
pub fn python_image() -> String {
    body::ours("python")
}

/// What an engine does with Docker.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Private directory of this engine, by which its containers are told from another's.
    pub sockets: PathBuf,
    /// Where it is noted that Docker was used; None: nowhere.
    pub state: Option<PathBuf>,
    /// An image that is not there is fetched from its registry.
    pub pull: bool,
}

/// The daemon of this machine; asked for the first time when the first container is started.
pub struct Docker {
    settings: Settings,
    client: RefCell<Option<Client>>,
    leftovers: Leftovers,
    /// What the daemon can't do and was said.
    warned: RefCell<BTreeSet<String>>,
    /// What devices it can give out among it; None: it was not asked.
    known_gear: RefCell<Option<Gear>>,
    used: Cell<bool>,
    swept: Cell<bool>,
    /// One image at a time; who waits finds it there.
    pulling: Mutex<()>,
}

impl Docker {
    pub fn new(settings: Settings) -> Rc<Docker> {
        Rc::new(Docker {
            settings,
            client: RefCell::default(),
            leftovers: Leftovers::default(),
            warned: RefCell::default(),
            known_gear: RefCell::default(),
            used: Cell::new(false),
            swept: Cell::new(false),
            pulling: Mutex::default(),
        })
    }

    /// The client, once the daemon has said which version of its API it speaks.
    async fn client(&self) -> Result<Client, DockerError> {
        if let Some(client) = self.client.borrow().clone() {
            return Ok(client);
        }
        let socket = socket(std::env::var("DOCKER_HOST").ok())?;
        let path = socket.display().to_string();
        let client = Client::connect_with_unix(&path, HEAD_WAIT.as_secs(), API_DEFAULT_VERSION);
        let client = client.map_err(|error| error::of(Call::Connect, error))?;
        let client = within(Call::Connect, client.negotiate_version()).await?;
        *self.client.borrow_mut() = Some(client.clone());
        Ok(client)
    }

    /// Says once what the daemon can't do for a container.
    fn warn_once(&self, warning: String) {
        if !warning.is_empty() && self.warned.borrow_mut().insert(warning.clone()) {
            tracing::warn!("Docker: {warning}");
        }
    }

    /// One that has ended already is no error.
    async fn kill(&self, id: &str) -> Result<(), DockerError> {
        let client = self.client().await?;
        let options = KillContainerOptions { signal: "SIGKILL".into() };
        over(within(Call::Kill, client.kill_container(id, Some(options))).await)
    }

    /// By id or name, whatever it is doing. One that is gone already is no error.
    async fn remove(&self, id: &str) -> Result<(), DockerError> {
        let client = self.client().await?;
        let options = RemoveContainerOptions { v: true, force: true, link: false };
        over(within(Call::Remove, client.remove_container(id, Some(options))).await)
    }

    /// All containers with these labels: their ids and labels.
    async fn labelled(&self, labels: &[String]) -> Result<Vec<orphans::Labelled>, DockerError> {
        let client = self.client().await?;
        let filters = [("label".to_owned(), labels.to_vec())].into();
        let options =
            ListContainersOptions { all: true, filters: Some(filters), ..Default::default() };
        let found = within(Call::List, client.list_containers(Some(options))).await?;
        Ok(found.into_iter().filter_map(orphans::Labelled::of).collect())
    }
}

/// Until the head of an answer: longer than any call's bound, so it ends only what has none, a wait for a container's
/// end, which is asked again.
const HEAD_WAIT: Duration = Duration::from_secs(120);

/// One call with its bound.
async fn within<T>(
    call: Call,
    asked: impl Future<Output = Result<T, Error>>,
) -> Result<T, DockerError> {
    match tokio::time::timeout(call.bound(), asked).await {
        Ok(answered) => answered.map_err(|error| error::of(call, error)),
        Err(_) => Err(DockerError::Slow { call, seconds: call.bound().as_secs() }),
    }
}

/// What was to be ended may be over already.
fn over(done: Result<(), DockerError>) -> Result<(), DockerError> {
    match done {
        Err(DockerError::Refused { status: NOT_FOUND | CONFLICT | NOT_MODIFIED, .. }) => Ok(()),
        done => done,
    }
}

/// Lanes are memory of this machine: only a daemon behind a Unix socket can be meant.
fn socket(host: Option<String>) -> Result<PathBuf, DockerError> {
    let Some(host) = host.filter(|host| !host.is_empty()) else { return Ok(SOCKET.into()) };
    match host.strip_prefix("unix://") {
        Some(path) => Ok(Path::new(path).to_owned()),
        None => Err(DockerError::Remote { host }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_daemon_of_this_machine_is_asked() {
        assert_eq!(socket(None).unwrap(), Path::new(SOCKET));
        assert_eq!(socket(Some(String::new())).unwrap(), Path::new(SOCKET));
        let given = socket(Some("unix:///run/user/1000/docker.sock".into())).unwrap();
        assert_eq!(given, Path::new("/run/user/1000/docker.sock"));
        let refused = socket(Some("tcp://10.0.0.1:2376".into())).unwrap_err().to_string();
        assert!(refused.contains("tcp://10.0.0.1:2376"), "{refused}");
    }
}
