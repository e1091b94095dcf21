//! What Clipper's admin API is sent, and the objects it lists.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::json_fault::{JsonFault, Kind, object};
use crate::apps::change::NewModel;
use crate::apps::known::{Known, KnownVersion};
use crate::apps::{App, InputType, Mode};

/// Every key that any page of the API takes, its value unread.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Body<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    app_name: Option<&'a RawValue>,
    #[serde(borrow)]
    model_names: Option<&'a RawValue>,
    #[serde(borrow)]
    model_name: Option<&'a RawValue>,
    #[serde(borrow)]
    model_version: Option<&'a RawValue>,
    #[serde(borrow)]
    input_type: Option<&'a RawValue>,
    #[serde(borrow)]
    default_output: Option<&'a RawValue>,
    #[serde(borrow)]
    latency_slo_micros: Option<&'a RawValue>,
    #[serde(borrow)]
    labels: Option<&'a RawValue>,
    #[serde(borrow)]
    container_name: Option<&'a RawValue>,
    #[serde(borrow)]
    model_data_path: Option<&'a RawValue>,
    #[serde(borrow)]
    batch_size: Option<&'a RawValue>,
    #[serde(borrow)]
    verbose: Option<&'a RawValue>,
    #[serde(borrow)]
    replica_id: Option<&'a RawValue>,
    #[serde(borrow)]
    uid: Option<&'a RawValue>,
}

impl<'a> Body<'a> {
    pub fn read(json: &'a [u8]) -> Result<Body<'a>, JsonFault> {
        object(json)
    }

    pub fn add_app(self) -> Result<App, JsonFault> {
        let name = text("name", self.name)?;
        let input_type = input_type(self.input_type)?;
        let default_output = text("default_output", self.default_output)?;
        let slo_us = int("latency_slo_micros", self.latency_slo_micros)?;
        let (name, default_output) = (name.into(), default_output.into());
        Ok(App { name, input_type, default_output, slo_us, linked: None })
    }

    pub fn app(self) -> Result<String, JsonFault> {
        text("name", self.name)
    }

    pub fn links(self) -> Result<(String, Vec<String>), JsonFault> {
        let app = self.linked_app()?;
        Ok((app, texts("model_names", self.model_names)?))
    }

    pub fn linked_app(self) -> Result<String, JsonFault> {
        text("app_name", self.app_name)
    }

    /// Some deployers send no batch size, and the version as a number.
    pub fn add_model(self, mode: Mode) -> Result<NewModel, JsonFault> {
        let (model, version) = self.model(mode)?;
        let batch_size = match (self.batch_size, mode) {
            (None, Mode::Sane) => -1,
            (size, _) => int("batch_size", size)?,
        };
        Ok(NewModel {
            model,
            version,
            labels: texts("labels", self.labels)?,
            input_type: input_type(self.input_type)?,
            container_name: text("container_name", self.container_name)?,
            model_data_path: text("model_data_path", self.model_data_path)?,
            batch_size,
        })
    }

    /// Name and version.
    pub fn model(self, mode: Mode) -> Result<(String, String), JsonFault> {
        let model = text("model_name", self.model_name)?;
        let version = self.model_version.map(RawValue::get);
        let number = version.filter(|text| text.parse::<u64>().is_ok() && mode == Mode::Sane);
        let version = match number {
            Some(number) => number.to_owned(),
            None => text("model_version", self.model_version)?,
        };
        Ok((model, version))
    }

    pub fn verbose(self) -> Result<bool, JsonFault> {
        const KEY: &str = "verbose";
        let value = required(KEY, self.verbose)?;
        match Kind::of(value) {
            Kind::True => Ok(true),
            Kind::False => Ok(false),
            found => Err(JsonFault::KeyKind { key: KEY, expected: "bool", found }),
        }
    }

    pub fn replica(self) -> Result<i32, JsonFault> {
        int("replica_id", self.replica_id)
    }

    /// The application whose state is asked for; users other than 0 have none of their own.
    pub fn state(self) -> Result<String, JsonFault> {
        let app = self.linked_app()?;
        int("uid", self.uid)?;
        Ok(app)
    }
}

fn required<'a>(key: &'static str, value: Option<&'a RawValue>) -> Result<&'a str, JsonFault> {
    value.map(RawValue::get).ok_or(JsonFault::Missing { key })
}

fn text(key: &'static str, value: Option<&RawValue>) -> Result<String, JsonFault> {
    let value = required(key, value)?;
    match Kind::of(value) {
        Kind::String => unquoted(value),
        found => Err(JsonFault::KeyKind { key, expected: "String", found }),
    }
}

fn texts(key: &'static str, value: Option<&RawValue>) -> Result<Vec<String>, JsonFault> {
    let value = required(key, value)?;
    let found = Kind::of(value);
    if found != Kind::Array {
        return Err(JsonFault::KeyKind { key, expected: "Array", found });
    }
    let one = |element: &str| match Kind::of(element) {
        Kind::String => unquoted(element),
        found => Err(JsonFault::Element { expected: "string", found }),
    };
    super::elements::elements(value).map(one).collect()
}

fn unquoted(text: &str) -> Result<String, JsonFault> {
    serde_json::from_str(text).map_err(|error| JsonFault::malformed(text.as_bytes(), &error))
}

fn int(key: &'static str, value: Option<&RawValue>) -> Result<i32, JsonFault> {
    let value = required(key, value)?;
    match Kind::of(value) {
        found @ Kind::Number => {
            value.parse().map_err(|_| JsonFault::Value { expected: "int", found })
        }
        found => Err(JsonFault::KeyKind { key, expected: "Number", found }),
    }
}

fn input_type(value: Option<&RawValue>) -> Result<InputType, JsonFault> {
    let name = text("input_type", value)?;
    InputType::of_name(&name).ok_or(JsonFault::InputType { name: name.chars().take(64).collect() })
}

pub fn app(app: &App) -> Value {
    json!({
        "name": &*app.name,
        "input_type": app.input_type.name(),
        "default_output": &*app.default_output,
        "latency_slo_micros": app.slo_us,
        "linked_models": app.linked.iter().map(|it| &**it).collect::<Vec<_>>(),
    })
}

/// Clipper splits labels that were joined: no label comes back as one that is empty.
pub fn model(known: &KnownVersion, mode: Mode) -> Value {
    let record = &known.record;
    let labels = match (record.labels.is_empty(), mode) {
        (true, Mode::Strict) => json!([""]),
        _ => json!(record.labels),
    };
    json!({
        "model_name": &*known.model,
        "model_version": &*record.text,
        "input_type": record.input_type.name(),
        "labels": labels,
        "container_name": record.container_name,
        "model_data_path": record.model_data_path,
        "is_current_version": known.is_current,
    })
}

/// `{}` for what is not there.
pub fn or_nothing(found: Option<Value>) -> Value {
    found.unwrap_or_else(|| json!({}))
}

/// One model version; None when there is no such.
pub fn find_model(known: Known<'_>, name: &str, version: &str) -> Option<KnownVersion> {
    let record = known.version(name, version)?;
    let is_current = known.current(name).as_deref() == Some(version);
    Some(KnownVersion { model: name.into(), record, is_current })
}
