//! What is compared: a model, and how its rows travel.

use std::fmt;

use crate::overhead::ask::Form;

pub(super) const MODELS: [&str; 3] = ["noop", "linear", "mlp"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) model: &'static str,
    pub(super) form: Form,
}

/// Those that the goals are set for.
pub(super) const USUAL: [&str; 5] = ["noop/bin", "noop/json", "noop/grpc", "mlp/bin", "mlp/json"];

/// Every model in every form.
pub(super) fn all() -> Vec<Cell> {
    let forms = [Form::Binary, Form::Json, Form::Grpc];
    MODELS.iter().flat_map(|&model| forms.map(|form| Cell { model, form })).collect()
}

impl Cell {
    /// As in `noop/bin`.
    pub(super) fn from_name(name: &str) -> Option<Cell> {
        let (model, form) = name.split_once('/')?;
        let model = MODELS.into_iter().find(|known| *known == model)?;
        Some(Cell { model, form: Form::from_name(form)? })
    }

    /// As in the keys of the result, and folders: `noop_bin`.
    pub(super) fn key(self) -> String {
        format!("{}_{}", self.model, self.form.name())
    }

    /// Cells whose numbers are also asked for under open loop and with many connections.
    pub(super) fn is_first(self) -> bool {
        self.model == "noop" && self.form == Form::Binary
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.model, self.form.name())
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
