//! `foil plan`: what would run where and why, on this machine or a fleet of an inventory's file. By the
//! rules of the engine, which seats one replica at a time; only here are all placed together.

use super::{HostError, print};
use crate::cli::host::Plan;
use crate::clock::Clock;
use crate::config::default_cores;
use crate::fleet::devices::find;
use crate::fleet::devices::inventory::Inventory;
use crate::fleet::placement;
use crate::threads::available_cpus;

mod models_file;
mod shown;

pub use self::models_file::{ModelFault, ModelsFileError};
use self::shown::Shown;

pub(super) fn plan(flags: &Plan) -> Result<(), HostError> {
    let demands = models_file::read(&flags.models)?;
    let inventory = match &flags.inventory {
        Some(file) => Inventory::read(file)?,
        // With the front end that an engine has here unless it is told otherwise.
        None => find(&default_cores(&available_cpus())).inventory,
    };
    let clock = Clock::start();
    let begins = clock.now();
    let plan = placement::plan(&inventory, &demands);
    let took_ms = clock.now().since(begins).as_secs_f64() * 1e3;
    let shown = Shown { inventory: &inventory, demands: &demands, plan: &plan, took_ms };
    if flags.json {
        return print(&format!("{:#}\n", shown.as_json()));
    }
    print(&shown.for_people())
}
