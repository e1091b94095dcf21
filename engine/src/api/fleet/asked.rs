//! What a request of the fleet's pages says, behind its path or in its body.

use std::borrow::Cow;

use serde_json::Value;

use crate::api::router::percent_decoded;
use crate::api::status::ApiError;
use crate::codec::fault::excerpt;
use crate::fleet::deployments::wanted::{Options, Replicas};
use crate::fleet::deployments::{FleetError, duration};

/// All that any page knows.
const KNOWN: [&str; 11] = [
    "hold",
    "keep_warm",
    "min",
    "max",
    "slo",
    "version",
    "replica",
    "lines",
    "follow",
    "launcher",
    "image",
];

fn wrong(why: String) -> ApiError {
    FleetError::Asked(why).into()
}

/// The part of an address behind its question mark.
#[derive(Debug, Default)]
pub(super) struct Query<'q>(Vec<(Cow<'q, str>, Cow<'q, str>)>);

impl<'q> Query<'q> {
    pub(super) fn read(query: Option<&'q str>) -> Result<Query<'q>, ApiError> {
        let mut read = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, "true"));
            let decoded = percent_decoded(key).zip(percent_decoded(value));
            let (key, value) =
                decoded.ok_or_else(|| wrong(format!("'{}' is no parameter", excerpt(pair))))?;
            if !KNOWN.contains(&&*key) {
                return Err(wrong(format!("there is no parameter '{}'", excerpt(&key))));
            }
            read.push((key, value));
        }
        Ok(Query(read))
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| &**value)
    }

    pub(super) fn number<N: std::str::FromStr>(&self, key: &str) -> Result<Option<N>, ApiError> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let number = text.parse().ok();
        number.map(Some).ok_or_else(|| wrong(format!("{key}={} is no number", excerpt(text))))
    }

    pub(super) fn flag(&self, key: &str) -> Result<bool, ApiError> {
        match self.text(key) {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1" | "") => Ok(true),
            Some(other) => {
                Err(wrong(format!("{key}={} is neither true nor false", excerpt(other))))
            }
        }
    }

    /// Those of a deployment.
    pub(super) fn options(&self) -> Result<Options, ApiError> {
        let (min, max) = (self.number("min")?, self.number("max")?);
        let replicas = match (min, max) {
            (None, None) => None,
            (min, max) => Some(bounds(min, max)?),
        };
        let keep_warm = self.text("keep_warm").map(duration).transpose()?;
        let slo =
            self.text("slo").map(|text| duration(text).map(|_| text.to_owned())).transpose()?;
        Ok(Options { hold: self.flag("hold")?, keep_warm, replicas, slo })
    }
}

/// One that is not said is the other one, and at least 1.
fn bounds(min: Option<u32>, max: Option<u32>) -> Result<Replicas, ApiError> {
    let least = min.unwrap_or(1);
    let replicas = Replicas::new(least, max.unwrap_or(least));
    replicas.map_err(|refused| wrong(refused.to_string()))
}

/// `{"replicas": 2}`, or `{"min": 1, "max": 4}`.
pub(super) fn replicas(body: &Value) -> Result<Replicas, ApiError> {
    let number = |key: &str| match &body[key] {
        Value::Null => Ok(None),
        value => {
            let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
            number.map(Some).ok_or_else(|| wrong(format!("{key} is no number of replicas")))
        }
    };
    match (number("replicas")?, number("min")?, number("max")?) {
        (Some(count), None, None) => bounds(Some(count), Some(count)),
        (None, None, None) | (Some(_), _, _) => {
            Err(wrong("say {\"replicas\": 2}, or {\"min\": 1, \"max\": 4}".into()))
        }
        (None, min, max) => bounds(min, max),
    }
}

/// `{"slo": "20ms"}`; null takes back what was set.
pub(super) fn slo(body: &Value) -> Result<Option<String>, ApiError> {
    match body.get("slo") {
        Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => {
            duration(text)?;
            Ok(Some(text.clone()))
        }
        _ => Err(wrong("say {\"slo\": \"20ms\"}, or null for the model's own".into())),
    }
}

/// `{"version": 3}`.
pub(super) fn version(body: &Value) -> Result<u64, ApiError> {
    body["version"].as_u64().ok_or_else(|| wrong("say {\"version\": 3}".into()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_deployment_says_what_it_wants_behind_its_path() {
        let query = Query::read(Some("hold=true&keep_warm=10m&min=1&max=4&slo=20ms")).unwrap();
        let options = query.options().unwrap();
        let replicas = Some(Replicas { min: 1, max: 4 });
        let keep_warm = Some(Duration::from_secs(600));
        assert_eq!(options, Options { hold: true, keep_warm, replicas, slo: Some("20ms".into()) });
        assert_eq!(Query::read(None).unwrap().options().unwrap(), Options::default());
        for wrong in ["hold=maybe", "min=x", "min=3&max=2", "min=0", "slo=fast", "unknown=1"] {
            let refused = Query::read(Some(wrong)).and_then(|query| query.options());
            assert!(refused.is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_number_of_replicas_is_one_or_a_range() {
        assert_eq!(replicas(&json!({"replicas": 2})).unwrap(), Replicas { min: 2, max: 2 });
        assert_eq!(replicas(&json!({"min": 1, "max": 4})).unwrap(), Replicas { min: 1, max: 4 });
        assert_eq!(replicas(&json!({"max": 4})).unwrap(), Replicas { min: 1, max: 4 });
        for wrong in [json!({}), json!({"replicas": 0}), json!({"replicas": "2"}), json!([1])] {
            assert!(replicas(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_slo_is_a_duration_or_taken_back() {
        assert_eq!(slo(&json!({"slo": "20ms"})).unwrap(), Some("20ms".into()));
        assert_eq!(slo(&json!({"slo": null})).unwrap(), None);
        assert!(slo(&json!({})).is_err() && slo(&json!({"slo": "soon"})).is_err());
        assert_eq!(version(&json!({"version": 3})).unwrap(), 3);
        assert!(version(&json!({"version": "3"})).is_err());
    }
}
