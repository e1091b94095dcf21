//! The weights of an `embedding_mlp`, from `model.safetensors` as PyTorch would save them.
//!
//! `embedding.weight` f32 (vocabulary × width), then `layers.N.weight` f32 (outputs × inputs) and `layers.N.bias` f32
//! (outputs), N rising. In the file's metadata `ids_per_row` says how many ids a row has, `ids` their dtype, `i64`
//! (the default) or `i32`.

use std::collections::HashMap;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use schemas::tensor::DType;

use crate::models::saved::Saved;

const TABLE: &str = "embedding.weight";
const PER_ROW: &str = "ids_per_row";
const IDS: &str = "ids";
/// More ids a row than any model has that takes their mean; a larger number is a mistake.
const PER_ROW_MAX: usize = 65_536;

/// What a row and the table look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub vocabulary: usize,
    /// Numbers of one embedding.
    pub width: usize,
    /// Ids of one row.
    pub per_row: usize,
    /// I32 or I64.
    pub ids: DType,
}

impl Shape {
    pub fn id_bytes(&self) -> usize {
        if self.ids == DType::I32 { 4 } else { 8 }
    }

    pub fn row_bytes(&self) -> usize {
        self.per_row * self.id_bytes()
    }
}

/// Row-major: one row of weights an output.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    pub inputs: usize,
    pub outputs: usize,
    pub weights: Vec<f32>,
    pub bias: Vec<f32>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    pub shape: Shape,
    pub table: Vec<f32>,
    pub layers: Vec<Layer>,
}

/// The ids of a batch, row by row.
#[derive(Clone, Copy, Debug)]
pub enum Ids<'a> {
    I32(&'a [i32]),
    I64(&'a [i64]),
}

impl Ids<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Ids::I32(ids) => ids.len(),
            Ids::I64(ids) => ids.len(),
        }
    }

    /// Where the first id is that the table doesn't have, and which.
    pub fn beyond(&self, vocabulary: usize) -> Option<(usize, i64)> {
        let beyond = |id: i64| usize::try_from(id).is_ok_and(|id| id >= vocabulary);
        match self {
            Ids::I32(ids) => {
                ids.iter().map(|&id| i64::from(id)).enumerate().find(|(_, id)| beyond(*id))
            }
            Ids::I64(ids) => ids.iter().copied().enumerate().find(|(_, id)| beyond(*id)),
        }
    }
}

impl Weights {
    /// A sentence, when the file isn't what the model needs.
    pub fn parse(bytes: &[u8]) -> Result<Weights, String> {
        let file = Saved::parse(bytes)?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let (sizes, table) = file.f32(TABLE)?;
        let [vocabulary, width] = sizes[..] else {
            return Err(format!("{TABLE} has {} dimensions, it needs two", sizes.len()));
        };
        if vocabulary == 0 || width == 0 || vocabulary > i32::MAX as usize {
            return Err(format!("{TABLE} has {vocabulary} rows of {width} numbers"));
        }
        let (per_row, ids) = (per_row(&metadata)?, ids(&metadata)?);
        let shape = Shape { vocabulary, width, per_row, ids };
        Ok(Weights { shape, table, layers: layers(&file, width)? })
    }

    /// As a file that [`Weights::parse`] reads.
    pub fn serialize(&self) -> Result<Vec<u8>, String> {
        let Shape { vocabulary, width, per_row, ids } = self.shape;
        let mut tensors = vec![(TABLE.to_owned(), view(vec![vocabulary, width], &self.table)?)];
        for (at, layer) in self.layers.iter().enumerate() {
            let weights = view(vec![layer.outputs, layer.inputs], &layer.weights)?;
            tensors.push((weight_name(at), weights));
            tensors.push((bias_name(at), view(vec![layer.bias.len()], &layer.bias)?));
        }
        let metadata = [(PER_ROW, per_row.to_string()), (IDS, ids.name().to_owned())];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value)).into();
        safetensors::serialize(tensors, Some(metadata)).map_err(|error| error.to_string())
    }
}

fn view(shape: Vec<usize>, numbers: &[f32]) -> Result<TensorView<'_>, String> {
    let bytes = bytemuck::cast_slice(numbers);
    TensorView::new(Dtype::F32, shape, bytes).map_err(|error| error.to_string())
}

fn weight_name(at: usize) -> String {
    format!("layers.{at}.weight")
}

fn bias_name(at: usize) -> String {
    format!("layers.{at}.bias")
}

fn per_row(metadata: &HashMap<String, String>) -> Result<usize, String> {
    let given = metadata.get(PER_ROW).ok_or_else(|| {
        format!("its metadata lacks {PER_ROW}, the number of ids of a row: save it with that")
    })?;
    let sane = given.parse().ok().filter(|count| (1..=PER_ROW_MAX).contains(count));
    sane.ok_or_else(|| format!("{PER_ROW} is '{given}'; use 1 to {PER_ROW_MAX}"))
}

fn ids(metadata: &HashMap<String, String>) -> Result<DType, String> {
    match metadata.get(IDS).map(String::as_str) {
        None | Some("i64") => Ok(DType::I64),
        Some("i32") => Ok(DType::I32),
        Some(other) => Err(format!("{IDS} is '{other}'; use i64 or i32")),
    }
}

