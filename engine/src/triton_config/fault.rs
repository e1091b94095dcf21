//! What can be wrong with a configuration, and where.

use std::fmt;

/// Counted from 1; zero where there are no lines to count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub line: u32,
    pub column: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    pub at: Place,
    pub fault: Fault,
}

impl std::error::Error for ConfigFault {}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.at, self.fault)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return Ok(());
        }
        write!(f, "line {}, column {}: ", self.line, self.column)
    }
}

/// Each message is a sentence for whoever wrote the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("{found} stands where {wanted} belongs")]
    Unexpected { found: String, wanted: &'static str },
    #[error("this string does not end on its line")]
    OpenString,
    #[error("this escape in a string is none; write \\n, \\t, \\\\, \\\", \\ooo, \\xhh or \\uhhhh")]
    Escape,
    #[error("this string is not UTF-8")]
    NotUtf8,
    #[error("blocks lie more than {max} deep")]
    TooDeep { max: usize },
    #[error("there are more than the {max} bytes that a model's configuration may have")]
    TooLong { max: usize },
    #[error("it is no JSON object of a model's configuration: {why}")]
    Json { why: String },
    #[error("there is no field '{name}'{like}")]
    Unknown { name: String, like: Like },
    #[error("'{name}' is there twice")]
    Twice { name: String },
    #[error("'{name}' is to be {wanted}")]
    Kind { name: String, wanted: &'static str },
    #[error("'{name}' is missing here")]
    Missing { name: &'static str },
    #[error("{field} can't be honoured; {instead}")]
    Refused { field: &'static str, instead: &'static str },
}

/// The field that was most likely meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Like(pub Option<&'static str>);

impl fmt::Display for Like {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, ", did you mean '{name}'?"),
            None => Ok(()),
        }
    }
}

/// A field that is understood and changes nothing here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub at: Place,
    pub field: &'static str,
    pub why: &'static str,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} has no effect: {}", self.at, self.field, self.why)
    }
}
