//! The ways in for clients on this machine: HTTP over a Unix socket, and memory they share.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use super::doors::Doors;
use crate::client_shm::passed;
use crate::client_shm::registry::{Bounds, Names, Registry};
use crate::config::{Config, Limits};
use crate::handover::Role;
use crate::socket_file::{MODE_DEFAULT, SocketError, SocketFile};

/// In the state directory of an engine that looks after deployments.
const ADMIN_SOCKET: &str = "admin.sock";

/// All of them may be closed. Their files go with the engine.
pub(super) struct LocalDoors {
    http: Option<(UnixListener, SocketFile)>,
    passing: Option<(UnixListener, SocketFile)>,
    admin: Option<(UnixListener, SocketFile)>,
    registry: Option<Arc<Registry>>,
}

impl LocalDoors {
    pub(super) fn open(config: &Config, doors: &mut Doors) -> Result<LocalDoors, SocketError> {
        let mut open = |role, path: &Option<_>| {
            let path: Option<&Path> = path.as_deref();
            path.map(|path| doors.unix(role, path, config.socket_mode)).transpose()
        };
        let http = open(Role::HttpSocket, &config.http_socket)?;
        let passing = open(Role::ClientMemory, &config.client_shm_socket)?;
        let admin = config.state.as_ref().filter(|_| config.deployments);
        let admin = admin.map(|state| state.join(ADMIN_SOCKET));
        let admin = admin.map(|path| doors.unix(Role::AdminSocket, &path, MODE_DEFAULT));
        let admin = admin.transpose()?;
        let on = config.client_shm || passing.is_some();
        Ok(LocalDoors { http, passing, admin, registry: on.then(|| Arc::new(registry(config))) })
    }

    /// Clients' memory; None: switched off.
    pub(super) fn registry(&self) -> Option<Arc<Registry>> {
        self.registry.clone()
    }

    /// A duplicate of the one listener: whichever core is free first takes the next connection.
    pub(super) fn http_for_a_core(&self) -> io::Result<Option<UnixListener>> {
        self.http.as_ref().map(|(listener, _)| listener.try_clone()).transpose()
    }

    /// For whoever has this user's files: the socket's permissions are the permission.
    pub(super) fn admin(&self) -> io::Result<Option<UnixListener>> {
        self.admin.as_ref().map(|(listener, _)| listener.try_clone()).transpose()
    }

    /// They are another engine's now.
    pub(super) fn leave_files(&self) {
        for (_, file) in [&self.http, &self.passing, &self.admin].into_iter().flatten() {
            file.leave();
        }
    }

    /// Says where the doors are, and takes clients that pass memory. HTTP is the cores' affair.
    pub(super) fn serve(&self) -> io::Result<()> {
        let doors = [("http", &self.http), ("client-shm", &self.passing), ("admin", &self.admin)];
        for (what, door) in doors {
            if let Some((_, file)) = door {
                eprintln!("listening  {what} unix:{}", file.path().display());
            }
        }
        if let (Some((listener, _)), Some(registry)) = (&self.passing, self.registry()) {
            tokio::task::spawn_local(passed::serve(listener.try_clone()?, registry));
        }
        Ok(())
    }
}

fn registry(config: &Config) -> Registry {
    let Limits { client_shm_regions_max, client_shm_bytes_max, .. } = config.limits;
    let bounds = Bounds { regions_max: client_shm_regions_max, bytes_max: client_shm_bytes_max };
    Registry::new(bounds, if config.client_shm { Names::Allowed } else { Names::Refused })
}
