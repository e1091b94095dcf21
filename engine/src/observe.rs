//! What happened and how long it took: recorded by each core for itself, merged at a scrape.

pub mod export;
pub mod metrics;
pub mod predictions;
pub mod stages;
