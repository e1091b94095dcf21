//! What the command lines of these measurements share: the engine, the length of the runs, the cores.

use std::path::PathBuf;
use std::time::Duration;

use super::OverheadError;
use super::measure::Setup;
use super::servers::find_foil;

pub(super) const PAIRS_MAX: usize = 101;
pub(super) const SECONDS_MIN: f64 = 0.1;
pub(super) const SECONDS_MAX: f64 = 60.0;

#[derive(Clone, Debug, clap::Args)]
pub struct Engine {
    /// The engine's program; by default the one beside this program, else the one on PATH
    #[arg(long)]
    pub foil: Option<PathBuf>,
    /// A Python that imports hydrofoil and numpy; by default the engine finds its own
    #[arg(long)]
    pub python: Option<PathBuf>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Runs {
    /// Interleaved pairs for each figure
    #[arg(long, default_value_t = 7)]
    pub pairs: usize,
    /// Measured time of each run
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
}

#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Cores {
    /// The core that each server's tree is pinned to
    #[arg(long, default_value_t = 0)]
    pub server_core: usize,
    /// The core of the client, which it never leaves idle
    #[arg(long, default_value_t = 1)]
    pub client_core: usize,
}

impl Engine {
    pub(crate) fn program(&self) -> Result<PathBuf, OverheadError> {
        self.foil.clone().or_else(find_foil).ok_or(OverheadError::NoFoil)
    }
}

impl Runs {
    /// `client_core`: where the client is pinned, if it is.
    pub(crate) fn setup(&self, client_core: Option<usize>) -> Result<Setup, OverheadError> {
        let (pairs, seconds) = (self.pairs, self.seconds);
        if !(1..=PAIRS_MAX).contains(&pairs) || !(SECONDS_MIN..=SECONDS_MAX).contains(&seconds) {
            return Err(OverheadError::Numbers);
        }
        Ok(Setup { pairs, measure: Duration::from_secs_f64(seconds), client_core })
    }
}

impl Cores {
    /// That of the client, unless it is the server's too.
    pub(crate) fn client(&self) -> Result<usize, OverheadError> {
        if self.server_core == self.client_core {
            return Err(OverheadError::OneCore);
        }
        Ok(self.client_core)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_runs_that_end_are_set_up() {
        let setup = |pairs, seconds| Runs { pairs, seconds }.setup(None);
        assert!(setup(1, SECONDS_MIN).is_ok() && setup(PAIRS_MAX, SECONDS_MAX).is_ok());
        for (pairs, seconds) in [
            (0, 1.0),
            (PAIRS_MAX + 1, 1.0),
            (1, 0.09),
            (1, 61.0),
            (1, f64::NAN),
            (1, f64::INFINITY),
        ] {
            let refused = setup(pairs, seconds);
            assert!(matches!(refused, Err(OverheadError::Numbers)), "{pairs} pairs, {seconds} s");
        }
    }

    #[test]
    fn the_client_has_a_core_of_its_own() {
        assert_eq!(Cores { server_core: 2, client_core: 0 }.client().ok(), Some(0));
        let one = Cores { server_core: 1, client_core: 1 }.client();
        assert!(matches!(one, Err(OverheadError::OneCore)));
    }
}
