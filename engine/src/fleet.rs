//! Containers and the life of replicas: started, welcomed, watched, replaced.

pub mod appraisal;
pub mod autoscale;
pub mod catalog;
pub mod changes;
pub mod cores;
pub mod deployments;
pub mod device_groups;
pub mod devices;
pub mod digest;
pub mod keeper;
pub mod launch;
pub mod learned;
pub mod liveness;
pub mod log_tail;
pub mod model;
pub mod orders;
pub mod placement;
pub mod profiles;
pub mod remote_models;
pub mod repository;
pub mod retire;
pub mod reviewer;
pub mod sample;
pub mod scaler;
pub mod scaling;
pub mod seats;
pub mod standing;
pub mod supervisor;
pub mod target;
#[cfg(test)]
pub mod test_config;
pub mod triton;
pub mod welcome;
