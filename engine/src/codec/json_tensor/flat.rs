//! One flat object whose values are the inputs of a model, by their names.

use std::borrow::Cow;

use schemas::lifecycle::ModelSpec;
use schemas::tensor::{Dim, Shape, TensorSpec, elements};

use super::lists::{self, Form, Head};
use super::scan::Scanner;
use super::{InferRequest, once, optional, request_parameters, text};
use crate::codec::bind::Named;
use crate::codec::fault::{InputFault, excerpt, shape_text};
use crate::query::types::Tensor;

/// A request as its author wrote it, its values in the datatypes that the model declares.
#[derive(Debug)]
pub struct Flat<'a> {
    pub id: Option<Cow<'a, str>>,
    /// Parameter `timeout`, µs.
    pub timeout_us: Option<u64>,
    /// Parameter `foil_class`.
    pub class: Option<Cow<'a, str>>,
    pub inputs: Vec<Named<'a>>,
}

pub fn read<'a>(spec: &'a ModelSpec, json: &'a [u8]) -> Result<Flat<'a>, InputFault> {
    let mut scan = Scanner::new(json);
    let mut request = InferRequest::default();
    let (mut id, mut parameters, mut inputs) = (false, false, Vec::new());
    scan.members(|scan, key| {
        if let Some(declared) = spec.inputs.iter().find(|input| input.name == key) {
            return push(&mut inputs, declared, scan);
        }
        match key {
            "id" => {
                once(&mut id, "id", scan)?;
                request.id = optional(scan, |scan| text(scan, "id"))?;
                Ok(())
            }
            "parameters" => {
                once(&mut parameters, "parameters", scan)?;
                optional(scan, |scan| request_parameters(scan, &mut request)).map(drop)
            }
            _ => scan.skip(),
        }
    })?;
    scan.end()?;
    let InferRequest { id, timeout_us, class, .. } = request;
    Ok(Flat { id, timeout_us, class, inputs })
}

fn push<'a>(
    inputs: &mut Vec<Named<'a>>,
    declared: &'a TensorSpec,
    scan: &mut Scanner<'_>,
) -> Result<(), InputFault> {
    let name = &*declared.name;
    if inputs.iter().any(|input| input.name == name) {
        return Err(InputFault::DuplicateTensor { tensor: excerpt(name) });
    }
    let count = count(*scan)?;
    let shape = shape(declared, count);
    let too_large =
        || InputFault::ShapeTooLarge { tensor: excerpt(name), shape: shape_text(&shape) };
    let elements = elements(&shape).ok_or_else(too_large)?;
    let dtype = declared.dtype;
    let head = Head { name, dtype, shape: &shape, elements, form: Form::ListsOrOne };
    let data = lists::read(scan, head)?;
    inputs.push(Named { name, tensor: Tensor { dtype, shape, data } });
    Ok(())
}

/// Elements of the value under the cursor of this copy: of a list its own, anything else is one.
fn count(mut scan: Scanner<'_>) -> Result<u64, InputFault> {
    if scan.peek() != b'[' {
        return Ok(1);
    }
    let mut count = 0;
    scan.elements(|scan| {
        count += 1;
        scan.skip()
    })?;
    Ok(count)
}

/// The declared shape, with room for so many elements where it varies; without, or where they don't fill it evenly, the
/// elements are found to be too few or too many when they are read.
fn shape(declared: &TensorSpec, count: u64) -> Shape {
    let fixed = declared.dims.iter().fold(1_u64, |product, dim| match dim {
        Dim::Fixed(size) => product.saturating_mul(*size),
        Dim::Batch | Dim::Variable => product,
    });
    let varies = declared.dims.iter().rposition(|dim| *dim == Dim::Variable);
    let free = varies.or_else(|| declared.dims.iter().position(|dim| *dim == Dim::Batch));
    let left = count.checked_div(fixed).unwrap_or_default();
    let size = |(at, dim): (usize, &Dim)| match dim {
        Dim::Fixed(size) => *size,
        Dim::Batch | Dim::Variable => {
            if free == Some(at) {
                left
            } else {
                1
            }
        }
    };
    declared.dims.iter().enumerate().map(size).collect()
}
