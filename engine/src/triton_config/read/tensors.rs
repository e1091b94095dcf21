//! `input`, `output` and `model_warmup`.

use schemas::tensor::DType;

use super::super::Tensor;
use super::super::fault::{ConfigFault, Fault, Place, Warning};
use super::super::fields::set;
use super::super::text::{Field, Message};

const DTYPES: [(&str, DType); 14] = [
    ("TYPE_BOOL", DType::Bool),
    ("TYPE_UINT8", DType::U8),
    ("TYPE_UINT16", DType::U16),
    ("TYPE_UINT32", DType::U32),
    ("TYPE_UINT64", DType::U64),
    ("TYPE_INT8", DType::I8),
    ("TYPE_INT16", DType::I16),
    ("TYPE_INT32", DType::I32),
    ("TYPE_INT64", DType::I64),
    ("TYPE_FP16", DType::F16),
    ("TYPE_FP32", DType::F32),
    ("TYPE_FP64", DType::F64),
    ("TYPE_STRING", DType::Bytes),
    ("TYPE_BF16", DType::Bf16),
];

const FIELDS: [&str; 10] = [
    "name",
    "data_type",
    "dims",
    "format",
    "reshape",
    "is_shape_tensor",
    "allow_ragged_batch",
    "optional",
    "is_non_linear_format_io",
    "label_filename",
];

const RESHAPE: &str = "shape the tensor in the model";
const FORMAT: &str = "a tensor has the dimensions that are declared, in their order";
const SHAPE_TENSOR: &str = "it belongs to TensorRT, which does not run here";
const RAGGED: &str = "inputs of one batch are laid together here; see pad in model.toml";
const OPTIONAL: &str = "every input is always there; give it a value that means nothing";

pub(super) fn input(field: &Field) -> Result<Tensor, ConfigFault> {
    let message = field.message()?;
    let mut tensor = Parts::default();
    for field in &message.fields {
        match field.name.as_str() {
            "format" => {
                let none = [("FORMAT_NONE", ()), ("0", ())];
                field.name_of(&none, "FORMAT_NONE").map_err(|_| field.refused("format", FORMAT))?;
            }
            "allow_ragged_batch" => unless_false(field, "allow_ragged_batch", RAGGED)?,
            "optional" => unless_false(field, "optional", OPTIONAL)?,
            _ => tensor.part(field)?,
        }
    }
    tensor.whole(message.at)
}

pub(super) fn output(field: &Field) -> Result<Tensor, ConfigFault> {
    let message = field.message()?;
    let (mut tensor, mut labels) = (Parts::default(), None);
    for field in &message.fields {
        match field.name.as_str() {
            "label_filename" if field.text()?.is_empty() => {}
            "label_filename" => set(&mut labels, field, field.text()?)?,
            _ => tensor.part(field)?,
        }
    }
    Ok(Tensor { labels, ..tensor.whole(message.at)? })
}

/// Of a tensor, while it is read.
#[derive(Default)]
struct Parts {
    name: Option<String>,
    dtype: Option<DType>,
    dims: Vec<Option<u64>>,
}

impl Parts {
    /// What inputs and outputs have in common.
    fn part(&mut self, field: &Field) -> Result<(), ConfigFault> {
        match field.name.as_str() {
            "name" => set(&mut self.name, field, field.text()?),
            "data_type" => set(&mut self.dtype, field, dtype(field)?),
            "dims" => {
                self.dims.push(dim(field)?);
                Ok(())
            }
            "reshape" => Err(field.refused("reshape", RESHAPE)),
            "is_shape_tensor" => unless_false(field, "is_shape_tensor", SHAPE_TENSOR),
            "is_non_linear_format_io" => {
                unless_false(field, "is_non_linear_format_io", SHAPE_TENSOR)
            }
            _ => Err(field.unknown(&FIELDS)),
        }
    }

    fn whole(self, at: Place) -> Result<Tensor, ConfigFault> {
        let missing = |name| ConfigFault { at, fault: Fault::Missing { name } };
        let name = self.name.ok_or_else(|| missing("name"))?;
        let dtype = self.dtype.ok_or_else(|| missing("data_type"))?;
        Ok(Tensor { name, dtype, dims: self.dims, labels: None, at })
    }
}

fn dtype(field: &Field) -> Result<DType, ConfigFault> {
    field.name_of(&DTYPES, "a type as in TYPE_FP32")
}

/// -1 is any size.
fn dim(field: &Field) -> Result<Option<u64>, ConfigFault> {
    if field.number()? == -1 { Ok(None) } else { field.count().map(Some) }
}

fn unless_false(
    field: &Field,
    name: &'static str,
    instead: &'static str,
) -> Result<(), ConfigFault> {
    if field.truth()? { Err(field.refused(name, instead)) } else { Ok(()) }
}

/// What is asked for is checked, then left to the warm-up here.
pub(super) fn warm_up(field: &Field, warnings: &mut Vec<Warning>) -> Result<(), ConfigFault> {
    const FIELDS: [&str; 4] = ["name", "batch_size", "inputs", "count"];
    const SAMPLE: &str = "rows for the warm-up are zeros, or those of sample.json beside the model";
    const SIZES: &str = "every replica runs batches of the sizes that it will see";
    for field in &field.message()?.fields {
        match field.name.as_str() {
            "name" => drop(field.text()?),
            "batch_size" | "count" if field.count::<u64>()? <= 1 => {}
            "batch_size" => {
                warnings.push(Warning {
                    at: field.at,
                    field: "model_warmup.batch_size",
                    why: SIZES,
                });
            }
            "count" => {
                warnings.push(Warning { at: field.at, field: "model_warmup.count", why: SIZES });
            }
            "inputs" if !is_zeros(field.entry()?.1)? => {
                warnings.push(Warning { at: field.at, field: "model_warmup.inputs", why: SAMPLE });
            }
            "inputs" => {}
            _ => return Err(field.unknown(&FIELDS)),
        }
    }
    Ok(())
}

fn is_zeros(input: &Message) -> Result<bool, ConfigFault> {
    const FIELDS: [&str; 5] = ["data_type", "dims", "zero_data", "random_data", "input_data_file"];
    let mut zeros = false;
    for field in &input.fields {
        match field.name.as_str() {
            "data_type" => drop(dtype(field)?),
            "dims" => drop(dim(field)?),
            "zero_data" => zeros = field.truth()?,
            "random_data" => drop(field.truth()?),
            "input_data_file" => drop(field.text()?),
            _ => return Err(field.unknown(&FIELDS)),
        }
    }
    Ok(zeros)
}
