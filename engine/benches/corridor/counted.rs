//! How much is counted, for who counts and for who divides by it.

/// Before the count begins: connections, caches, the latency profile and the allocator have settled.
pub(crate) const WARM_REQUESTS: u64 = 1_280;
/// Enough that what comes once in many requests counts for what it costs on average.
pub(crate) const REQUESTS: u64 = 2_560;
