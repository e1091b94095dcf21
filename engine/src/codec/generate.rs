//! The bodies of the generate extension: one flat object of scalars and lists, by the names of inputs or outputs.
//!
//! A value's shape follows from what its input declares: the elements fill the fixed dimensions, and what is left over is
//! the size of the last one that varies, else the rows. Keys that name no input are parameters, and passed over as those
//! of other requests are. An output of one element is a scalar, any other a flat list.

use schemas::lifecycle::ModelSpec;

use crate::codec::answer::{About, Chosen};
use crate::codec::fault::InputFault;
pub use crate::codec::json_tensor::flat::{Flat, read};
use crate::codec::json_tensor::write::{self, NoJson};
use crate::query::types::Tensor;

/// Writes one answer, or one part of one.
pub fn write(
    out: &mut Vec<u8>,
    about: About<'_>,
    chosen: &[Chosen],
    outputs: &[Tensor],
) -> Result<(), InputFault> {
    out.extend_from_slice(b"{\"model_name\":");
    write::scalar(out, about.model);
    out.extend_from_slice(b",\"model_version\":\"");
    write::scalar(out, &about.version.0);
    out.push(b'"');
    if let Some(id) = about.id {
        out.extend_from_slice(b",\"id\":");
        write::scalar(out, id);
    }
    for choice in chosen {
        value(out, about.spec, choice.index, &outputs[choice.index])?;
    }
    out.push(b'}');
    Ok(())
}

fn value(
    out: &mut Vec<u8>,
    spec: &ModelSpec,
    index: usize,
    tensor: &Tensor,
) -> Result<(), InputFault> {
    let name = &spec.outputs[index].name;
    out.push(b',');
    write::scalar(out, name.as_str());
    out.push(b':');
    let list_at = out.len();
    write::data(out, tensor).map_err(|why| match why {
        NoJson::Datatype => {
            InputFault::OutputNotInJson { tensor: name.clone(), dtype: tensor.dtype }
        }
        NoJson::NotUtf8 => InputFault::OutputNotUtf8 { tensor: name.clone() },
    })?;
    if tensor.shape.iter().product::<u64>() == 1 {
        out.pop();
        out.remove(list_at);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
