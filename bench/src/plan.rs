//! What a driver is asked to do: whom to load, with what, how, for how long. Pure.

use std::time::Duration;

use crate::address::Address;
use crate::arrivals::Arrivals;
use crate::check::{Mismatch, Reference};

/// Of a wrong answer's text, what a report shows: enough for a server's own words.
const TOLD_BYTES_MAX: usize = 200;
/// Connections of one run; a process may open 1,024 descriptors by default.
pub const CONNECTIONS_MAX: usize = 1_000;

/// Whom to load and with what: the requests go out in turn, again and again.
#[derive(Clone, Debug)]
pub struct Target {
    pub address: Address,
    pub transport: Transport,
    /// At least one.
    pub requests: Vec<Request>,
}

/// What carries the requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    #[default]
    Http1,
    Grpc,
}

/// One question and what a right answer to it is.
#[derive(Clone, Debug)]
pub struct Request {
    /// HTTP: head and body. gRPC: the message.
    pub bytes: Vec<u8>,
    pub expect: Expect,
}

#[derive(Clone, Debug, Default)]
pub struct Expect {
    /// None: anything from 200 to 299.
    pub status: Option<u16>,
    /// Compared byte by byte where given.
    pub body: Option<Vec<u8>>,
    /// Read out of the body and compared within a tolerance where given.
    pub values: Option<Reference>,
}

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wrong {
    Status,
    Body,
    Values(Mismatch),
}

impl Target {
    pub fn one(address: impl Into<Address>, bytes: Vec<u8>, expect: Expect) -> Target {
        let address = address.into();
        Target { address, transport: Transport::Http1, requests: vec![Request { bytes, expect }] }
    }
}

impl Expect {
    /// Status 200, and this body byte by byte.
    pub fn same(body: Vec<u8>) -> Expect {
        Expect { status: Some(200), body: Some(body), values: None }
    }

    /// `header_bytes`: the length of the JSON ahead of binary tensors, where the answer has them.
    pub fn check(
        &self,
        status: u16,
        body: &[u8],
        header_bytes: Option<usize>,
    ) -> Result<(), Wrong> {
        let status_is_right =
            self.status.map_or((200..300).contains(&status), |expected| expected == status);
        if !status_is_right {
            return Err(Wrong::Status);
        }
        if self.body.as_ref().is_some_and(|expected| expected != body) {
            return Err(Wrong::Body);
        }
        match &self.values {
            None => Ok(()),
            Some(values) => values.check(body, header_bytes).map_err(Wrong::Values),
        }
    }

    /// What is wrong with an answer, in words.
    pub fn tell(&self, wrong: Wrong, status: u16, body: &[u8]) -> String {
        match wrong {
            Wrong::Status => format!("status {status}: {}", beginning(body)),
            Wrong::Body => {
                let expected = self.body.as_deref().unwrap_or_default();
                let pairs = expected.iter().zip(body);
                let place = pairs.take_while(|(expected, found)| expected == found).count();
                let (expected, found) = (beginning(&expected[place..]), beginning(&body[place..]));
                format!("from byte {place} on the body is '{found}', expected was '{expected}'")
            }
            Wrong::Values(mismatch) => mismatch.to_string(),
        }
    }
}

fn beginning(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(TOLD_BYTES_MAX)]).into_owned()
}

#[derive(Clone, Debug, Default)]
pub enum Load {
    /// Each connection asks again as soon as it is answered.
    #[default]
    Closed,
    /// Requests are due when the arrivals say so, whether or not the server keeps up.
    Open(Arrivals),
    /// Open loop with every due time given, ascending nanoseconds from the start.
    Listed(Vec<u64>),
}

impl Load {
    /// None: the loop is closed.
    pub fn due_times(&self) -> Option<Due> {
        match self {
            Load::Closed => None,
            Load::Open(arrivals) => Some(Due::Endless(arrivals.clone())),
            Load::Listed(due_ns) => Some(Due::Listed(due_ns.clone().into_iter())),
        }
    }
}

/// The due times of an open loop, nanoseconds from the start.
pub enum Due {
    Endless(Arrivals),
    Listed(std::vec::IntoIter<u64>),
}

impl Iterator for Due {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        match self {
            Due::Endless(arrivals) => arrivals.next(),
            Due::Listed(due_ns) => due_ns.next(),
        }
    }
}

/// How the driver waits for answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// Never sleeps: for a driver that owns its core. Its wake-up then isn't part of the latency.
    Spin,
    #[default]
    Sleep,
}

#[derive(Clone, Debug)]
pub struct Plan {
    /// Open before time starts.
    pub connections: usize,
    /// An open loop that finds all of them busy opens more, up to this many.
    pub connections_max: usize,
    pub load: Load,
    pub wait: Wait,
    /// Sent and answered, but not recorded.
    pub warm_up: Duration,
    pub measure: Duration,
    pub requests_max: u64,
}

impl Plan {
    /// A closed loop over so many connections, for as long.
    pub fn closed(connections: usize, measure: Duration) -> Plan {
        Plan {
            connections,
            connections_max: connections,
            load: Load::Closed,
            wait: Wait::Sleep,
            warm_up: Duration::ZERO,
            measure,
            requests_max: u64::MAX,
        }
    }
}

/// The moments at which a caller reads the server's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    MeasureStarts,
    MeasureEnds,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_success_will_do_unless_one_is_named() {
        let any = Expect::default();
        assert_eq!([200, 204, 299].map(|status| any.check(status, b"", None)), [Ok(()); 3]);
        assert_eq!(
            [199, 302, 503].map(|status| any.check(status, b"", None)),
            [Err(Wrong::Status); 3]
        );
        let busy = Expect { status: Some(503), ..Expect::default() };
        assert_eq!(busy.check(503, b"busy", None), Ok(()));
        assert_eq!(busy.check(200, b"", None), Err(Wrong::Status));
    }

    #[test]
    fn a_given_body_is_compared_to_its_last_byte() {
        let expect = Expect::same(b"pong".to_vec());
        assert_eq!(expect.check(200, b"pong", None), Ok(()));
        assert_eq!(expect.check(200, b"pong ", None), Err(Wrong::Body));
        assert_eq!(expect.check(201, b"pong", None), Err(Wrong::Status));
    }

    #[test]
    fn what_is_wrong_is_told_in_words() {
        let expect = Expect::same(b"pong 1".to_vec());
        let told = [Wrong::Body, Wrong::Status].map(|wrong| expect.tell(wrong, 503, b"pong 2"));
        let [body, status] = told;
        assert_eq!(body, "from byte 5 on the body is '2', expected was '1'");
        assert_eq!(status, "status 503: pong 2");
        let long = Expect::default().tell(Wrong::Status, 500, &[b'x'; 1_000]);
        assert_eq!(long.len(), "status 500: ".len() + TOLD_BYTES_MAX);
    }
}
