//! Fetching an image from its registry, with lines on stderr while it goes on.

use std::collections::BTreeMap;

use bollard::errors::Error;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptions;
use futures_util::StreamExt;

use super::{Call, Docker, DockerError, error};

/// Layers that are counted; an image has at most 127.
const LAYERS_MAX: usize = 256;
/// Between two lines about the same pull, in percent.
const STEP_PERCENT: u64 = 10;

impl Docker {
    pub(super) async fn pull(&self, image: &str) -> Result<(), DockerError> {
        let _one_at_a_time = self.pulling.lock().await;
        let client = self.client().await?;
        if super::within(Call::Inspect, client.inspect_image(image)).await.is_ok() {
            return Ok(());
        }
        let asked = CreateImageOptions { from_image: Some(tagged(image)), ..Default::default() };
        let mut steps = Box::pin(client.create_image(Some(asked), None, None));
        let mut progress = Progress::default();
        eprintln!("pulling {image}");
        let bound = Call::Pull.bound();
        loop {
            let step = tokio::time::timeout(bound, steps.next()).await;
            let slow = |_| DockerError::Slow { call: Call::Pull, seconds: bound.as_secs() };
            match step.map_err(slow)? {
                None => break,
                Some(Ok(step)) => progress
                    .heard(&step)
                    .iter()
                    .for_each(|line| eprintln!("pulling {image}: {line}")),
                Some(Err(error)) => return Err(failed(image, error)),
            }
        }
        eprintln!("pulled  {image}");
        Ok(())
    }
}

fn failed(image: &str, error: Error) -> DockerError {
    let why = match error {
        Error::DockerStreamError { error } => error,
        error => match error::of(Call::Pull, error) {
            DockerError::Refused { message, .. } => message,
            other => return other,
        },
    };
    DockerError::Pull { image: image.to_owned(), why }
}

/// Without a tag Docker would fetch all there are.
fn tagged(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

/// Bytes of each layer: arrived, and in all.
#[derive(Default)]
struct Progress {
    layers: BTreeMap<String, (u64, u64)>,
    said_percent: u64,
}

impl Progress {
    /// A line when there is something new to say.
    fn heard(&mut self, step: &CreateImageInfo) -> Option<String> {
        let (id, detail) = (step.id.as_ref()?, step.progress_detail.as_ref()?);
        let (arrived, total) = (detail.current?.unsigned_abs(), detail.total?.unsigned_abs());
        // Then it is unpacked, and counted anew.
        if step.status.as_deref() != Some("Downloading") || total == 0 {
            return None;
        }
        if self.layers.len() < LAYERS_MAX || self.layers.contains_key(id) {
            self.layers.insert(id.clone(), (arrived.min(total), total));
        }
        let (arrived, total) =
            self.layers.values().fold((0, 0), |sum, layer| (sum.0 + layer.0, sum.1 + layer.1));
        let percent = arrived * 100 / total;
        if percent < self.said_percent + STEP_PERCENT {
            return None;
        }
        self.said_percent = percent;
        Some(format!("{} of {} MB ({percent} %)", arrived / 1_000_000, total / 1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::ProgressDetail;

    fn step(id: &str, status: &str, current: i64, total: i64) -> CreateImageInfo {
        let progress_detail = Some(ProgressDetail { current: Some(current), total: Some(total) });
        let (id, status) = (Some(id.to_owned()), Some(status.to_owned()));
        CreateImageInfo { id, status, progress_detail, ..Default::default() }
    }

    #[test]
    fn progress_is_told_every_tenth_of_all_layers_and_once() {
        let mut progress = Progress::default();
        let first = progress.heard(&step("a", "Downloading", 20_000_000, 100_000_000));
        assert_eq!(first.as_deref(), Some("20 of 100 MB (20 %)"));
        assert_eq!(progress.heard(&step("a", "Downloading", 21_000_000, 100_000_000)), None);
        assert_eq!(progress.heard(&step("a", "Extracting", 90_000_000, 100_000_000)), None);
        let both = progress.heard(&step("b", "Downloading", 60_000_000, 100_000_000));
        assert_eq!(both.as_deref(), Some("81 of 200 MB (40 %)"));
    }

    #[test]
    fn an_image_without_a_tag_is_the_latest_one() {
        assert_eq!(tagged("localhost:5000/mine"), "localhost:5000/mine:latest");
        assert_eq!(tagged("mine:2"), "mine:2");
        assert_eq!(tagged("mine@sha256:00"), "mine@sha256:00");
    }
}
