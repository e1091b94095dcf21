//! One container: created, started, watched until its end, removed.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, ContainerState, ContainerUpdateBody};
use bollard::query_parameters::{
    AttachContainerOptions, CreateContainerOptions, InspectContainerOptions, StartContainerOptions,
    WaitContainerOptions,
};
use futures_util::{Stream, StreamExt};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::error::{self, Call, DockerError};
use super::{Docker, NOT_FOUND, body, orphans, within};
use crate::fleet::launch::{Ended, Start, WaitError};
use crate::fleet::log_tail::{Follower, LogTail};

/// What it printed before its end has arrived within this, unless it printed more than anybody reads.
const LAST_WORDS_WAIT: Duration = Duration::from_millis(500);
/// Between two questions to a daemon that doesn't answer.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Of a container's id, enough to tell it from others: what `docker ps` shows.
const ID_SHOWN: usize = 12;
/// Of a model's name in its container's.
const NAME_CHARS_MAX: usize = 60;

/// A container of a running replica. Dropped, it is killed and removed.
pub struct DockerContainer {
    docker: Rc<Docker>,
    removed: RemovedWhenDropped,
    id: Arc<str>,
    init: Option<Init>,
    stands_back: bool,
    ended: watch::Receiver<Option<Ended>>,
    pub log: LogTail,
}

impl DockerContainer {
    /// May be dropped at any time: what it has made by then is removed.
    pub async fn start(
        docker: Rc<Docker>,
        start: Start<'_>,
    ) -> Result<DockerContainer, DockerError> {
        let client = docker.client().await?;
        docker.used();
        let own = start.image.map_or_else(|| body::image(start.program), str::to_owned);
        let name = name(&start);
        let removed = RemovedWhenDropped::new(&docker, &name);
        docker.create(&name, &start, &own).await?;
        let attached = client.attach_container(&name, Some(output()));
        let attached = within(Call::Attach, attached).await?;
        let (log, lines) = (LogTail::default(), start.label.clone());
        let follower = Follower::new(log.clone(), lines, start.clock);
        let follower = tokio::task::spawn_local(follow(attached.output, follower));
        let started = client.start_container(&name, None::<StartContainerOptions>);
        within(Call::Start, started).await.map_err(|error| refused(&docker, &start, error))?;
        let about = client.inspect_container(&name, None::<InspectContainerOptions>);
        let about = within(Call::Inspect, about).await?;
        let id: Arc<str> = about.id.unwrap_or_default().into();
        let pid = about.state.and_then(|state| state.pid);
        let init = pid.and_then(|pid| Init::of(pid, &id));
        let (tell, ended) = watch::channel(None);
        tokio::task::spawn_local(watch_end(docker.clone(), name, follower, tell));
        Ok(DockerContainer {
            docker,
            removed,
            id,
            init,
            stands_back: start.stands_back,
            ended,
            log,
        })
    }

    /// As `docker ps` shows it.
    pub fn id(&self) -> Arc<str> {
        self.id.get(..ID_SHOWN).map_or_else(|| self.id.clone(), Into::into)
    }

    pub fn pid(&self) -> Option<u32> {
        self.init.as_ref().map(|init| init.pid)
    }

    /// From now on it has as much CPU time as its neighbours.
    pub fn has_loaded(&self) {
        if !self.stands_back {
            return;
        }
        let (docker, container) = (self.docker.clone(), self.removed.container.clone());
        tokio::task::spawn_local(async move {
            if let Err(error) = docker.give_full_share(&container).await {
                tracing::warn!(
                    container,
                    "a live model keeps a loading one's share of CPU time: {error}"
                );
            }
        });
    }

    /// Waits for its end; may be dropped and called again.
    pub async fn ended(&mut self) -> Result<Ended, WaitError> {
        match self.ended.wait_for(Option::is_some).await {
            Ok(ended) => Ok(ended.unwrap_or_default()),
            // The task that watches it has ended with the engine.
            Err(_) => Ok(Ended::default()),
        }
    }

    /// Kills it, and has it removed.
    pub async fn kill(&mut self) -> Result<Ended, WaitError> {
        let known = *self.ended.borrow();
        if let Some(ended) = known {
            return Ok(ended);
        }
        // Docker takes a tenth of a second for what the system does at once.
        let asked = self.init.as_ref().is_some_and(Init::kill);
        if !asked {
            self.docker.kill(&self.removed.container).await.map_err(WaitError::Docker)?;
        }
        self.ended().await
    }
}

/// Removed by its name, which is known before Docker has made it.
pub(super) struct RemovedWhenDropped {
    docker: Rc<Docker>,
    container: String,
}

