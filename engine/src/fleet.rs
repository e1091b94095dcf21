//! Containers and the life of replicas: started, welcomed, watched, replaced.

pub mod catalog;
pub mod cores;
pub mod device_groups;
pub mod digest;
pub mod keeper;
pub mod launch;
pub mod learned;
pub mod liveness;
pub mod log_tail;
pub mod profiles;
pub mod remote_models;
pub mod sample;
pub mod supervisor;
pub mod target;
pub mod welcome;
