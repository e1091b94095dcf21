//! The programs that measure: run to their end, they say what they found in a JSON object on their last line.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Map, Value};

use super::LanesError;

/// Figures by name; null where one could not be measured.
pub(super) type Figures = Map<String, Value>;

pub(super) fn merge(into: &mut Figures, found: Figures) {
    into.extend(found);
}

/// A program and what it is always told.
pub(super) struct Program {
    path: OsString,
    arguments: Vec<OsString>,
}

impl Program {
    pub(super) fn new(path: &Path) -> Program {
        Program { path: path.into(), arguments: Vec::new() }
    }

    pub(super) fn with(mut self, arguments: &[impl AsRef<OsStr>]) -> Program {
        self.arguments.extend(arguments.iter().map(|it| it.as_ref().to_owned()));
        self
    }

    /// All of it as words of a command line, for a program that starts programs.
    pub(super) fn words(&self) -> impl Iterator<Item = &OsStr> {
        std::iter::once(self.path.as_os_str()).chain(self.arguments.iter().map(OsString::as_os_str))
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Result<Figures, LanesError> {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit());
        let output = command
            .output()
            .map_err(|source| LanesError::Start { program: self.name(), source })?;
        if !output.status.success() {
            return Err(LanesError::Failed { program: self.name(), status: output.status });
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().last().unwrap_or_default();
        let figures = serde_json::from_str(line);
        figures.map_err(|_| LanesError::NoFigures { program: self.name(), line: line.to_owned() })
    }

    /// Some of the figures that a run finds.
    pub(super) fn figures<const N: usize>(
        &self,
        arguments: &[&str],
        names: [&'static str; N],
    ) -> Result<[f64; N], LanesError> {
        let found = self.run(arguments)?;
        let mut figures = [0.0; N];
        for (place, figure) in figures.iter_mut().zip(names) {
            let value = found.get(figure).and_then(Value::as_f64);
            *place = value.ok_or_else(|| LanesError::NoFigure { program: self.name(), figure })?;
        }
        Ok(figures)
    }

    fn name(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        Program::new(Path::new("sh")).with(&["-c", script])
    }

    #[test]
    fn figures_stand_on_the_last_line() {
        let program = shell("echo progress; echo '{\"a_us\":1.5,\"b_us\":null}'");
        assert_eq!(program.figures(&[], ["a_us"]).ok(), Some([1.5]));
        let error = program.figures(&[], ["a_us", "b_us"]).expect_err("null is no figure");
        assert!(matches!(error, LanesError::NoFigure { figure: "b_us", .. }));
    }

    #[test]
    fn a_program_that_fails_or_says_nothing_has_no_figures() {
        let error = shell("echo '{}'; exit 3").run(&[]).expect_err("it failed");
        assert!(matches!(error, LanesError::Failed { .. }));
        let error = shell("echo done").run(&[]).expect_err("that is no JSON");
        assert!(matches!(error, LanesError::NoFigures { .. }));
    }
}