/// All of them in the order of their numbers, which may have gaps: activations have no weights.
fn layers(file: &Saved<'_>, width: usize) -> Result<Vec<Layer>, String> {
    let number = |name: &str| name.strip_prefix("layers.")?.strip_suffix(".weight")?.parse().ok();
    let mut found: Vec<usize> = file.names().into_iter().filter_map(number).collect();
    found.sort_unstable();
    if found.is_empty() {
        return Err("it has no layers.N.weight".to_owned());
    }
    let mut inputs = width;
    let mut layers = Vec::with_capacity(found.len());
    for at in found {
        let layer = layer(file, at, inputs)?;
        inputs = layer.outputs;
        layers.push(layer);
    }
    Ok(layers)
}

fn layer(file: &Saved<'_>, at: usize, inputs: usize) -> Result<Layer, String> {
    let (weight, bias_name) = (weight_name(at), bias_name(at));
    let (sizes, weights) = file.f32(&weight)?;
    let (bias_sizes, bias) = file.f32(&bias_name)?;
    let outputs = sizes.first().copied().unwrap_or(0);
    if outputs == 0 || sizes != [outputs, inputs] {
        return Err(format!("{weight} is {sizes:?}, what comes before has {inputs} outputs"));
    }
    if bias_sizes != [outputs] {
        return Err(format!("{bias_name} is {bias_sizes:?}, {weight} has {outputs} outputs"));
    }
    Ok(Layer { inputs, outputs, weights, bias })
}

/// A model of any size, to measure and to test with.
#[derive(Clone, Debug)]
pub struct Random {
    pub shape: Shape,
    pub hidden: Vec<usize>,
    pub outputs: usize,
    pub seed: u64,
}

impl Random {
    /// Spread so that scores stay around one whatever the sizes.
    pub fn weights(&self) -> Weights {
        let mut state = self.seed;
        let mut draw = |count: usize, spread: f32| -> Vec<f32> {
            (0..count).map(|_| spread * unit(&mut state)).collect()
        };
        let table = draw(self.shape.vocabulary * self.shape.width, 1.0);
        let mut inputs = self.shape.width;
        let sizes = self.hidden.iter().chain([&self.outputs]);
        let layers = sizes.map(|&outputs| {
            let weights = draw(inputs * outputs, (3.0 / inputs as f32).sqrt());
            Layer {
                inputs: std::mem::replace(&mut inputs, outputs),
                outputs,
                weights,
                bias: draw(outputs, 0.1),
            }
        });
        let layers = layers.collect();
        Weights { shape: self.shape, table, layers }
    }
}

/// From -1 to 1, by splitmix64: the same weights from the same seed everywhere.
fn unit(state: &mut u64) -> f32 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random() -> Random {
        let shape = Shape { vocabulary: 7, width: 4, per_row: 3, ids: DType::I32 };
        Random { shape, hidden: vec![5], outputs: 2, seed: 1 }
    }

    fn refused(change: impl FnOnce(&mut Weights)) -> String {
        let mut weights = random().weights();
        change(&mut weights);
        let file = weights.serialize().expect("the sizes agree with the numbers");
        Weights::parse(&file).expect_err("it was spoiled")
    }

    #[test]
    fn what_was_written_is_read() {
        let weights = random().weights();
        let read = Weights::parse(&weights.serialize().expect("the sizes agree"));
        assert_eq!(read, Ok(weights));
    }

    #[test]
    fn weights_that_do_not_fit_together_are_refused_by_name() {
        let error = refused(|it| {
            it.layers[1].inputs = 6;
            it.layers[1].weights.resize(12, 0.0);
        });
        assert!(error.contains("layers.1.weight") && error.contains('5'), "{error}");
        let error = refused(|it| it.layers[0].bias.truncate(4));
        assert!(error.contains("layers.0.bias is [4]"), "{error}");
        let error = refused(|it| it.shape.per_row = 0);
        assert!(error.contains("ids_per_row is '0'"), "{error}");
        let error = refused(|it| it.shape.ids = DType::F32);
        assert!(error.contains("i64 or i32"), "{error}");
        let error = refused(|it| it.layers.clear());
        assert!(error.contains("no layers.N.weight"), "{error}");
        assert!(Weights::parse(b"garbage").is_err());
    }

    #[test]
    fn weights_of_another_precision_are_refused_with_what_to_export() {
        let half = TensorView::new(Dtype::F16, vec![2, 2], &[0; 8]).expect("8 bytes");
        let metadata = HashMap::from([(PER_ROW.to_owned(), "3".to_owned())]);
        let file = safetensors::serialize([(TABLE, half)], Some(metadata)).expect("one tensor");
        let error = Weights::parse(&file).expect_err("halves");
        assert!(error.contains("embedding.weight is F16, export it as F32"), "{error}");
    }

    #[test]
    fn the_first_id_beyond_the_table_is_found_and_padding_is_not() {
        assert_eq!(Ids::I64(&[0, -1, 6]).beyond(7), None);
        assert_eq!(Ids::I64(&[0, -1, 7, 8]).beyond(7), Some((2, 7)));
        assert_eq!(Ids::I32(&[i32::MIN, i32::MAX]).beyond(7), Some((1, i64::from(i32::MAX))));
    }
}
