//! The `model.toml` that is sent: the directory's own, or an empty one, with what the flags say.

use std::path::Path;

use toml::{Table, Value};

use super::{BundleError, Source, text};
use crate::cli::fleet::Deploy;

pub(super) fn amended(source: &Source, flags: &Deploy) -> Result<String, BundleError> {
    let mut table = source.settings.as_deref().map(read).transpose()?.unwrap_or_default();
    if let Some(entry) = &source.entry
        && !table.contains_key("entry")
        && !table.contains_key("runtime")
    {
        table.insert("entry".into(), Value::String(entry.clone()));
    }
    if flags.target.is_none() {
        // Whatever the image runs by itself.
        table.insert("runtime".into(), Value::String("program".into()));
    }
    // An image says by itself that it is for Docker.
    let launcher = flags.launcher.clone().or(flags.image.as_ref().map(|_| "docker".into()));
    for (key, value) in [("launcher", launcher), ("image", flags.image.clone())] {
        if let Some(value) = value {
            table.insert(key.into(), Value::String(value));
        }
    }
    if !flags.env.is_empty() {
        let env = table.entry("env").or_insert_with(|| Value::Table(Table::new()));
        let env = env.as_table_mut().ok_or_else(|| wrong(source, "env is no table"))?;
        env.extend(flags.env.iter().map(|(key, value)| (key.clone(), value.clone().into())));
    }
    toml::to_string(&table).map_err(|error| wrong(source, &error.to_string()))
}

fn read(path: &Path) -> Result<Table, BundleError> {
    let wrong = |error: toml::de::Error| BundleError::Settings {
        path: path.to_owned(),
        why: error.message().to_owned(),
    };
    text(path)?.parse().map_err(wrong)
}

fn wrong(source: &Source, why: &str) -> BundleError {
    let path = source.settings.clone().unwrap_or_else(|| "model.toml".into());
    BundleError::Settings { path, why: why.to_owned() }
}
