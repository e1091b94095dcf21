//! The devices that replicas run on: what there is.

pub mod inventory;
