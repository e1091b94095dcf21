//! The Open Inference Protocol over gRPC.

use std::net::SocketAddr;

use super::questions::{self, Question};
use super::{Prepared, RequestError, Spec, field};
use crate::grpc;
use crate::payload::{Encoding, Input};
use crate::plan::Expect;

/// Requests asked before the load: a mistake shows in the first one, seldom later.
const ASKED_FIRST: usize = 3;

pub(super) fn requests(spec: &Spec, address: SocketAddr) -> Result<Vec<Vec<u8>>, RequestError> {
    let model = spec.model.as_deref().ok_or(field("model", "name the model to ask"))?;
    let mut prepared = Prepared::default();
    let inputs = || inputs(spec, address, model);
    questions::each(spec, Encoding::Binary, &inputs, &mut |question| match question {
        Question::Tensors { inputs, values } => {
            prepared.push(grpc::message(model, spec.version, &inputs, values))
        }
        Question::Json(_) => Err(field(
            "payload",
            "whole bodies go over HTTP; over gRPC give {\"input\": [...]} or a .npy file",
        )),
    })?;
    Ok(prepared.requests)
}

fn inputs(
    spec: &Spec,
    address: SocketAddr,
    model: &str,
) -> Result<Option<Vec<Input>>, RequestError> {
    if let Some(input) = spec.given_input()? {
        return Ok(Some(vec![input]));
    }
    Ok(Some(grpc::inputs(address, model, spec.version, spec.rows)?))
}

/// Statuses are gRPC's: 0 is right unless another is asked for.
pub(super) fn expected(
    spec: &Spec,
    address: SocketAddr,
    requests: &[Vec<u8>],
) -> Result<Vec<Expect>, RequestError> {
    if requests.is_empty() {
        return Err(field("payload", "the file has no rows or lines"));
    }
    if spec.check.reference.is_some() {
        return Err(field("check.reference", "values are compared over HTTP, not over gRPC"));
    }
    let right = Expect { status: Some(spec.check.status.unwrap_or(0)), ..Expect::default() };
    let mut expected = vec![right; requests.len()];
    let asked = if spec.check.same_answer { requests.len() } else { ASKED_FIRST };
    for (message, expect) in requests.iter().zip(&mut expected).take(asked) {
        let answer = grpc::ask(address, message)?;
        expect.body = spec.check.same_answer.then_some(answer);
    }
    Ok(expected)
}
