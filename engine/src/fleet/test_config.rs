//! A fleet's configuration for tests that need a real one.

use arc_swap::ArcSwap;

use super::catalog::{Catalog, PublishedCatalog};
use super::launch::Launchers;
use super::launch::docker::{Docker, Settings};
use super::launch::process::Programs;
use super::repository::Repositories;
use super::seats::Devices;
use super::supervisor::FleetConfig;
use super::welcome::LaneSettings;
use crate::classes::Classes;
use crate::cli::Launcher;
use crate::clock::Clock;
use crate::config::Limits;
use crate::dispatch::CoreLinks;

pub fn classes() -> Classes {
    Classes::new(Vec::new()).expect("the default class alone")
}

pub fn config(clock: Clock, links: CoreLinks) -> FleetConfig {
    FleetConfig {
        clock,
        limits: Limits::default(),
        lane: LaneSettings {
            memory: shm_rpc::Memory::Memfd,
            huge_pages: false,
            slot_bytes_max: 1 << 20,
            variable_slot_bytes: 1 << 16,
        },
        cores: vec![0],
        users: None,
        programs: Programs::find(None),
        launchers: Launchers {
            default: Launcher::Process,
            docker: Docker::new(Settings::default()),
        },
        classes: classes(),
        catalog: PublishedCatalog::new(ArcSwap::from_pointee(Catalog::default())),
        links,
        sockets: std::env::temp_dir(),
        warm_up: true,
        profiles: None,
        repositories: Repositories { roots: Vec::new(), classes: classes(), cpus: vec![0] },
        changes: false,
        poll_every: None,
        devices: Devices::default(),
        base_url: "http://test".into(),
    }
}
