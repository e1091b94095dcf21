//! The Open Inference Protocol over HTTP.

use serde_json::Value;

use super::questions::{self, Question};
use super::{Prepared, RequestError, Spec, shown};
use crate::address::Address;
use crate::http::get;
use crate::payload::{Encoding, Input, Payload, http_request, inputs_of, payload_of};

const ROOT: &str = "/v2/models";

pub(super) fn requests(
    spec: &Spec,
    address: Address,
    encoding: Encoding,
) -> Result<Vec<Vec<u8>>, RequestError> {
    let model = spec.model_path(ROOT)?;
    let (host, path) = (address.host(), format!("{model}/infer"));
    let mut prepared = Prepared::default();
    questions::each(spec, encoding, &|| inputs(spec, address, &model), &mut |question| {
        let payload = match question {
            Question::Tensors { inputs, values } => payload_of(encoding, &inputs, values),
            Question::Json(text) => Payload::json(text),
        };
        prepared.push(http_request(&host, &path, &payload))
    })?;
    Ok(prepared.requests)
}

fn inputs(spec: &Spec, address: Address, model: &str) -> Result<Option<Vec<Input>>, RequestError> {
    if let Some(input) = spec.given_input()? {
        return Ok(Some(vec![input]));
    }
    Ok(Some(inputs_of(&metadata(address, model)?, spec.rows)?))
}

pub(super) fn metadata(address: Address, path: &str) -> Result<Value, RequestError> {
    let (answer, path) = (get(address, path)?, path.to_owned());
    if answer.status != 200 {
        let (status, body) = (answer.status, shown(&answer.body));
        return Err(RequestError::NoMetadata { path, status, body });
    }
    serde_json::from_slice(&answer.body).map_err(|source| RequestError::Metadata { path, source })
}
