//! What a right answer to each request is: asked of the server before the load, or read from a reference file.

use std::path::Path;

use super::questions::{each_line, has_ending, next_rows, open_npy, parsed, wrong_line};
use super::{Check, PREPARED_BYTES_MAX, RequestError, Spec, field, shown};
use crate::address::Address;
use crate::check::{Reference, numbers};
use crate::http::exchange;
use crate::plan::Expect;

/// Requests asked before the load: a mistake shows in the first one, seldom later.
const ASKED_FIRST: usize = 3;
/// The same where every answer is kept: each takes a connection of its own, and a machine has some 28,000 ports.
const KEPT_MAX: usize = 10_000;

/// One for each request.
pub(super) fn of(
    spec: &Spec,
    address: Address,
    requests: &[Vec<u8>],
) -> Result<Vec<Expect>, RequestError> {
    let check = &spec.check;
    if requests.is_empty() {
        return Err(field("payload", "the file has no rows or lines"));
    }
    let status_only = Expect { status: check.status, ..Expect::default() };
    let mut expected = vec![status_only; requests.len()];
    if let Some(path) = &check.reference {
        refer(check, answers(path, spec.rows, check)?, &mut expected)?;
    }
    ask(check, address, requests, &mut expected)?;
    Ok(expected)
}

fn refer(
    check: &Check,
    answers: Vec<Vec<f64>>,
    expected: &mut [Expect],
) -> Result<(), RequestError> {
    let (requests, answers_count) = (expected.len(), answers.len());
    if requests != answers_count {
        return Err(RequestError::ReferenceCount { requests, answers: answers_count });
    }
    for (expect, values) in expected.iter_mut().zip(answers) {
        let output = check.output.clone();
        expect.values = Some(Reference { values, tolerance: check.tolerance, output });
    }
    Ok(())
}

/// The first few, or all where their answers are kept.
fn ask(
    check: &Check,
    address: Address,
    requests: &[Vec<u8>],
    expected: &mut [Expect],
) -> Result<(), RequestError> {
    if check.same_answer && requests.len() > KEPT_MAX {
        return Err(field("check.same-answer", "keep it to 10,000 different requests"));
    }
    let asked = if check.same_answer { requests.len() } else { ASKED_FIRST };
    let mut kept_bytes = 0;
    for (request, (bytes, expect)) in requests.iter().zip(expected).take(asked).enumerate() {
        let answer = exchange(address, bytes)?;
        let status = answer.status;
        let by_status = Expect { status: expect.status, ..Expect::default() };
        if by_status.check(status, &answer.body, None).is_err() {
            return Err(RequestError::Refused { request, status, body: shown(&answer.body) });
        }
        if check.same_answer {
            kept_bytes += answer.body.len();
            expect.body = Some(answer.body);
        }
        if kept_bytes > PREPARED_BYTES_MAX {
            return Err(RequestError::TooMuch);
        }
    }
    Ok(())
}

// ---- reference files ----

fn answers(path: &Path, rows: u64, check: &Check) -> Result<Vec<Vec<f64>>, RequestError> {
    let mut answers = Answers::default();
    if has_ending(path, "npy") {
        let mut npy = open_npy(path)?;
        while let Some(rows) = next_rows(path, &mut npy, rows)? {
            answers.push(rows.values)?;
        }
    } else if has_ending(path, "jsonl") {
        each_line(path, &mut |line, text| {
            let answer = parsed(path, line, text)?;
            // A bare array is the named output alone.
            let output = check.output.as_deref().filter(|_| answer.is_object());
            let values = numbers(text.as_bytes(), None, output).map_err(|_| {
                wrong_line(path, line, "give numbers, or an answer of the server's form")
            })?;
            answers.push(values)
        })?;
    } else {
        return Err(field("check.reference", "give a file that ends in .npy or .jsonl"));
    }
    Ok(answers.values)
}

/// Within the limit.
#[derive(Default)]
struct Answers {
    values: Vec<Vec<f64>>,
    bytes: usize,
}

impl Answers {
    fn push(&mut self, values: Vec<f64>) -> Result<(), RequestError> {
        self.bytes += std::mem::size_of_val(&*values);
        if self.bytes > PREPARED_BYTES_MAX {
            return Err(RequestError::TooMuch);
        }
        self.values.push(values);
        Ok(())
    }
}
