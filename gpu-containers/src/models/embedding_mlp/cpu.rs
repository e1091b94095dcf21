//! The model on the CPU: what the device's answers are held against, and what serves without one.
//!
//! Weights are packed once into panels of [`LANES`] outputs, so that the inner loop multiplies one input by a panel's
//! neighbouring weights for [`ROWS`] rows at a time: vector instructions without reordering a sum, and each weight read
//! once for several rows. One thread: replicas are how it scales.

use super::weights::{Ids, Layer, Weights};

/// Outputs of a panel: two vectors of the oldest instruction set we run on.
const LANES: usize = 8;
/// Rows that share a reading of the weights: as many as leave the sums in registers.
const ROWS: usize = 4;

/// The model, ready to run.
#[derive(Debug)]
pub(super) struct CpuMlp {
    table: Vec<f32>,
    width: usize,
    per_row: usize,
    layers: Vec<Packed>,
    /// What layers read and write in turn, used again for each batch.
    here: Vec<f32>,
    there: Vec<f32>,
}

impl CpuMlp {
    pub(super) fn new(weights: Weights) -> CpuMlp {
        let layers = weights.layers.iter().map(Packed::new).collect();
        let (width, per_row) = (weights.shape.width, weights.shape.per_row);
        CpuMlp { table: weights.table, width, per_row, layers, here: Vec::new(), there: Vec::new() }
    }

    /// The scores of all rows, whose ids are below the vocabulary's size.
    pub(super) fn run(&mut self, ids: Ids<'_>) -> &[f32] {
        let rows = ids.len() / self.per_row;
        self.here.resize(rows * self.width, 0.0);
        match ids {
            Ids::I32(ids) => self.pool(ids, |&id| usize::try_from(id).ok()),
            Ids::I64(ids) => self.pool(ids, |&id| usize::try_from(id).ok()),
        }
        let last = self.layers.len() - 1;
        for (at, layer) in self.layers.iter().enumerate() {
            self.there.resize(rows * layer.outputs, 0.0);
            layer.run(&self.here, &mut self.there, at < last);
            std::mem::swap(&mut self.here, &mut self.there);
        }
        &self.here
    }

    /// The mean of the embeddings each row names; negative ids are padding.
    fn pool<T>(&mut self, ids: &[T], named: impl Fn(&T) -> Option<usize>) {
        let rows = ids.chunks_exact(self.per_row);
        for (ids, mean) in rows.zip(self.here.chunks_exact_mut(self.width)) {
            mean.fill(0.0);
            let mut count = 0_u32;
            for id in ids.iter().filter_map(&named) {
                count += 1;
                let embedding = &self.table[id * self.width..][..self.width];
                mean.iter_mut().zip(embedding).for_each(|(sum, value)| *sum += value);
            }
            let share = if count > 0 { 1.0 / count as f32 } else { 0.0 };
            mean.iter_mut().for_each(|sum| *sum *= share);
        }
    }
}

/// One layer's weights, panel by panel: `panels[panel][input][lane]`, the last panel filled up with zeros.
#[derive(Debug)]
struct Packed {
    inputs: usize,
    outputs: usize,
    panels: Vec<[f32; LANES]>,
    bias: Vec<f32>,
}

impl Packed {
    fn new(layer: &Layer) -> Packed {
        let (inputs, outputs) = (layer.inputs, layer.outputs);
        let mut panels = vec![[0.0; LANES]; outputs.div_ceil(LANES) * inputs];
        for (output, row) in layer.weights.chunks_exact(inputs).enumerate() {
            let panel = &mut panels[output / LANES * inputs..][..inputs];
            panel.iter_mut().zip(row).for_each(|(lanes, &weight)| lanes[output % LANES] = weight);
        }
        Packed { inputs, outputs, panels, bias: layer.bias.clone() }
    }

    /// `y = x · weightsᵀ + bias`, zero for what is below if `relu`.
    fn run(&self, x: &[f32], y: &mut [f32], relu: bool) {
        for (panel, weights) in self.panels.chunks_exact(self.inputs).enumerate() {
            let groups = x.chunks(ROWS * self.inputs).zip(y.chunks_mut(ROWS * self.outputs));
            for (x, y) in groups {
                match x.len() / self.inputs {
                    ROWS => self.put(panel, &sums::<ROWS>(weights, x, self.inputs), y, relu),
                    rows => (0..rows).for_each(|row| {
                        let x = &x[row * self.inputs..][..self.inputs];
                        let y = &mut y[row * self.outputs..][..self.outputs];
                        self.put(panel, &sums::<1>(weights, x, self.inputs), y, relu);
                    }),
                }
            }
        }
    }

