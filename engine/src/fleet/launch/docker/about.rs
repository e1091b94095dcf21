//! What kind of Docker this machine has.

use std::time::Duration;

use bollard::models::SystemInfo;
use serde::Serialize;

use super::gpu::CDI_DRIVER;
use super::{Call, Docker, DockerError, within};

/// A daemon that is there says so within milliseconds; whoever lists launchers doesn't wait longer for one that isn't.
const THERE_WAIT: Duration = Duration::from_secs(1);

/// For people, and for `GET /fleet`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct About {
    pub version: String,
    /// Of the API that is spoken with it.
    pub api: String,
    /// What it can't do for a container's sandbox.
    pub warnings: Vec<String>,
}

/// What it has to run containers with, for who looks after the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gear {
    pub version: String,
    pub api: (usize, usize),
    pub runtimes: Vec<String>,
    /// Devices that it lists by their names in the Container Device Interface; it does since API 1.50.
    pub cdi_devices: Vec<String>,
}

impl Docker {
    pub async fn about(&self) -> Result<About, DockerError> {
        let client = self.client().await?;
        let api = client.client_version();
        let info = within(Call::Info, client.info()).await?;
        Ok(About {
            version: info.server_version.unwrap_or_default(),
            api: format!("{}.{}", api.major_version, api.minor_version),
            warnings: info.warnings.unwrap_or_default(),
        })
    }

    pub async fn gear(&self) -> Result<Gear, DockerError> {
        let client = self.client().await?;
        let api = client.client_version();
        let info = within(Call::Info, client.info()).await?;
        Ok(gear(info, (api.major_version, api.minor_version)))
    }

    pub async fn is_there(&self) -> bool {
        let asked = async { within(Call::Connect, self.client().await?.ping()).await };
        tokio::time::timeout(THERE_WAIT, asked).await.is_ok_and(|answered| answered.is_ok())
    }
}

fn gear(info: SystemInfo, api: (usize, usize)) -> Gear {
    let mut devices = info.discovered_devices.unwrap_or_default();
    devices.retain(|device| device.source.as_deref() == Some(CDI_DRIVER));
    let mut runtimes: Vec<String> = info.runtimes.unwrap_or_default().into_keys().collect();
    runtimes.sort();
    Gear {
        version: info.server_version.unwrap_or_default(),
        api,
        runtimes,
        cdi_devices: devices.into_iter().filter_map(|device| device.id).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_is_heard_on_devices_of_the_interface_only() {
        let device = |source: &str, id: &str| bollard::models::DeviceInfo {
            source: Some(source.into()),
            id: Some(id.into()),
        };
        let listed = vec![device("cdi", "nvidia.com/gpu=GPU-1"), device("other", "x")];
        let info = SystemInfo { discovered_devices: Some(listed), ..Default::default() };
        let cdi_devices = vec!["nvidia.com/gpu=GPU-1".to_owned()];
        assert_eq!(gear(info, (1, 52)), Gear { api: (1, 52), cdi_devices, ..Gear::default() });
    }
}
