//! A model without Hydrofoil around it: the same batches in a bare loop, to hold the engine's figures against.

use std::path::Path;

use schemas::tensor::DType;

use crate::batch::{Batch, Input, Outputs};
use crate::clock::Clock;
use crate::device::Wanted;
use crate::model::{Lane, LoadError, Model, Refusal};
use crate::models::embedding_mlp::EmbeddingMlp;
use crate::models::embedding_mlp::weights::Shape;
use crate::staging::Arrivals;

/// Before anything is measured: clocks rise, caches fill.
const WARM_UP_BATCHES: u64 = 20;
/// Spreads the ids over the table without a pattern that caches could follow.
const STRIDE: u64 = 7_919;
/// The same sums in another order differ by less, as scores are around one.
const TOLERANCE: f32 = 1e-3;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Asked {
    pub wanted: Wanted,
    pub batch: u32,
    /// Batches under way at a time, 1 or 2; on the CPU always 1.
    pub depth: u32,
    pub seconds: u64,
}

/// What came of it; latencies are those of a batch, from its ids in host memory to its scores there. With two under way
/// the ids are not looked through, and the scores not copied on, as they are of one alone.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Measured {
    pub kind: &'static str,
    pub device: String,
    pub batch: u32,
    pub depth: u32,
    pub batches: u64,
    pub seconds: f64,
    pub batches_per_s: f64,
    pub rows_per_s: f64,
    pub min_us: f64,
    pub p50_us: f64,
    pub p99_us: f64,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BareError {
    #[error("the model does not load: {0}")]
    Load(#[from] LoadError),
    #[error("a batch failed: {0}")]
    Batch(#[from] Refusal),
    #[error("scores of overlapping batches differ by {by} from those of one alone")]
    Unlike { by: f32 },
}

/// Runs batches for as long as asked.
pub fn measure(directory: &Path, asked: &Asked) -> Result<Measured, BareError> {
    let mut model = EmbeddingMlp::on(asked.wanted.clone());
    model.load(directory)?;
    let max_batch = model.describe().max_batch.max(asked.batch);
    let depth = if model.device().is_some() { asked.depth } else { 1 };
    model.join(&Lane { max_batch, depth, requests: Arrivals::none() })?;
    let shape = model.shape().expect("it was just loaded");
    let ids = ids(&shape, asked.batch);
    let device = model.device().map_or("cpu".to_owned(), |device| device.name().to_owned());
    let mut run = Run { model, shape, ids, batch: asked.batch, depth };
    run.batches(|count, _| count < WARM_UP_BATCHES)?;
    let span_ns = asked.seconds.saturating_mul(1_000_000_000);
    let (mut took_ns, ended_ns) = run.batches(|_, now_ns| now_ns < span_ns)?;
    Ok(summary(&mut took_ns, ended_ns, device, &run))
}

struct Run {
    model: EmbeddingMlp,
    shape: Shape,
    ids: Vec<u64>,
    batch: u32,
    depth: u32,
}

impl Run {
    /// How long each batch took while `more` said so, and when the last one ended.
    fn batches(&mut self, more: impl Fn(u64, u64) -> bool) -> Result<(Vec<u64>, u64), BareError> {
        match self.depth {
            1 => self.one_by_one(more),
            _ => self.two_at_a_time(more),
        }
    }

    fn one_by_one(
        &mut self,
        more: impl Fn(u64, u64) -> bool,
    ) -> Result<(Vec<u64>, u64), BareError> {
        let sizes = [u64::from(self.batch), self.shape.per_row as u64];
        let bytes = self.batch as usize * self.shape.row_bytes();
        let data = &bytemuck::cast_slice(&self.ids)[..bytes];
        let mut outputs = Outputs::default();
        let (clock, mut took_ns, mut began_ns) = (Clock::start(), Vec::new(), 0);
        while more(took_ns.len() as u64, began_ns) {
            let inputs = [Input::of(self.shape.ids, &sizes, data)].into_iter().collect();
            outputs.clear();
            self.model.predict(&Batch { rows: self.batch, inputs }, &mut outputs)?;
            let ended_ns = clock.now_ns();
            took_ns.push(ended_ns - began_ns);
            began_ns = ended_ns;
        }
        Ok((took_ns, began_ns))
    }

    /// The next batch starts while one runs; each takes from its start to its end. A slot gets other ids each time.
    fn two_at_a_time(
        &mut self,
        more: impl Fn(u64, u64) -> bool,
    ) -> Result<(Vec<u64>, u64), BareError> {
        let bytes = self.batch as usize * self.shape.row_bytes();
        let turned: Vec<u64> = self.ids.iter().rev().copied().collect();
        let data = [&self.ids, &turned].map(|ids| &bytemuck::cast_slice::<u64, u8>(ids)[..bytes]);
        let data_of = |batch: usize| data[batch / 2 % 2];
        let device = self.model.device().expect("only a device has more than one batch under way");
        let (clock, mut took_ns, mut began_ns) = (Clock::start(), Vec::new(), [0; 2]);
        device.submit(0, data_of(0), self.batch)?;
        loop {
            let (at, next, now_ns) = (took_ns.len(), took_ns.len() + 1, clock.now_ns());
            let goes_on = more(at as u64, now_ns);
            if goes_on {
                began_ns[next % 2] = now_ns;
                device.submit(next % 2, data_of(next), self.batch)?;
            }
            let scores = device.collect(at % 2)?;
            let ended_ns = clock.now_ns();
            took_ns.push(ended_ns - began_ns[at % 2]);
            if !goes_on {
                let scores = floats(scores);
                let alone = floats(device.run(data_of(at), self.batch)?);
                return alike(&scores, &alone).map(|()| (took_ns, ended_ns));
            }
        }
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (numbers, _) = bytes.as_chunks::<4>();
    numbers.iter().copied().map(f32::from_ne_bytes).collect()
}

/// Overlapping must not mix batches up.
fn alike(scores: &[f32], alone: &[f32]) -> Result<(), BareError> {
    let apart = scores.iter().zip(alone).map(|(score, alone)| (score - alone).abs());
    // What is no number counts as the largest.
    let by = apart.max_by(f32::total_cmp).unwrap_or(0.0);
    if by <= TOLERANCE { Ok(()) } else { Err(BareError::Unlike { by }) }
}

/// Ids all over the table, as words that hold them in either size.
fn ids(shape: &Shape, batch: u32) -> Vec<u64> {
    let count = u64::from(batch) * shape.per_row as u64;
    let id = |at: u64| at * STRIDE % shape.vocabulary as u64;
    match shape.ids {
        DType::I32 => (0..count.div_ceil(2)).map(|at| id(2 * at) | id(2 * at + 1) << 32).collect(),
        _ => (0..count).map(id).collect(),
    }
}

fn summary(took_ns: &mut [u64], ended_ns: u64, device: String, run: &Run) -> Measured {
    took_ns.sort_unstable();
    let at = |share: f64| {
        let place = (took_ns.len() as f64 * share) as usize;
        took_ns.get(place.min(took_ns.len().saturating_sub(1))).map_or(0.0, |&ns| ns as f64 / 1e3)
    };
    let seconds = ended_ns as f64 / 1e9;
    let per_s = if seconds > 0.0 { took_ns.len() as f64 / seconds } else { 0.0 };
    Measured {
        kind: "embedding_mlp",
        device,
        batch: run.batch,
        depth: run.depth,
        batches: took_ns.len() as u64,
        seconds,
        batches_per_s: per_s,
        rows_per_s: per_s * f64::from(run.batch),
        min_us: at(0.0),
        p50_us: at(0.5),
        p99_us: at(0.99),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_that_differ_or_are_no_numbers_are_found() {
        assert!(alike(&[1.0, -2.0], &[1.0, -2.0005]).is_ok());
        assert!(alike(&[1.0, -2.0], &[1.1, -2.0]).is_err());
        assert!(alike(&[f32::NAN, -2.0], &[1.0, -2.0]).is_err());
    }

    #[test]
    fn ids_stay_inside_the_table_in_either_size() {
        for dtype in [DType::I32, DType::I64] {
            let shape = Shape { vocabulary: 11, width: 2, per_row: 3, ids: dtype };
            let words = ids(&shape, 3);
            assert!(words.len() * 8 >= 3 * shape.row_bytes());
            let found: Vec<u64> = match dtype {
                DType::I32 => {
                    words.iter().flat_map(|word| [word & 0xffff_ffff, word >> 32]).collect()
                }
                _ => words,
            };
            assert!(found.iter().all(|&id| id < 11) && found.iter().any(|&id| id > 0));
        }
    }
}
