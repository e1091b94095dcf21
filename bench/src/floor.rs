//! The floor that the engine is measured against: bare hyper on one core. It reads the body, looks at nothing, answers
//! 40 bytes. Same HTTP, runtime, allocator and socket options as the engine; anything the engine costs beyond it is ours.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// Forty bytes: about what an answer with one number takes.
pub const ANSWER: &str = r#"{"model_name":"noop","data":[391.12345]}"#;
/// As many as the engine lets wait to be accepted.
const BACKLOG: i32 = 1024;

/// Serves until the process is ended.
pub fn serve(listen: SocketAddr) -> io::Result<()> {
    accept_all(listen, connection)
}

/// Each connection is a task of this thread.
pub(crate) fn accept_all<C: Future<Output = ()> + 'static>(
    listen: SocketAddr,
    connection: impl Fn(TcpStream) -> C,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async move {
        let listener = bind(listen)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::task::spawn_local(connection(stream));
        }
    })
}

fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(listen), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&listen.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn connection(stream: TcpStream) {
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
    // A client that goes away is how each measurement ends.
    drop(served.await);
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    let mut response = Response::new(Full::new(Bytes::from_static(ANSWER.as_bytes())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_has_forty_bytes() {
        assert_eq!(ANSWER.len(), 40);
    }
}
