//! Starting a container. So far as a child process; other launchers will stand beside it.

pub mod process;
pub mod users;