    /// One panel's outputs of some rows.
    fn put(&self, panel: usize, sums: &[[f32; LANES]], y: &mut [f32], relu: bool) {
        let first = panel * LANES;
        let lanes = LANES.min(self.outputs - first);
        for (sums, y) in sums.iter().zip(y.chunks_exact_mut(self.outputs)) {
            let outputs = y[first..first + lanes].iter_mut();
            for ((y, sum), bias) in outputs.zip(sums).zip(&self.bias[first..]) {
                let biased = sum + bias;
                *y = if relu { biased.max(0.0) } else { biased };
            }
        }
    }
}

/// The products of `R` rows with one panel.
fn sums<const R: usize>(weights: &[[f32; LANES]], x: &[f32], inputs: usize) -> [[f32; LANES]; R] {
    let rows: [&[f32]; R] = std::array::from_fn(|row| &x[row * inputs..][..weights.len()]);
    let mut sums = [[0.0_f32; LANES]; R];
    for (input, weights) in weights.iter().enumerate() {
        for (sums, x) in sums.iter_mut().zip(&rows) {
            let x = x[input];
            sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += x * weight);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::super::weights::{Random, Shape};
    use super::*;
    use schemas::tensor::DType;

    /// The definition, in the precision of the sums that are compared.
    fn naive(weights: &Weights, ids: &[i64]) -> Vec<f64> {
        let width = weights.shape.width;
        let mean = |ids: &[i64]| {
            let named: Vec<usize> = ids.iter().filter_map(|&id| usize::try_from(id).ok()).collect();
            let at = |id: usize, column: usize| f64::from(weights.table[id * width + column]);
            let share = named.len().max(1) as f64;
            (0..width)
                .map(|column| named.iter().map(|&id| at(id, column)).sum::<f64>() / share)
                .collect::<Vec<f64>>()
        };
        let row = |ids: &[i64]| {
            let mut x = mean(ids);
            for (at, layer) in weights.layers.iter().enumerate() {
                let relu = at + 1 < weights.layers.len();
                let outputs = layer.weights.chunks_exact(layer.inputs).zip(&layer.bias);
                x = outputs
                    .map(|(row, &bias)| {
                        let sum: f64 = row.iter().zip(&x).map(|(&w, x)| f64::from(w) * x).sum();
                        let sum = sum + f64::from(bias);
                        if relu { sum.max(0.0) } else { sum }
                    })
                    .collect();
            }
            x
        };
        ids.chunks_exact(weights.shape.per_row).flat_map(row).collect()
    }

    fn model(hidden: &[usize], outputs: usize) -> Weights {
        let shape = Shape { vocabulary: 50, width: 13, per_row: 5, ids: DType::I64 };
        Random { shape, hidden: hidden.to_vec(), outputs, seed: 7 }.weights()
    }

    #[test]
    fn scores_are_those_of_the_definition_whatever_the_sizes() {
        for (hidden, outputs) in [(&[][..], 1), (&[8][..], 3), (&[17, 9][..], 16)] {
            let weights = model(hidden, outputs);
            let mut cpu = CpuMlp::new(weights.clone());
            for rows in [1, 3, 4, 5, 9] {
                let ids: Vec<i64> = (0..rows * 5).map(|at| (at * 7919 % 53) - 3).collect();
                let found = cpu.run(Ids::I64(&ids)).to_vec();
                let expected = naive(&weights, &ids);
                assert_eq!(found.len(), expected.len());
                for (found, expected) in found.iter().zip(&expected) {
                    assert!((f64::from(*found) - expected).abs() < 1e-4, "{found} {expected}");
                }
            }
        }
    }

    #[test]
    fn a_row_of_padding_alone_is_pooled_to_zeros() {
        let weights = model(&[], 2);
        let bias = weights.layers[0].bias.clone();
        assert_eq!(CpuMlp::new(weights).run(Ids::I64(&[-1; 5])), bias);
    }

    #[test]
    fn rows_do_not_depend_on_their_company() {
        let weights = model(&[17], 4);
        let mut cpu = CpuMlp::new(weights);
        let ids: Vec<i64> = (0..35).map(|at| at % 50).collect();
        let together = cpu.run(Ids::I64(&ids)).to_vec();
        for (row, ids) in ids.chunks_exact(5).enumerate() {
            assert_eq!(cpu.run(Ids::I64(ids)), &together[row * 4..][..4]);
        }
    }
}
