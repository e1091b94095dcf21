//! The model's own sample of a question, read from beside it for the warm-up.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use schemas::lifecycle::ModelSpec;

use crate::dispatch::warm_up::rows::Rows;

/// A sample is read into memory; a slot holds no more than this by default.
const SAMPLE_BYTES_MAX: u64 = 16 << 20;

#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    #[error("{path} can't be read: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is larger than {SAMPLE_BYTES_MAX} bytes; a few rows are enough for a warm-up")]
    TooLarge { path: PathBuf },
    #[error(
        "{path}, the sample for its warm-up, does not suit the model: {reason}. Write there the body of an inference \
         request that the model can answer, or rename the file if it is something else"
    )]
    Unsuitable { path: PathBuf, reason: String },
}

/// The rows of the first of `paths` that is there.
pub fn read(paths: &[PathBuf], spec: &ModelSpec) -> Result<Option<Rows>, SampleError> {
    for path in paths {
        let Some(json) = read_file(path)? else { continue };
        let unsuitable = |reason: String| SampleError::Unsuitable { path: path.clone(), reason };
        return Rows::of_sample(spec, &json)
            .map(Some)
            .map_err(|fault| unsuitable(fault.to_string()));
    }
    Ok(None)
}

fn read_file(path: &Path) -> Result<Option<Vec<u8>>, SampleError> {
    let failed = |source| SampleError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut json = Vec::new();
    file.take(SAMPLE_BYTES_MAX + 1).read_to_end(&mut json).map_err(failed)?;
    if json.len() as u64 > SAMPLE_BYTES_MAX {
        return Err(SampleError::TooLarge { path: path.to_owned() });
    }
    Ok(Some(json))
}
