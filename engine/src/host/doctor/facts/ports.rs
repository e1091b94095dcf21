//! Where `foil serve` would listen: by the same flags and variables, else where it does unless it is told otherwise.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cli::Addresses;
use crate::config;

/// An engine says at its HTTP who it is.
const WHO: &[u8] = b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const NAME: &str = "\"name\":\"hydrofoil\"";
/// An engine answers within a millisecond, in a few hundred bytes.
const ANSWER_WAIT: Duration = Duration::from_secs(1);
const ANSWER_BYTES_MAX: u64 = 4096;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::host::doctor) enum Port {
    Free,
    /// Taken, while an engine of ours answers at the first of them.
    Ours,
    Taken,
    Refused {
        why: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::host::doctor) struct Looked {
    /// HTTP, gRPC or metrics.
    pub(in crate::host::doctor) what: &'static str,
    pub(in crate::host::doctor) number: u16,
    pub(in crate::host::doctor) found: Port,
}

pub(super) async fn read(flags: &Addresses) -> Vec<Looked> {
    let http = flags.http.unwrap_or(config::HTTP);
    let grpc = flags.grpc.unwrap_or(config::GRPC);
    let metrics = flags.metrics.unwrap_or(config::METRICS);
    let ports = [("HTTP", http), ("gRPC", grpc), ("metrics", metrics)];
    let ports = ports.map(|(what, at)| Looked { what, number: at.port(), found: look(at) });
    let is_ours = ports[0].found == Port::Taken && is_engine(http).await;
    let whose = |port| if is_ours && port == Port::Taken { Port::Ours } else { port };
    ports.into_iter().map(|it| Looked { found: whose(it.found), ..it }).collect()
}

fn look(at: SocketAddr) -> Port {
    match TcpListener::bind(at) {
        Ok(_) => Port::Free,
        Err(error) if error.kind() == ErrorKind::AddrInUse => Port::Taken,
        Err(error) => Port::Refused { why: error.to_string() },
    }
}

async fn is_engine(at: SocketAddr) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(at).await?;
        stream.write_all(WHO).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        std::io::Result::Ok(String::from_utf8_lossy(&answer).contains(NAME))
    };
    tokio::time::timeout(ANSWER_WAIT, asked).await.is_ok_and(|answered| answered.unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use super::*;

    /// Any port that is free.
    const ANY: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));

    #[test]
    fn a_port_is_free_or_taken() {
        let taken = TcpListener::bind(ANY).expect("a free port");
        assert_eq!(look(taken.local_addr().expect("it is bound")), Port::Taken);
        assert_eq!(look(ANY), Port::Free);
    }

    #[tokio::test]
    async fn an_engine_is_known_by_its_name() {
        for (body, is_ours) in [(NAME, true), ("\"name\":\"triton\"", false)] {
            let listener = tokio::net::TcpListener::bind(ANY).await.expect("a port");
            let at = listener.local_addr().expect("it is bound");
            let answer = async {
                let (mut stream, _) = listener.accept().await.expect("it is asked");
                let mut asked = vec![0; WHO.len()];
                stream.read_exact(&mut asked).await.expect("the whole question");
                let text = format!("HTTP/1.1 200 OK\r\n\r\n{{{body}}}");
                stream.write_all(text.as_bytes()).await.expect("it is answered");
            };
            let (found, ()) = tokio::join!(is_engine(at), answer);
            assert_eq!(found, is_ours);
        }
    }
}
