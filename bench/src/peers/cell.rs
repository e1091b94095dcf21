//! What is compared: a model, and how its rows travel.

use std::fmt;

use crate::payload::Encoding;

pub(super) const MODELS: [&str; 3] = ["noop", "linear", "mlp"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) model: &'static str,
    pub(super) encoding: Encoding,
}

/// Those that the goals are set for.
pub(super) const USUAL: [&str; 4] = ["noop/bin", "noop/json", "mlp/bin", "mlp/json"];

/// Every model in both encodings.
pub(super) fn all() -> Vec<Cell> {
    let encodings = [Encoding::Binary, Encoding::Json];
    MODELS.iter().flat_map(|&model| encodings.map(|encoding| Cell { model, encoding })).collect()
}

impl Cell {
    /// As in `noop/bin`.
    pub(super) fn from_name(name: &str) -> Option<Cell> {
        let (model, encoding) = name.split_once('/')?;
        let model = MODELS.into_iter().find(|known| *known == model)?;
        let encoding = match encoding {
            "bin" => Encoding::Binary,
            "json" => Encoding::Json,
            _ => return None,
        };
        Some(Cell { model, encoding })
    }

    /// As in the keys of the result, and folders: `noop_bin`.
    pub(super) fn key(self) -> String {
        format!("{}_{}", self.model, self.encoding_name())
    }

    pub(super) fn encoding_name(self) -> &'static str {
        match self.encoding {
            Encoding::Binary => "bin",
            Encoding::Json => "json",
        }
    }

    /// Cells whose numbers are also asked for under open loop and with many connections.
    pub(super) fn is_first(self) -> bool {
        self.model == "noop" && self.encoding == Encoding::Binary
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.model, self.encoding_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_alike() {
        for name in USUAL {
            assert_eq!(Cell::from_name(name).map(|cell| cell.to_string()).as_deref(), Some(name));
        }
        for name in ["noop", "noop/xml", "mpl/bin", ""] {
            assert_eq!(Cell::from_name(name), None, "{name}");
        }
    }
}
