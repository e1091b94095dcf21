//! Clipper's containers in the composition: where they dial in, and whether they bring their models.

use std::net::SocketAddr;
use std::rc::Rc;

use super::{ServeError, system};
use crate::clipper_rpc::{Port, Registry, Strangers};
use crate::config::Config;
use crate::fleet::supervisor::Fleet;

pub(super) fn bind(address: SocketAddr) -> Result<Port, ServeError> {
    Port::bind(address).map_err(|source| ServeError::Listen { address, source })
}

/// Lets them in from now on.
pub(super) fn open(
    port: Option<Port>,
    fleet: &Fleet,
    config: &Config,
) -> Result<Option<Rc<Registry>>, ServeError> {
    let Some(port) = port else { return Ok(None) };
    // Where there is an admin API, whoever uses it says which models there are.
    let strangers = match config.clipper {
        Some(_) => Strangers::Wait,
        None => Strangers::Register,
    };
    let opened = port.open(fleet.shared(), strangers);
    opened.map(Some).map_err(system("start the thread for containers"))
}
