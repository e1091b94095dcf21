//! Starts what is compared: bare hyper, ours and the peers, each with its whole tree on the server's core.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::PeersError;
use super::cell::Cell;
use super::settings::{Json, Peer, Setting};
use crate::overhead::ask::{Dialect, Form};
use crate::overhead::servers::{Foil, Server, Workplace, free_address};

/// Ours, as `bench/models` holds them.
const MODELS: [(&str, &str); 3] = [
    ("noop", include_str!("../../models/noop.py")),
    ("linear", include_str!("../../models/linear.py")),
    ("mlp", include_str!("../../models/mlp.py")),
];

/// Ports that a peer may want beside the one it is asked on.
const SPARE_PORTS: usize = 3;

/// Where programs lie and run.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) foil: PathBuf,
    pub(super) foil_python: Option<PathBuf>,
    /// The peers' programs: `bench/peers`.
    pub(super) programs: PathBuf,
    /// Their environments: a folder for each peer.
    pub(super) environments: PathBuf,
    pub(super) core: usize,
}

impl Place {
    pub(super) fn python(&self, peer: &str) -> PathBuf {
        self.environments.join(peer).join("bin/python")
    }

    pub(super) fn shared(&self) -> PathBuf {
        self.programs.join("shared")
    }
}

/// What any server of this form costs.
pub(super) fn floor(
    place: &Place,
    workplace: &Workplace,
    cell: Cell,
) -> Result<Server, PeersError> {
    Ok(match cell.form {
        Form::Binary | Form::Json => Server::floor(workplace, place.core)?,
        Form::Grpc => Server::grpc_floor(workplace, place.core)?,
    })
}

/// One model and its default configuration.
pub(super) fn ours(place: &Place, workplace: &Workplace, cell: Cell) -> Result<Server, PeersError> {
    let target = format!("{}.py", cell.model);
    let text = MODELS.iter().find(|(name, _)| *name == cell.model).map_or("", |(_, text)| text);
    workplace.write(&target, text)?;
    let foil = Foil {
        program: &place.foil,
        python: place.foil_python.as_deref(),
        core: Some(place.core),
        cores: &[place.core],
        target: &target,
    };
    Ok(Server::serving_over(workplace, &foil, Dialect::oip(cell.form))?)
}

pub(super) fn peer(
    place: &Place,
    workplace: &Workplace,
    peer: &Peer,
    setting: &Setting,
    cell: Cell,
) -> Result<Server, PeersError> {
    let address = free_address(setting.name)?;
    let mut spare = Vec::with_capacity(SPARE_PORTS);
    for _ in 0..SPARE_PORTS {
        spare.push(free_address(setting.name)?.port().to_string());
    }
    let folder = format!("{}-{}", setting.name, cell.key());
    workplace.write(&format!("{folder}/.here"), "")?;
    let folder = workplace.file(&folder);
    let mut command = python(&place.python(peer.name), &place.shared());
    command.arg(place.programs.join(peer.name).join("serve.py")).current_dir(&folder);
    // mosec takes its address from the command line only.
    if peer.name == "mosec" {
        command.args(["--address", "127.0.0.1", "--port", &address.port().to_string()]);
    }
    command.env("PEER_MODEL", cell.model).env("PEER_ENCODING", cell.form.name());
    command.env("PEER_PORT", address.port().to_string());
    command.env("PEER_SPARE_PORTS", spare.join(",")).env("PEER_FOLDER", &folder);
    command.env("PEER_BATCH_MAX", setting.batch_max.to_string());
    command.env("PEER_DELAY_MS", setting.delay_ms.map_or(String::new(), |ms| ms.to_string()));
    command.env("PEER_JSON", if setting.json == Json::Orjson { "orjson" } else { "json" });
    let ready_path = peer.ready_path.replace("{model}", cell.model);
    let core = Some(place.core);
    if cell.form != Form::Grpc {
        let server = Server::start(workplace, setting.name, peer.dialect, address, core, command)?;
        return Ok(server.ready(&ready_path)?);
    }
    let grpc = free_address(setting.name)?;
    command.env("PEER_GRPC_PORT", grpc.port().to_string());
    let server = Server::start(workplace, setting.name, Dialect::Grpc, grpc, core, command)?;
    Ok(server.ready_at(address, &ready_path)?)
}

/// A Python with what the peers share on its path, one thread for linear algebra and no byte code left behind.
pub(super) fn python(program: &Path, shared: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("PYTHONPATH", shared).env("PYTHONDONTWRITEBYTECODE", "1");
    for threads in ["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"] {
        command.env(threads, "1");
    }
    command
}
