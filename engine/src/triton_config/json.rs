//! The same configuration as JSON, by the fields' own names. Lists and the two ways to write a map become fields.

use serde_json::{Map, Value as Json};

use super::fault::{ConfigFault, Fault, Place};
use super::text::{Field, Message, Value};

/// Fields that are maps: JSON writes one as an object.
const MAPS: [&str; 3] = ["parameters", "inputs", "priority_queue_policy"];

pub(super) fn parse(text: &str) -> Result<Message, ConfigFault> {
    let wrong = |why: String| ConfigFault { at: Place::default(), fault: Fault::Json { why } };
    match serde_json::from_str(text).map_err(|error| wrong(error.to_string()))? {
        Json::Object(object) => Ok(message(object)),
        _ => Err(wrong("it is another value".into())),
    }
}

fn message(object: Map<String, Json>) -> Message {
    let mut fields = Vec::new();
    for (name, value) in object {
        match value {
            // As if it were not there.
            Json::Null => {}
            Json::Array(entries) => fields.extend(entries.into_iter().map(|it| field(&name, it))),
            Json::Object(map) if MAPS.contains(&name.as_str()) => {
                fields.extend(map.into_iter().map(|(key, value)| entry(&name, key, value)));
            }
            value => fields.push(field(&name, value)),
        }
    }
    Message { at: Place::default(), fields }
}

/// Of a map, as the text format writes it.
fn entry(name: &str, key: String, value: Json) -> Field {
    let fields = vec![field("key", Json::String(key)), field("value", value)];
    let entry = Message { at: Place::default(), fields };
    whole(name, Value::Message(entry))
}

fn field(name: &str, value: Json) -> Field {
    let value = match value {
        Json::Object(object) => Value::Message(message(object)),
        Json::String(text) => Value::Text(text),
        other => Value::Word(other.to_string()),
    };
    whole(name, value)
}

/// JSON is written by programs: its places tell nobody anything.
fn whole(name: &str, value: Value) -> Field {
    let at = Place::default();
    Field { name: name.to_owned(), at, value_at: at, value }
}
