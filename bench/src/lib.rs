//! The load generator's core and the measurements made with it.
//!
//! It meets the engine over HTTP and gRPC only. Deciding when to send ([`arrivals`]), what to send ([`payload`]), what an answer
//! is ([`response`]), whether it is right ([`check`]) and how two servers compare ([`compare`]) is pure; [`request`]
//! reads a scenario's files and the model's metadata; [`driver`] and [`grpc`] are the shells that keep time.
//! [`samples`] and [`twin`] serve the benchmarks of other crates: one loop and one way to start a second process.
#![forbid(unsafe_code)]

pub mod address;
pub mod arrivals;
pub mod budget;
pub mod check;
pub(crate) mod clients;
pub mod clock;
pub mod compare;
pub mod driver;
pub mod environment;
pub mod floor;
pub mod gpu_check;
pub mod grpc;
pub mod http;
pub mod interrupt;
pub mod interval;
pub mod lanes;
pub(crate) mod ledger;
pub mod measured;
pub mod micro;
pub mod mlperf;
pub mod outcome;
pub mod output;
pub mod overhead;
pub mod pairs;
pub mod payload;
pub mod peers;
pub mod pinning;
pub mod plan;
pub mod proc;
pub mod prove;
pub mod record;
pub mod reload;
pub mod report;
pub mod request;
pub mod response;
pub mod rounds;
pub mod run;
pub mod samples;
pub mod scenario;
pub(crate) mod schedule;
pub mod search;
pub mod session;
pub mod slo;
pub mod span;
pub mod sweep;
pub mod synthetic;
pub mod threads;
pub mod timing;
pub mod trace;
pub mod twin;
pub mod two_cores;
pub mod verdict;
