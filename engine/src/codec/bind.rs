//! A question against the model it is for: the same check for every protocol.

use schemas::lifecycle::ModelSpec;
use schemas::tensor::{DType, Dim, Shape, TensorSpec};
use smallvec::SmallVec;

use crate::codec::fault::{InputFault, excerpt, shape_text};
use crate::query::types::{TaskInputs, Tensor, TensorData, Tensors};

/// A tensor with the name its author gave it.
#[derive(Debug)]
pub struct Named<'n> {
    pub name: &'n str,
    pub tensor: Tensor,
}

/// Puts the tensors into the order the model declares, once every one is known to be what the model takes.
pub fn bind<'n>(
    spec: &ModelSpec,
    given: impl IntoIterator<Item = Named<'n>>,
) -> Result<TaskInputs, InputFault> {
    let mut given: SmallVec<[Option<Named<'_>>; 1]> = given.into_iter().map(Some).collect();
    let mut tensors = Tensors::with_capacity(spec.inputs.len());
    let mut rows = None;
    for declared in &spec.inputs {
        let mut same = given.iter_mut().filter(|slot| holds(slot, &declared.name));
        let found = same.next().and_then(Option::take);
        let Some(Named { mut tensor, .. }) = found else {
            return Err(missing(spec, &declared.name, &given));
        };
        check(declared, &mut tensor)?;
        if spec.batched {
            agree(&mut rows, declared, tensor.shape[0])?;
        }
        tensors.push(tensor);
    }
    if let Some(unknown) = given.iter().flatten().next() {
        return Err(unknown_input(spec, unknown.name));
    }
    Ok(TaskInputs { tensors, rows: check_rows(spec, rows)? })
}

fn holds(slot: &Option<Named<'_>>, name: &str) -> bool {
    slot.as_ref().is_some_and(|named| named.name == name)
}

/// A misspelt name shows as one missing and one unknown; the unknown one is the more helpful to hear of.
fn missing(spec: &ModelSpec, name: &str, given: &[Option<Named<'_>>]) -> InputFault {
    let declared = |named: &&Named<'_>| spec.inputs.iter().any(|input| input.name == named.name);
    match given.iter().flatten().find(|named| !declared(named)) {
        Some(unknown) => unknown_input(spec, unknown.name),
        None => InputFault::MissingInput { tensor: name.to_owned(), known: names(&spec.inputs) },
    }
}

fn unknown_input(spec: &ModelSpec, name: &str) -> InputFault {
    InputFault::UnknownInput { tensor: excerpt(name), known: names(&spec.inputs) }
}

fn check(declared: &TensorSpec, tensor: &mut Tensor) -> Result<(), InputFault> {
    let name = || declared.name.clone();
    // BYTES is both bytes and text on the wire; the model's declaration says which.
    if tensor.dtype.oip_name() != declared.dtype.oip_name() {
        let (expected, found) = (declared.dtype, tensor.dtype);
        return Err(InputFault::WrongDatatype { tensor: name(), expected, found });
    }
    tensor.dtype = declared.dtype;
    if !shape_fits(declared, &tensor.shape) {
        let (expected, found) = (dims_text(&declared.dims), shape_text(&tensor.shape));
        return Err(InputFault::WrongShape { tensor: name(), expected, found });
    }
    match (&tensor.data, declared.dtype) {
        (TensorData::Variable { offsets, values }, DType::Str) => {
            check_text(declared, offsets, values)
        }
        _ => Ok(()),
    }
}

fn shape_fits(declared: &TensorSpec, shape: &Shape) -> bool {
    let fits = |(dim, size): (&Dim, &u64)| match dim {
        Dim::Fixed(fixed) => fixed == size,
        Dim::Batch | Dim::Variable => true,
    };
    declared.dims.len() == shape.len() && declared.dims.iter().zip(shape).all(fits)
}

fn check_text(declared: &TensorSpec, offsets: &[u32], values: &[u8]) -> Result<(), InputFault> {
    for (index, ends) in offsets.windows(2).enumerate() {
        if std::str::from_utf8(&values[ends[0] as usize..ends[1] as usize]).is_err() {
            let (tensor, index) = (declared.name.clone(), index as u64);
            return Err(InputFault::NotUtf8 { tensor, index });
        }
    }
    Ok(())
}

fn agree(rows: &mut Option<u64>, declared: &TensorSpec, found: u64) -> Result<(), InputFault> {
    let expected = *rows.get_or_insert(found);
    if expected == found {
        return Ok(());
    }
    Err(InputFault::RowsDiffer { tensor: declared.name.clone(), expected, found })
}

fn check_rows(spec: &ModelSpec, rows: Option<u64>) -> Result<u32, InputFault> {
    match rows {
        None => Ok(1),
        Some(0) => Err(InputFault::NoRows),
        Some(rows) if rows > u64::from(spec.max_batch) => {
            Err(InputFault::TooManyRows { rows, limit: spec.max_batch })
        }
        Some(rows) => Ok(rows as u32),
    }
}

/// `'image', 'mask'`
pub fn names(tensors: &[TensorSpec]) -> String {
    let names: Vec<_> = tensors.iter().map(|tensor| format!("'{}'", tensor.name)).collect();
    names.join(", ")
}

/// Declared dimensions as the protocol shows them, -1 for any size.
pub fn dims(dims: &[Dim]) -> Vec<i64> {
    let size = |dim: &Dim| match dim {
        Dim::Fixed(size) => i64::try_from(*size).unwrap_or(i64::MAX),
        Dim::Batch | Dim::Variable => -1,
    };
    dims.iter().map(size).collect()
}

fn dims_text(declared: &[Dim]) -> String {
    format!("{:?}", dims(declared))
}

#[cfg(test)]
mod tests;