impl RemovedWhenDropped {
    pub(super) fn new(docker: &Rc<Docker>, name: &str) -> RemovedWhenDropped {
        RemovedWhenDropped { docker: docker.clone(), container: name.to_owned() }
    }
}

impl Drop for RemovedWhenDropped {
    fn drop(&mut self) {
        self.docker.remove_later(&self.container);
    }
}

impl Docker {
    async fn create(&self, name: &str, start: &Start<'_>, image: &str) -> Result<(), DockerError> {
        let way = match start.gpu {
            Some(uuid) => Some(self.way_to(uuid).await?),
            None => None,
        };
        let body = body::of(start, image, &orphans::boot(), way.as_ref());
        match self.create_once(name, image, body.clone()).await {
            Err(DockerError::NoImage { .. }) if self.settings.pull => {
                self.pull(image).await?;
                self.create_once(name, image, body).await
            }
            created => created.map_err(|error| refused(self, start, error)),
        }
    }

    pub(super) async fn create_once(
        &self,
        name: &str,
        image: &str,
        body: ContainerCreateBody,
    ) -> Result<(), DockerError> {
        let client = self.client().await?;
        let named = CreateContainerOptions { name: Some(name.into()), ..Default::default() };
        let created = within(Call::Create, client.create_container(Some(named), body)).await;
        let created = created.map_err(|error| error::created(image, error))?;
        created.warnings.into_iter().for_each(|warning| self.warn_once(warning));
        Ok(())
    }

    async fn give_full_share(&self, container: &str) -> Result<(), DockerError> {
        let client = self.client().await?;
        let cpu_shares = Some(body::LIVE_CPU_SHARES);
        let share = ContainerUpdateBody { cpu_shares, ..Default::default() };
        super::over(within(Call::Update, client.update_container(container, share)).await)
    }

    /// However long that takes: whoever waits for it bounds it.
    async fn end_of(&self, container: &str) -> Ended {
        let code = loop {
            match self.wait(container).await {
                Ok(code) => break code,
                Err(DockerError::Refused { status: NOT_FOUND, .. }) => return Ended::default(),
                Err(error) => tracing::debug!(container, "can't be waited for: {error}"),
            }
            tokio::time::sleep(ASK_AGAIN).await;
        };
        let state = self.state(container).await;
        ended(code, state.is_ok_and(|state| state.oom_killed == Some(true)))
    }

    /// One question; the daemon answers when the container has ended.
    pub(super) async fn wait(&self, container: &str) -> Result<i64, DockerError> {
        let client = self.client().await?;
        let condition = "not-running".to_owned();
        let mut answers =
            Box::pin(client.wait_container(container, Some(WaitContainerOptions { condition })));
        match answers.next().await {
            Some(Ok(answer)) => Ok(answer.status_code),
            Some(Err(Error::DockerContainerWaitError { code, .. })) => Ok(code),
            Some(Err(error)) => Err(error::of(Call::Inspect, error)),
            None => Err(DockerError::Slow { call: Call::Inspect, seconds: 0 }),
        }
    }

    async fn state(&self, container: &str) -> Result<ContainerState, DockerError> {
        let client = self.client().await?;
        let asked = client.inspect_container(container, None::<InspectContainerOptions>);
        Ok(within(Call::Inspect, asked).await?.state.unwrap_or_default())
    }
}

fn refused(docker: &Docker, start: &Start<'_>, error: DockerError) -> DockerError {
    if start.gpu.is_some() { docker.gpu_refused(error) } else { error }
}

/// A container's status is 128 and the signal's number where one ended it.
fn ended(status: i64, oom: bool) -> Ended {
    let signal = (status > 128).then(|| (status - 128) as i32);
    let code = signal.is_none().then_some(status as i32);
    Ended { code, signal, oom }
}

async fn watch_end(
    docker: Rc<Docker>,
    container: String,
    follower: JoinHandle<()>,
    tell: watch::Sender<Option<Ended>>,
) {
    let ended = tokio::select! {
        ended = docker.end_of(&container) => ended,
        // Nobody wants to know any more.
        () = tell.closed() => return,
    };
    let _all_read = tokio::time::timeout(LAST_WORDS_WAIT, follower).await;
    tell.send_replace(Some(ended));
}

type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, Error>> + Send>>;

/// While nobody reads, Docker stops to take what the container prints: a flood is held back as by a full pipe.
async fn follow(mut output: Output, follower: Follower) {
    let mut streams = [follower.clone(), follower];
    while let Some(Ok(output)) = output.next().await {
        let stream = usize::from(matches!(output, LogOutput::StdErr { .. }));
        streams[stream].take(&output.into_bytes()).await;
    }
    streams.into_iter().for_each(Follower::finish);
}

