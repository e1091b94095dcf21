//! What is loaded at start, where administrators are answered, and what they have to show.

use std::net::{SocketAddr, TcpListener};

use super::doors::Doors;
use super::{ServeError, check_free, listen};
use crate::api::admin::Door;
use crate::cli::control::ModelControlMode;
use crate::config::Config;
use crate::config::control::{Admin, Control};
use crate::fleet::repository::Repositories;
use crate::fleet::target::{self, Wanted};
use crate::handover::Role;
use crate::threads;

/// The administrators' listener, for the one core that has it: they are few.
pub(super) struct AdminDoor {
    pub(super) address: SocketAddr,
    pub(super) listener: TcpListener,
    pub(super) door: Door,
}

impl AdminDoor {
    pub(super) fn open(admin: &Admin, doors: &mut Doors) -> Result<AdminDoor, ServeError> {
        let mut address = admin.address;
        let listener = doors.alone(Role::Admin, &mut address)?;
        Ok(AdminDoor::new(admin, address, listener))
    }

    /// One that isn't handed on.
    pub(super) fn bind(admin: &Admin) -> Result<AdminDoor, ServeError> {
        let mut address = admin.address;
        check_free(address)?;
        let listener = listen(&mut address)?;
        Ok(AdminDoor::new(admin, address, listener))
    }

    fn new(admin: &Admin, address: SocketAddr, listener: TcpListener) -> AdminDoor {
        AdminDoor { address, listener, door: Door::Admin { token: admin.token.clone() } }
    }
}

pub(super) fn wanted(control: &Control) -> Wanted {
    match control.mode {
        ModelControlMode::None => Wanted::All,
        ModelControlMode::Poll => Wanted::Present,
        ModelControlMode::Explicit if control.load.iter().any(|name| name == "*") => {
            Wanted::Present
        }
        ModelControlMode::Explicit => Wanted::Named(control.load.clone()),
    }
}

pub(super) fn repositories(config: &Config) -> Repositories {
    Repositories {
        roots: target::repositories(&config.targets),
        classes: config.classes.clone(),
        cpus: threads::available_cpus(),
    }
}
