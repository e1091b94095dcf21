//! What rooms are given, made from the configuration.

use std::path::Path;
use std::time::Duration;

use shm_rpc::Memory;

use crate::api::front_end::HttpLimits;
use crate::cli::Lane;
use crate::config::{Config, Limits};
use crate::fleet::profiles::Profiles;
use crate::fleet::welcome::LaneSettings;

/// How lanes are made here; `auto` says what it chose and why.
pub(super) fn lane_settings(config: &Config) -> LaneSettings {
    let memory = match config.lane {
        Lane::Memfd => Memory::Memfd,
        Lane::Posix => Memory::Posix,
        Lane::Auto => match shm_rpc::engine_side::choose_memory() {
            (memory, None) => {
                tracing::info!(lane = memory.name(), "this system seals memory");
                memory
            }
            (memory, Some(why)) => {
                tracing::warn!(lane = memory.name(), "this system does not seal memory: {why}");
                memory
            }
        },
    };
    let Limits { slot_bytes_max, variable_slot_bytes, .. } = config.limits;
    let huge_pages = config.huge_pages && memory == Memory::Memfd;
    if config.huge_pages && !huge_pages {
        tracing::warn!("huge pages need lane memfd; going on without");
    }
    LaneSettings { memory, huge_pages, slot_bytes_max, variable_slot_bytes }
}

/// An engine that can't keep what it learns serves all the same.
pub(super) fn open_profiles(state: &Path) -> Option<Profiles> {
    let opened = Profiles::open(state);
    opened
        .inspect_err(|error| {
            tracing::warn!("learned latency profiles are not kept (--state): {error}");
        })
        .ok()
}

pub(super) fn http_limits(config: &Config) -> HttpLimits {
    HttpLimits {
        connections_max: config.limits.connections_max,
        head_bytes_max: config.limits.head_bytes_max,
        body_bytes_max: config.limits.body_bytes_max,
        gathered_bytes_max: config.limits.gathered_bytes_max,
        head_time_max: Duration::from_secs(config.limits.head_s),
        idle_time_max: Duration::from_secs(config.limits.idle_s),
        body_time_max: Duration::from_secs(config.limits.body_s),
    }
}
