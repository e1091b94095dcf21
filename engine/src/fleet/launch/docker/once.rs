//! A single command in an image, in the sandbox of a model, without any of this machine's files.

use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

use bollard::container::LogOutput;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::StartContainerOptions;
use futures_util::StreamExt;

use super::body::{label, sandbox};
use super::container::{RemovedWhenDropped, output};
use super::{Call, Docker, DockerError, orphans, within};
use crate::fleet::launch::users::NOBODY;

/// Bytes kept of what it prints: a list of libraries takes a tenth.
const OUTPUT_BYTES_MAX: usize = 256 << 10;
/// Bytes of memory it may take.
const MEMORY_BYTES: i64 = 1 << 30;

impl Docker {
    /// What it printed to stdout. `command` is a program and its arguments.
    pub async fn run_once(
        self: &Rc<Self>,
        image: &str,
        command: &[&str],
    ) -> Result<String, DockerError> {
        let (call, bound) = (Call::Run, Call::Run.bound());
        let ran = tokio::time::timeout(bound, self.run(image, command)).await;
        ran.unwrap_or(Err(DockerError::Slow { call, seconds: bound.as_secs() }))
    }

    async fn run(self: &Rc<Self>, image: &str, command: &[&str]) -> Result<String, DockerError> {
        let client = self.client().await?;
        self.used();
        let name = format!("foil-once-{:016x}", RandomState::new().hash_one(image));
        let _removed = RemovedWhenDropped::new(self, &name);
        self.create_once(&name, image, self.body_once(image, command)).await?;
        let attached = client.attach_container(&name, Some(output()));
        let mut attached = within(Call::Attach, attached).await?;
        within(Call::Start, client.start_container(&name, None::<StartContainerOptions>)).await?;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        while let Some(Ok(part)) = attached.output.next().await {
            let into = if matches!(part, LogOutput::StdErr { .. }) { &mut err } else { &mut out };
            let part = part.into_bytes();
            let room = OUTPUT_BYTES_MAX.saturating_sub(into.len());
            into.extend_from_slice(&part[..part.len().min(room)]);
        }
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        match self.wait(&name).await? {
            0 => Ok(text(out)),
            code => Err(DockerError::Run { code, output: text(err).trim().to_owned() }),
        }
    }

    fn body_once(&self, image: &str, command: &[&str]) -> ContainerCreateBody {
        let command: Vec<String> = command.iter().map(|it| it.to_string()).collect();
        let (program, arguments) = command.split_at(command.len().min(1));
        let labels = [
            (label::ENGINE, std::process::id().to_string()),
            (label::HOME, self.settings.sockets.join("once").display().to_string()),
            (label::BOOT, orphans::boot()),
        ];
        ContainerCreateBody {
            image: Some(image.to_owned()),
            user: Some(format!("{NOBODY}:{NOBODY}")),
            entrypoint: Some(program.to_vec()),
            cmd: Some(arguments.to_vec()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            labels: Some(labels.map(|(label, value)| (label.to_owned(), value)).into()),
            host_config: Some(HostConfig {
                memory: Some(MEMORY_BYTES),
                memory_swap: Some(MEMORY_BYTES),
                ..sandbox()
            }),
            ..Default::default()
        }
    }
}
