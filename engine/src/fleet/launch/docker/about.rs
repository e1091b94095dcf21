//! What kind of Docker this machine has.

use std::time::Duration;

use serde::Serialize;

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
        let devices = info.discovered_devices.unwrap_or_default();
        let mut runtimes: Vec<String> = info.runtimes.unwrap_or_default().into_keys().collect();
        runtimes.sort();
        Ok(Gear {
            version: info.server_version.unwrap_or_default(),
            api: (api.major_version, api.minor_version),
            runtimes,
            cdi_devices: devices.into_iter().filter_map(|device| device.id).collect(),
        })
    }

    pub async fn is_there(&self) -> bool {
        let asked = async { within(Call::Connect, self.client().await?.ping()).await };
        tokio::time::timeout(THERE_WAIT, asked).await.is_ok_and(|answered| answered.is_ok())
    }
}
