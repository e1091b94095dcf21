//! What the classes of a model's outputs are called: one label a line, as model.toml names the files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// Bytes of one file of labels: fifty for each of the 20 000 classes that the largest common sets have.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Of one model; cheap to clone, and empty for most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Arc<[Output]>);

#[derive(Debug, PartialEq, Eq)]
struct Output {
    name: String,
    labels: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum LabelsError {
    #[error("cannot read the labels of output '{output}' from {path}: {source}")]
    Read { output: String, path: String, source: std::io::Error },
    #[error(
        "the labels of output '{output}' in {path} take more than {FILE_BYTES_MAX} bytes; shorten them"
    )]
    TooLarge { output: String, path: String },
}

impl Labels {
    /// `files` by output, relative to `directory`.
    pub fn read(directory: &Path, files: &BTreeMap<String, String>) -> Result<Labels, LabelsError> {
        let outputs = files.iter().map(|(output, file)| {
            let path = directory.join(file);
            let shown = || path.display().to_string();
            let read = fs::metadata(&path).and_then(|about| match about.len() {
                0..=FILE_BYTES_MAX => fs::read_to_string(&path).map(Some),
                _ => Ok(None),
            });
            match read {
                Ok(Some(text)) => Ok((output.as_str(), text.lines().map(str::to_owned).collect())),
                Ok(None) => Err(LabelsError::TooLarge { output: output.clone(), path: shown() }),
                Err(source) => {
                    Err(LabelsError::Read { output: output.clone(), path: shown(), source })
                }
            }
        });
        Ok(Labels::new(outputs.collect::<Result<Vec<_>, _>>()?))
    }

    pub fn new<'n>(outputs: impl IntoIterator<Item = (&'n str, Vec<String>)>) -> Labels {
        let output = |(name, labels): (&str, _)| Output { name: name.to_owned(), labels };
        Labels(outputs.into_iter().map(output).collect())
    }

    /// Of an output, in the order of its classes; none where nobody named them.
    pub fn of(&self, output: &str) -> &[String] {
        let found = self.0.iter().find(|labelled| labelled.name == output);
        found.map_or(&[], |labelled| &labelled.labels)
    }

    /// The outputs that have any.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|labelled| labelled.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_label_and_a_missing_file_is_named() {
        let here = std::env::temp_dir().join(format!("hydrofoil-labels-{}", std::process::id()));
        fs::create_dir_all(&here).unwrap();
        fs::write(here.join("animals.txt"), "cat\nguinea pig\r\n\ndog").unwrap();
        let files = |file: &str| BTreeMap::from([("scores".to_owned(), file.to_owned())]);
        let labels = Labels::read(&here, &files("animals.txt")).unwrap();
        assert_eq!(labels.of("scores"), ["cat", "guinea pig", "", "dog"]);
        assert!(labels.of("other").is_empty());
        let error = Labels::read(&here, &files("none.txt")).unwrap_err().to_string();
        assert!(error.contains("'scores'") && error.contains("none.txt"), "{error}");
        fs::remove_dir_all(here).unwrap();
    }
}
