//! What goes wrong: requests, models, processes. A clear error for those concerned and only for them; nothing leaks.

mod attacked;
mod bystander;
mod deployment_kills;
mod floods;
mod hostile;
mod hostile_containers;
mod hostile_docker;
mod kills;
mod liveness;
mod models;
mod processes;
mod requests;
mod upgrade;
