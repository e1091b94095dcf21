//! The ports that `foil serve` listens at unless it is told otherwise.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// HTTP, gRPC, metrics.
const PORTS: [u16; 3] = [8000, 8001, 8002];

/// Where an engine says who it is.
const HTTP: u16 = PORTS[0];
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

pub(super) async fn read() -> Vec<(u16, Port)> {
    let ports = PORTS.map(|number| (number, look(number)));
    let is_ours = ports[0].1 == Port::Taken && is_engine(HTTP).await;
    let whose = |port| if is_ours && port == Port::Taken { Port::Ours } else { port };
    ports.into_iter().map(|(number, port)| (number, whose(port))).collect()
}

fn look(port: u16) -> Port {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Port::Free,
        Err(error) if error.kind() == ErrorKind::AddrInUse => Port::Taken,
        Err(error) => Port::Refused { why: error.to_string() },
    }
}

async fn is_engine(port: u16) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(WHO).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        std::io::Result::Ok(String::from_utf8_lossy(&answer).contains(NAME))
    };
    tokio::time::timeout(ANSWER_WAIT, asked).await.is_ok_and(|answered| answered.unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_free_or_taken() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = taken.local_addr().expect("it is bound").port();
        assert_eq!(look(port), Port::Taken);
    }

    #[tokio::test]
    async fn an_engine_is_known_by_its_name() {
        for (body, is_ours) in [(NAME, true), ("\"name\":\"triton\"", false)] {
            let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
            let listener = listener.expect("a port");
            let port = listener.local_addr().expect("it is bound").port();
            let answer = async {
                let (mut stream, _) = listener.accept().await.expect("it is asked");
                let mut asked = vec![0; WHO.len()];
                stream.read_exact(&mut asked).await.expect("the whole question");
                let text = format!("HTTP/1.1 200 OK\r\n\r\n{{{body}}}");
                stream.write_all(text.as_bytes()).await.expect("it is answered");
            };
            let (found, ()) = tokio::join!(is_engine(port), answer);
            assert_eq!(found, is_ours);
        }
    }
}
