//! What connections come from: TCP, or a Unix socket for clients on this machine. One code for both, chosen when it is
//! compiled.

use std::future::Future;
use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// A listener that never blocks.
pub trait Listener: Sized + 'static {
    /// The same while the runtime watches it.
    type Watched;
    type Stream: AsyncRead + AsyncWrite + Unpin + 'static;

    fn watch(self) -> io::Result<Self::Watched>;
    fn unwatch(watched: Self::Watched) -> io::Result<Self>;
    fn accept(watched: &Self::Watched) -> impl Future<Output = io::Result<Self::Stream>>;
    /// What waits already; the outer error says that nothing does, the inner one is of one connection.
    fn accept_now(&self) -> io::Result<io::Result<Self::Stream>>;
}

impl Listener for std::net::TcpListener {
    type Watched = TcpListener;
    type Stream = TcpStream;

    fn watch(self) -> io::Result<TcpListener> {
        TcpListener::from_std(self)
    }

    fn unwatch(watched: TcpListener) -> io::Result<Self> {
        watched.into_std()
    }

    async fn accept(watched: &TcpListener) -> io::Result<TcpStream> {
        Ok(watched.accept().await?.0)
    }

    fn accept_now(&self) -> io::Result<io::Result<TcpStream>> {
        let (stream, _) = self.accept()?;
        Ok(stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)))
    }
}

impl Listener for std::os::unix::net::UnixListener {
    type Watched = UnixListener;
    type Stream = UnixStream;

    fn watch(self) -> io::Result<UnixListener> {
        UnixListener::from_std(self)
    }

    fn unwatch(watched: UnixListener) -> io::Result<Self> {
        watched.into_std()
    }

    async fn accept(watched: &UnixListener) -> io::Result<UnixStream> {
        Ok(watched.accept().await?.0)
    }

    fn accept_now(&self) -> io::Result<io::Result<UnixStream>> {
        let (stream, _) = self.accept()?;
        Ok(stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream)))
    }
}
