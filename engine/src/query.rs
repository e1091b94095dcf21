//! The corridor between a protocol and a model: what is asked, who answers, why not.

pub mod serve;
pub mod types;
