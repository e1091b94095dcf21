//! Clipper's JSON, pure: what its query and admin APIs are sent and what they answer.
//!
//! Requests come in two steps, so that a fault is either "no JSON" or "not this": the object's keys with their values
//! unread, then the values. Numbers go from their text straight into the type they are for, in one rounding. Bounds: inputs
//! of a batch; bytes are bounded by the body.

pub mod admin;
pub mod answer;
mod elements;
pub mod json_fault;
pub mod metrics;
pub mod request;
pub mod rows;