/// From before its first line.
pub(super) fn output() -> AttachContainerOptions {
    AttachContainerOptions { stream: true, stdout: true, stderr: true, ..Default::default() }
}

/// For people who look at `docker ps`, and of no other container on this machine.
fn name(start: &Start<'_>) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let model = start.model.chars().map(|c| if allowed(c) { c } else { '_' });
    let model: String = model.take(NAME_CHARS_MAX).collect();
    let unique = RandomState::new().hash_one(start.home) as u32;
    format!("foil-{model}-{}-{}-{unique:08x}", start.version, start.replica)
}

/// The first process of a container: when it dies, so do all others in it.
struct Init {
    pid: u32,
    handle: OwnedFd,
}

impl Init {
    /// None where the process is not to be seen from here, or not that container's.
    fn of(pid: i64, id: &str) -> Option<Init> {
        let number = i32::try_from(pid).ok().filter(|pid| *pid > 0)?;
        let handle = pidfd_open(Pid::from_raw(number)?, PidfdFlags::empty()).ok()?;
        // After it was opened: the number may belong to another process by now.
        let groups = fs::read_to_string(format!("/proc/{number}/cgroup")).ok()?;
        let ours = !id.is_empty() && groups.contains(id);
        ours.then(|| Init { pid: number.cast_unsigned(), handle })
    }

    /// False where this engine may not.
    fn kill(&self) -> bool {
        pidfd_send_signal(&self.handle, Signal::KILL).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bollard::models::HostConfig;
    use tokio::runtime::{Builder, LocalOptions};

    use super::*;
    use crate::clock::Clock;
    use crate::fleet::launch::docker::Settings;
    use crate::fleet::launch::process::Programs;
    use crate::fleet::target::Program;
    use crate::ids::{ReplicaId, Version};

    #[test]
    fn a_status_above_128_is_a_signal() {
        assert_eq!(ended(3, false).to_string(), "exit status: 3");
        assert_eq!(ended(137, false).to_string(), "signal: 9 (SIGKILL)");
        assert!(ended(137, true).to_string().contains("memory"));
    }

    /// Needs a daemon and the images of `cargo xtask images`; a start would need a GPU.
    #[test]
    fn docker_takes_the_request_for_a_gpu_as_it_is_made() {
        let runtime =
            Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        runtime.expect("a runtime").block_on(async {
            let sockets = std::env::temp_dir().join(format!("foil-gpu-{}", std::process::id()));
            let docker = Docker::new(Settings { sockets: sockets.clone(), ..Settings::default() });
            if !docker.is_there().await {
                return eprintln!("skipped: it needs Docker");
            }
            fs::create_dir_all(&sockets).expect("a directory");
            let asked = gpu_container(&docker, &sockets).await;
            fs::remove_dir_all(&sockets).expect("it was made");
            match asked {
                Err(DockerError::NoImage { .. }) => eprintln!("skipped: it needs the images"),
                asked => check(asked.expect("created and described")),
            }
        });
    }

    /// Created, described and removed again.
    async fn gpu_container(docker: &Rc<Docker>, home: &Path) -> Result<HostConfig, DockerError> {
        let program = Program::Native { kind: "noop".into(), directory: home.to_owned() };
        let start = Start {
            program: &program,
            programs: &Programs::find(None),
            env: Vec::new(),
            model: "on-a-gpu".into(),
            version: Version(1),
            replica: ReplicaId(0),
            label: String::new(),
            clock: Clock::start(),
            home,
            socket: &home.join("sock"),
            user: None,
            cpus: None,
            memory_node: None,
            gpu: Some("GPU-1"),
            stands_back: false,
            image: None,
            memory_bytes: 64 << 20,
        };
        let name = name(&start);
        docker.create(&name, &start, &body::image(&program)).await?;
        let client = docker.client().await?;
        let about = client.inspect_container(&name, None::<InspectContainerOptions>);
        let about = within(Call::Inspect, about).await;
        docker.remove(&name).await?;
        Ok(about?.host_config.unwrap_or_default())
    }

    fn check(host: HostConfig) {
        let [request] = &host.device_requests.expect("a request")[..] else { panic!("one") };
        assert_eq!(request.driver.as_deref(), Some("nvidia"));
        assert_eq!(request.device_ids, Some(vec!["GPU-1".to_owned()]));
        let capabilities = request.capabilities.as_ref().expect("some");
        assert_eq!(*capabilities, [["gpu", "compute", "utility"]]);
        let limits = host.ulimits.expect("limits");
        let memlock = limits.iter().find(|it| it.name.as_deref() == Some("memlock"));
        assert_eq!(memlock.map(|it| (it.soft, it.hard)), Some((Some(-1), Some(-1))));
    }
}
