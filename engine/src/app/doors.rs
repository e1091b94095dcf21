//! Every listener of the engine: bound here, or inherited from the engine before this one. A duplicate of each is kept,
//! to be handed on.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use socket2::{SockAddr, SockRef};

use super::{ServeError, check_free, listen, system};
use crate::handover::{Inherited, Predecessor, Role};
use crate::socket_file::{self, SocketError, SocketFile};

#[derive(Default)]
pub(super) struct Doors {
    inherited: Vec<(Role, OwnedFd)>,
    kept: Vec<(Role, OwnedFd)>,
    predecessor: Option<Predecessor>,
}

impl Doors {
    pub(super) fn new(inherited: Option<Inherited>) -> Doors {
        match inherited {
            None => Doors::default(),
            Some(Inherited { listeners, predecessor }) => {
                Doors { inherited: listeners, kept: Vec::new(), predecessor: Some(predecessor) }
            }
        }
    }

    /// Another engine answers until this one relieves it.
    pub(super) fn has_predecessor(&self) -> bool {
        self.predecessor.is_some()
    }

    pub(super) fn predecessor(&mut self) -> Option<Predecessor> {
        self.predecessor.take()
    }

    /// One listener. With port 0 the system chooses, and `address` says what.
    pub(super) fn alone(
        &mut self,
        role: Role,
        address: &mut SocketAddr,
    ) -> Result<TcpListener, ServeError> {
        Ok(self.at_least(1, role, address)?.swap_remove(0))
    }

    /// One listener for each of the cores, all on one port. Where the engine before this one had more cores, the last
    /// gets what is left: clients may wait there.
    pub(super) fn one_each(
        &mut self,
        role: Role,
        address: &mut SocketAddr,
        cores: usize,
    ) -> Result<Vec<Vec<TcpListener>>, ServeError> {
        let mut all = self.at_least(cores, role, address)?.into_iter();
        let mut each: Vec<_> = all.by_ref().take(cores).map(|listener| vec![listener]).collect();
        if let Some(last) = each.last_mut() {
            last.extend(all);
        }
        Ok(each)
    }

    /// All that were inherited, and as many new ones as are missing.
    fn at_least(
        &mut self,
        count: usize,
        role: Role,
        address: &mut SocketAddr,
    ) -> Result<Vec<TcpListener>, ServeError> {
        let mut all = Vec::new();
        while let Some(listener) = self.take_tcp(role, *address) {
            *address = listener.local_addr().map_err(system("read a listener's address"))?;
            all.push(listener);
        }
        if all.is_empty() {
            check_free(*address)?;
        }
        while all.len() < count {
            all.push(listen(address)?);
        }
        for listener in &all {
            let kept = listener.try_clone().map_err(system("duplicate a listener"))?;
            self.kept.push((role, kept.into()));
        }
        Ok(all)
    }

    pub(super) fn unix(
        &mut self,
        role: Role,
        path: &Path,
        mode: u32,
    ) -> Result<(UnixListener, SocketFile), SocketError> {
        let failed = |source| SocketError::Listen { path: path.to_owned(), source };
        let (listener, file) = match self.take_unix(role, path) {
            Some(listener) => (listener, SocketFile::adopt(path).map_err(failed)?),
            None => socket_file::listen(path, mode)?,
        };
        self.kept.push((role, listener.try_clone().map_err(failed)?.into()));
        Ok((listener, file))
    }

    /// What the engine after this one is handed.
    pub(super) fn kept(&self) -> &[(Role, OwnedFd)] {
        &self.kept
    }

    /// Before the others are closed: a client must not wait at a door that nobody opens any more.
    pub(super) fn close(&mut self) {
        self.kept.clear();
    }

    fn take_tcp(&mut self, role: Role, wanted: SocketAddr) -> Option<TcpListener> {
        let is_wanted =
            |is: SocketAddr| is.ip() == wanted.ip() && [0, is.port()].contains(&wanted.port());
        self.take(role, |is| is.as_socket().is_some_and(is_wanted)).map(TcpListener::from)
    }

    fn take_unix(&mut self, role: Role, path: &Path) -> Option<UnixListener> {
        self.take(role, |is| is.as_pathname() == Some(path)).map(UnixListener::from)
    }

    fn take(&mut self, role: Role, is_wanted: impl Fn(SockAddr) -> bool) -> Option<OwnedFd> {
        let place = self.inherited.iter().position(|(is, descriptor)| {
            *is == role && SockRef::from(descriptor).local_addr().is_ok_and(&is_wanted)
        })?;
        Some(self.inherited.remove(place).1)
    }
}
