//! The load generator's core and the measurements made with it.
//!
//! It meets the engine over HTTP only. Deciding when to send ([`arrivals`]), what to send ([`payload`]), what an answer
//! is ([`response`]) and how two servers compare ([`compare`]) is pure; [`driver`] is the shell that keeps time.
//! [`samples`] and [`twin`] serve the benchmarks of other crates: one loop and one way to start a second process.
#![forbid(unsafe_code)]

pub mod arrivals;
pub mod clock;
pub mod compare;
pub mod driver;
pub mod floor;
pub mod http;
pub mod lanes;
pub mod micro;
pub mod overhead;
pub mod payload;
pub mod proc;
pub mod record;
pub mod report;
pub mod response;
pub mod run;
pub mod samples;
pub mod slo;
pub mod threads;
pub mod timing;
pub mod twin;
pub mod two_cores;
