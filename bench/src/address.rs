//! Where a server is reached: over TCP, or over a Unix socket on this machine.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    /// Named once for the whole program, so that it can be handed around like a number.
    Unix(&'static Path),
}

impl Address {
    /// The socket of this path, which is remembered until the program ends.
    pub fn unix(path: &Path) -> Address {
        Address::Unix(Box::leak(path.into()))
    }

    /// What a request's `Host` says.
    pub fn host(self) -> String {
        match self {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(_) => "localhost".to_owned(),
        }
    }

    pub fn tcp(self) -> Option<SocketAddr> {
        match self {
            Address::Tcp(address) => Some(address),
            Address::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Tcp(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A connection that waits.
#[derive(Debug)]
pub struct Stream {
    pub(crate) address: Address,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// `timeout`: of the connection, of each read and of each write.
    pub(crate) fn connect(address: Address, timeout: Duration) -> io::Result<Stream> {
        let kind = match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect_timeout(&address, timeout)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))?;
                Kind::Tcp(stream)
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))?;
                Kind::Unix(stream)
            }
        };
        Ok(Stream { address, kind })
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.kind {
            Kind::Tcp(stream) => stream.read(into),
            Kind::Unix(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.kind {
            Kind::Tcp(stream) => stream.write(bytes),
            Kind::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
