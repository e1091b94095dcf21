//! What happened and how long it took: recorded by each core for itself, merged at a scrape.

pub mod deployments;
pub mod devices;
pub mod export;
pub mod histogram;
pub mod log;
pub mod metrics;
pub mod predictions;
pub mod reports;
pub mod request_ids;
pub mod setting;
pub mod stages;
pub mod statistics;
pub mod traces;
