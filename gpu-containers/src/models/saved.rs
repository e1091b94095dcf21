//! The file that a model's weights are saved in, as safetensors has it.

use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use crate::model::LoadError;

pub const FILE: &str = "model.safetensors";

/// What `parse` makes of the file in a version's directory; it says in a sentence why it makes nothing of it.
pub(super) fn read<T>(
    directory: &Path,
    parse: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Result<T, LoadError> {
    let path = directory.join(FILE);
    let shown = path.display().to_string();
    match std::fs::read(&path) {
        Ok(bytes) => parse(&bytes).map_err(|message| LoadError::Weights { path: shown, message }),
        Err(source) => Err(LoadError::Read { path: shown, source }),
    }
}

/// The tensors of a file.
pub(super) struct Saved<'a>(SafeTensors<'a>);

/// The sizes of a tensor and its numbers; or why they can't be had.
type Numbers<T> = Result<(Vec<usize>, Vec<T>), String>;

impl<'a> Saved<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Saved<'a>, String> {
        SafeTensors::deserialize(bytes).map(Saved).map_err(|error| error.to_string())
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.0.names()
    }

    pub(super) fn f32(&self, name: &str) -> Numbers<f32> {
        self.numbers(name, Dtype::F32, f32::from_le_bytes)
    }

    pub(super) fn f64(&self, name: &str) -> Numbers<f64> {
        self.numbers(name, Dtype::F64, f64::from_le_bytes)
    }

    pub(super) fn i64(&self, name: &str) -> Numbers<i64> {
        self.numbers(name, Dtype::I64, i64::from_le_bytes)
    }

    fn numbers<T, const BYTES: usize>(
        &self,
        name: &str,
        dtype: Dtype,
        from: fn([u8; BYTES]) -> T,
    ) -> Numbers<T> {
        let view = self.0.tensor(name).map_err(|error| format!("{name}: {error}"))?;
        if view.dtype() != dtype {
            return Err(format!("{name} is {:?}, export it as {dtype:?}", view.dtype()));
        }
        let (elements, _) = view.data().as_chunks::<BYTES>();
        Ok((view.shape().to_vec(), elements.iter().copied().map(from).collect()))
    }
}
