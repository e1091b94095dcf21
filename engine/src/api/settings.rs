//! The trace and logging extensions: two sets of settings, read and changed by name, over HTTP and gRPC alike.
//!
//! Changing them is an administrative operation: both protocols come through [`change`].

use hyper::HeaderMap;
use schemas::inference::{
    LogSettingsRequest, LogSettingsResponse, TraceSettingRequest, TraceSettingResponse,
    log_settings_request, log_settings_response, trace_setting_response,
};
use serde_json::{Map, Value, json};

use crate::api::admin::{Operation, may};
use crate::api::front_end::FrontEnd;
use crate::api::inference::find;
use crate::api::status::ApiError;
use crate::observe::setting::SettingError;
use crate::query::serve::Query;

/// Settings by the protocol's names.
pub type Settings = Map<String, Value>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of<'m> {
    Log,
    /// Of all models, or as one has them.
    Trace {
        model: Option<&'m str>,
    },
}

pub fn read(front: &FrontEnd, of: Of<'_>) -> Result<Settings, ApiError> {
    let shared = front.reports.shared();
    match of {
        Of::Log => Ok(shared.log.settings().shown()),
        Of::Trace { model } => {
            known(front, model)?;
            Ok(shared.traces.of(model).shown())
        }
    }
}

/// All of the changes or none, and the settings after it. `headers` are those of who asks, or its metadata.
pub fn change(
    front: &FrontEnd,
    headers: &HeaderMap,
    of: Of<'_>,
    changes: &Settings,
) -> Result<Settings, ApiError> {
    may(Operation::ChangeSettings, &front.door, headers)?;
    let shared = front.reports.shared();
    match of {
        Of::Log => Ok(shared.log.change(changes)?.shown()),
        Of::Trace { model } => {
            known(front, model)?;
            let in_force = shared.traces.change(model, changes)?;
            shared.log.set_traces(shared.traces.any());
            Ok(in_force.shown())
        }
    }
}

fn known(front: &FrontEnd, model: Option<&str>) -> Result<(), ApiError> {
    let Some(model) = model else { return Ok(()) };
    find(&front.catalog.load(), Query { model, version: None }).map(drop)
}

/// A body of changes.
pub fn parse(body: &[u8]) -> Result<Settings, SettingError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(changes)) => Ok(changes),
        _ => Err(SettingError::NoObject),
    }
}

// ---- gRPC's messages ----

pub fn trace_changes(request: &TraceSettingRequest) -> Settings {
    let change = |values: &[String]| match values {
        [] => Value::Null,
        [one] => json!(one),
        several => json!(several),
    };
    let each = request.settings.iter();
    each.map(|(name, setting)| (name.clone(), change(&setting.value))).collect()
}

pub fn trace_message(settings: &Settings) -> TraceSettingResponse {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let values = |value: &Value| match value {
        Value::Array(values) => values.iter().map(text).collect(),
        one => vec![text(one)],
    };
    let value = |value| trace_setting_response::SettingValue { value: values(value) };
    let each = settings.iter().map(|(name, setting)| (name.clone(), value(setting)));
    TraceSettingResponse { settings: each.collect() }
}

pub fn log_changes(request: &LogSettingsRequest) -> Settings {
    use log_settings_request::setting_value::ParameterChoice;
    let change = |choice: &Option<ParameterChoice>| match choice {
        None => Value::Null,
        Some(ParameterChoice::BoolParam(on)) => json!(on),
        Some(ParameterChoice::Uint32Param(number)) => json!(number),
        Some(ParameterChoice::StringParam(text)) => json!(text),
    };
    let each = request.settings.iter();
    each.map(|(name, setting)| (name.clone(), change(&setting.parameter_choice))).collect()
}

pub fn log_message(settings: &Settings) -> LogSettingsResponse {
    use log_settings_response::setting_value::ParameterChoice;
    let choice = |value: &Value| match value {
        Value::Bool(on) => ParameterChoice::BoolParam(*on),
        Value::Number(number) => {
            let number = number.as_u64().and_then(|number| u32::try_from(number).ok());
            ParameterChoice::Uint32Param(number.unwrap_or(u32::MAX))
        }
        Value::String(text) => ParameterChoice::StringParam(text.clone()),
        other => ParameterChoice::StringParam(other.to_string()),
    };
    let value =
        |value| log_settings_response::SettingValue { parameter_choice: Some(choice(value)) };
    let each = settings.iter().map(|(name, setting)| (name.clone(), value(setting)));
    LogSettingsResponse { settings: each.collect() }
}

#[cfg(test)]
mod tests {
    use schemas::inference::trace_setting_request::SettingValue;

    use super::*;
    use crate::observe::log::LogSettings;
    use crate::observe::traces::Traces;

    #[test]
    fn settings_survive_the_way_through_grpcs_messages() {
        let shown = Traces::default().of(None).shown();
        let message = trace_message(&shown);
        assert_eq!(message.settings["trace_level"].value, ["OFF"]);
        assert_eq!(message.settings["trace_rate"].value, ["1000"]);
        let settings = message.settings.into_iter();
        let settings =
            settings.map(|(name, it)| (name, SettingValue { value: it.value })).collect();
        let request = TraceSettingRequest { settings, model_name: String::new() };
        assert!(Traces::default().change(None, &trace_changes(&request)).is_ok());

        let message = log_message(&LogSettings::default().shown());
        let settings = message.settings.into_iter().map(|(name, it)| {
            use log_settings_request::setting_value::ParameterChoice as Asked;
            use log_settings_response::setting_value::ParameterChoice as Said;
            let choice = it.parameter_choice.map(|choice| match choice {
                Said::BoolParam(on) => Asked::BoolParam(on),
                Said::Uint32Param(number) => Asked::Uint32Param(number),
                Said::StringParam(text) => Asked::StringParam(text),
            });
            (name, log_settings_request::SettingValue { parameter_choice: choice })
        });
        let request = LogSettingsRequest { settings: settings.collect() };
        let changed = LogSettings::default().changed(&log_changes(&request));
        assert_eq!(changed, Ok(LogSettings::default()));
    }

    #[test]
    fn an_empty_list_of_values_clears_a_setting() {
        let settings = [("trace_rate".to_owned(), SettingValue::default())].into();
        let request = TraceSettingRequest { settings, model_name: String::new() };
        assert_eq!(trace_changes(&request)["trace_rate"], Value::Null);
    }
}
