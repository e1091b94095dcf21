//! The load generator's core and the measurements made with it.
//!
//! It meets the engine over HTTP and gRPC only. Deciding when to send ([`arrivals`]), what to send ([`payload`]), what an answer
//! is ([`response`]) and how two servers compare ([`compare`]) is pure; [`driver`] and [`grpc`] are the shells that keep time.
//! [`samples`] and [`twin`] serve the benchmarks of other crates: one loop and one way to start a second process.
#![forbid(unsafe_code)]

pub mod arrivals;
pub mod clock;
pub mod compare;
pub mod driver;
pub mod environment;
pub mod floor;
pub mod grpc;
pub mod http;
pub mod lanes;
pub(crate) mod ledger;
pub mod measured;
pub mod micro;
pub mod overhead;
pub mod payload;
pub mod plan;
pub mod proc;
pub mod record;
pub mod report;
pub mod response;
pub mod run;
pub mod samples;
pub(crate) mod schedule;
pub mod slo;
pub mod threads;
pub mod timing;
pub mod trace;
pub mod twin;
pub mod verdict;
