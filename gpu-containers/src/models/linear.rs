//! A linear classifier: `score = coef · x + intercept`, the label of the largest score.
//!
//! Weights from `model.safetensors`: `coef` f64 (classes × features), `intercept` f64 and `classes` i64 (one a class).
//! The first of equal scores wins, as NumPy's argmax has it.

use std::path::Path;

use schemas::lifecycle::ModelSpec;
use schemas::tensor::{DType, Dim};

use super::saved::{self, Saved};
use super::{spec, tensor};
use crate::batch::{Batch, Outputs};
use crate::model::{LoadError, Model, Refusal};

#[derive(Debug, Default)]
pub struct Linear {
    coef: Vec<f64>,
    intercept: Vec<f64>,
    classes: Vec<i64>,
    features: usize,
}

impl Model for Linear {
    fn describe(&self) -> ModelSpec {
        let x = tensor("x", DType::F64, &[Dim::Batch, Dim::Fixed(self.features as u64)]);
        let label = tensor("label", DType::I64, &[Dim::Batch]);
        let classes = Dim::Fixed(self.classes.len() as u64);
        let score = tensor("score", DType::F64, &[Dim::Batch, classes]);
        spec("linear", vec![x], vec![label, score])
    }

    fn load(&mut self, directory: &Path) -> Result<(), LoadError> {
        *self = saved::read(directory, parse)?;
        Ok(())
    }

    fn predict(&mut self, batch: &Batch<'_>, outputs: &mut Outputs) -> Result<(), Refusal> {
        let rows = u64::from(batch.rows);
        let mut scores = Vec::with_capacity(batch.rows as usize * self.classes.len());
        let mut labels = Vec::with_capacity(batch.rows as usize);
        for row in batch.inputs[0].f64().chunks_exact(self.features) {
            let first = scores.len();
            scores.extend(self.scores(row));
            labels.push(self.classes[argmax(&scores[first..])]);
        }
        outputs.numbers(&[rows], &labels);
        outputs.numbers(&[rows, self.classes.len() as u64], &scores);
        Ok(())
    }
}

impl Linear {
    fn scores<'a>(&'a self, row: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
        let weights = self.coef.chunks_exact(self.features);
        weights.zip(&self.intercept).map(move |(weights, intercept)| {
            weights.iter().zip(row).map(|(weight, x)| weight * x).sum::<f64>() + intercept
        })
    }
}

fn argmax(scores: &[f64]) -> usize {
    let mut best = 0;
    for (index, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = index;
        }
    }
    best
}

fn parse(bytes: &[u8]) -> Result<Linear, String> {
    let file = Saved::parse(bytes)?;
    let (shape, coef) = file.f64("coef")?;
    let (_, intercept) = file.f64("intercept")?;
    let (_, classes) = file.i64("classes")?;
    let [count, features] = shape[..] else { return Err("coef has not two dimensions".into()) };
    if count == 0 || features == 0 || intercept.len() != count || classes.len() != count {
        let (scores, labels) = (intercept.len(), classes.len());
        return Err(format!("coef has {count} classes, intercept {scores}, classes {labels}"));
    }
    Ok(Linear { coef, intercept, classes, features })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_scores_wins() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0, 2.0]), 1);
        assert_eq!(argmax(&[-1.0]), 0);
    }

    #[test]
    fn scores_are_dot_products_plus_intercepts() {
        let model = Linear {
            coef: vec![1.0, 2.0, 0.5, -1.0],
            intercept: vec![0.25, 0.0],
            classes: vec![4, 7],
            features: 2,
        };
        assert_eq!(model.scores(&[2.0, 3.0]).collect::<Vec<_>>(), [8.25, -2.0]);
    }

    #[test]
    fn garbage_for_weights_is_an_error() {
        assert!(parse(b"not safetensors").is_err());
        assert!(parse(&[]).is_err());
    }
}
