//! `FOIL_SETTINGS`: what `model.toml` says over what a model declares.

use crate::lifecycle::{Late, ModelSpec};

/// Why the settings don't fit.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("FOIL_SETTINGS is no JSON object: {0}")]
    Json(#[from] serde_json::Error),
    #[error("{name} = {value} is not possible")]
    Value { name: &'static str, value: String },
}

/// Applies the settings that are given; null and absent ones leave the declaration as it is.
pub fn apply(spec: &mut ModelSpec, settings: &str) -> Result<(), SettingsError> {
    let settings: serde_json::Map<String, serde_json::Value> = serde_json::from_str(settings)?;
    let given = |name: &str| settings.get(name).filter(|value| !value.is_null());
    if let Some(value) = given("max_batch") {
        spec.max_batch = count("max_batch", value)?;
    }
    if let Some(value) = given("replicas") {
        spec.replicas = count("replicas", value)?;
    }
    if let Some(value) = given("slo") {
        spec.slo_us = Some(micros("slo", value)?);
    }
    if let Some(value) = given("batch_timeout") {
        spec.batch_timeout_us = micros("batch_timeout", value)?;
    }
    if let Some(value) = given("pad") {
        let wrong = || SettingsError::Value { name: "pad", value: value.to_string() };
        spec.pad = value.as_bool().ok_or_else(wrong)?;
    }
    if let Some(value) = given("late") {
        spec.late = match value.as_str() {
            Some("serve") => Late::Serve,
            Some("shed") => Late::Shed,
            _ => return Err(SettingsError::Value { name: "late", value: value.to_string() }),
        };
    }
    Ok(())
}

fn count(name: &'static str, value: &serde_json::Value) -> Result<u32, SettingsError> {
    let count = value.as_u64().and_then(|count| u32::try_from(count).ok());
    count.ok_or_else(|| SettingsError::Value { name, value: value.to_string() })
}

fn micros(name: &'static str, value: &serde_json::Value) -> Result<u64, SettingsError> {
    let wrong = || SettingsError::Value { name, value: value.to_string() };
    let text = value.as_str().ok_or_else(wrong)?;
    let unit = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit);
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    let micros = match unit {
        "us" => number,
        "ms" => number * 1e3,
        "s" => number * 1e6,
        "m" => number * 60e6,
        _ => return Err(wrong()),
    };
    if micros >= 1.0 { Ok(micros as u64) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{DType, Dim, TensorSpec};

    fn declared() -> ModelSpec {
        let tensor = |name: &str| TensorSpec {
            name: name.into(),
            dtype: DType::F32,
            dims: vec![Dim::Batch],
        };
        ModelSpec {
            name: "m".into(),
            platform: "test".into(),
            inputs: vec![tensor("x")],
            outputs: vec![tensor("y")],
            batched: true,
            max_batch: 64,
            slo_us: None,
            late: Late::Serve,
            batch_timeout_us: 30_000_000,
            replicas: 1,
            pad: false,
            decoupled: false,
        }
    }

    #[test]
    fn settings_override_what_is_declared_and_nulls_do_not() {
        let mut spec = declared();
        apply(&mut spec, r#"{"max_batch": 8, "slo": "20ms", "batch_timeout": null, "pad": true}"#)
            .unwrap();
        assert_eq!((spec.max_batch, spec.slo_us, spec.pad), (8, Some(20_000), true));
        assert_eq!(spec.batch_timeout_us, 30_000_000);
        assert!(apply(&mut spec, r#"{"late": "never"}"#).unwrap_err().to_string().contains("late"));
        assert!(apply(&mut spec, r#"{"pad": 1}"#).unwrap_err().to_string().contains("pad"));
    }
}
