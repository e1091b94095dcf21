//! Every listener of the engine: bound here, or inherited from the engine before this one. A duplicate of each is kept,
//! to be handed on.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

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

    /// A port that is nobody else's. With port 0 the system chooses, and `address` says what.
    pub(super) fn alone(
        &mut self,
        role: Role,
        address: &mut SocketAddr,
    ) -> Result<TcpListener, ServeError> {
        let listener = match self.take_tcp(role, *address) {
            Some(listener) => listener,
            None => {
                bind(*address).map_err(|source| ServeError::Listen { address: *address, source })?
            }
        };
        *address = listener.local_addr().map_err(system("read a listener's address"))?;
        self.keep(role, &listener)?;
        Ok(listener)
    }

    /// One listener for each of the cores, all on one port. Where the engine before this one had more cores, the last
    /// gets what is left: clients may wait there.
    pub(super) fn one_each(
        &mut self,
        role: Role,
        address: &mut SocketAddr,
        cores: usize,
    ) -> Result<Vec<Vec<TcpListener>>, ServeError> {
        let mut all = Vec::new();
        while let Some(listener) = self.take_tcp(role, *address) {
            *address = listener.local_addr().map_err(system("read a listener's address"))?;
            all.push(listener);
        }
        if all.is_empty() {
            check_free(*address)?;
        }
        while all.len() < cores {
            all.push(listen(address)?);
        }
        for listener in &all {
            self.keep(role, listener)?;
        }
        let rest = all.split_off(cores);
        let mut each: Vec<_> = all.into_iter().map(|listener| vec![listener]).collect();
        if let Some(last) = each.last_mut() {
            last.extend(rest);
        }
        Ok(each)
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

    fn keep(&mut self, role: Role, listener: &TcpListener) -> Result<(), ServeError> {
        let kept = listener.try_clone().map_err(system("duplicate a listener"))?;
        self.kept.push((role, kept.into()));
        Ok(())
    }

    fn take_tcp(&mut self, role: Role, address: SocketAddr) -> Option<TcpListener> {
        let wanted = |listener: &TcpListener| {
            let is = listener.local_addr();
            is.is_ok_and(|is| is.ip() == address.ip() && [0, is.port()].contains(&address.port()))
        };
        self.take(role, |it| TcpListener::from(it.try_clone().ok()?).into(), wanted)
    }

    fn take_unix(&mut self, role: Role, path: &Path) -> Option<UnixListener> {
        let wanted = |listener: &UnixListener| {
            listener.local_addr().is_ok_and(|is| is.as_pathname() == Some(path))
        };
        self.take(role, |it| UnixListener::from(it.try_clone().ok()?).into(), wanted)
    }

    fn take<L>(
        &mut self,
        role: Role,
        listener: impl Fn(&OwnedFd) -> Option<L>,
        wanted: impl Fn(&L) -> bool,
    ) -> Option<L> {
        let place = self.inherited.iter().position(|(is, descriptor)| {
            *is == role && listener(descriptor).is_some_and(|it| wanted(&it))
        })?;
        listener(&self.inherited.remove(place).1)
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
