//! Why a setting is not changed.

use serde_json::Value;

/// Characters of a value that are repeated to its sender.
const SHOWN_MAX: usize = 80;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    #[error("there is no setting '{name}'; there are {known}")]
    Unknown { name: String, known: String },
    #[error("setting {name} can't be {found}; give {wanted}")]
    Value { name: String, found: String, wanted: &'static str },
    #[error("setting {name} can't be {found}: {why}")]
    Unsupported { name: String, found: String, why: &'static str },
    #[error("{limit} models have settings of their own already; clear some of them with null")]
    TooMany { limit: usize },
    #[error("settings are a JSON object of names and values")]
    NoObject,
}

impl SettingError {
    pub fn unknown(name: &str, known: &[&str]) -> SettingError {
        SettingError::Unknown { name: excerpt(name), known: known.join(", ") }
    }

    pub fn value(name: &str, found: &Value, wanted: &'static str) -> SettingError {
        SettingError::Value { name: name.to_owned(), found: excerpt(&found.to_string()), wanted }
    }

    pub fn unsupported(name: &str, found: &Value, why: &'static str) -> SettingError {
        SettingError::Unsupported { name: name.to_owned(), found: excerpt(&found.to_string()), why }
    }
}

fn excerpt(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}
