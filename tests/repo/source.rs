//! Reads the repository's Rust files, cut where their tests begin.

use std::path::{Path, PathBuf};

use harness::engine::root;

pub(super) struct File {
    /// From the root, with slashes.
    pub(super) path: String,
    /// Lines before `#[cfg(test)] mod tests {`.
    pub(super) lines: Vec<String>,
}

impl File {
    pub(super) fn is_test(&self) -> bool {
        let path = &self.path;
        ["tests/", "examples/", "fuzz/"].iter().any(|start| path.starts_with(start))
            || path.contains("/tests/")
            || path.contains("/examples/")
            || path.contains("/benches/")
            || ["/tests.rs", "/laws.rs", "/models.rs", "/test_server.rs"]
                .iter()
                .any(|end| path.ends_with(end))
                && !path.starts_with("gpu-containers/")
    }

    pub(super) fn is_generated(&self) -> bool {
        self.path.contains("/generated/")
    }

    /// Code of a line, without its comment.
    pub(super) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let code = |line: &'_ str| line.find("//").unwrap_or(line.len());
        self.lines.iter().enumerate().map(move |(index, line)| (index + 1, &line[..code(line)]))
    }
}

/// Every Rust file of the workspace, in order.
pub(super) fn files() -> Vec<File> {
    let mut paths = Vec::new();
    for top in [
        "engine",
        "shm-rpc",
        "schemas",
        "gpu-containers",
        "python",
        "bench",
        "tests",
        "xtask",
        "fuzz",
    ] {
        collect(&root().join(top), &mut paths);
    }
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

/// Those that ship: neither tests nor generated.
pub(super) fn production() -> Vec<File> {
    files().into_iter().filter(|file| !file.is_test() && !file.is_generated()).collect()
}

fn collect(directory: &Path, into: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, into);
        } else if path.extension().is_some_and(|it| it == "rs") {
            into.push(path);
        }
    }
}

fn read(path: &Path) -> File {
    let text = std::fs::read_to_string(path).expect("a source file is text");
    let all: Vec<String> = text.lines().map(str::to_owned).collect();
    let tests = |window: &[String]| {
        window[0].trim().starts_with("#[cfg(")
            && window[0].contains("test")
            && window[1].contains("mod ")
            && window[1].ends_with('{')
    };
    let cut = all.windows(2).position(tests).unwrap_or(all.len());
    let shown = path.strip_prefix(root()).expect("below the root").display().to_string();
    File { path: shown, lines: all[..cut].to_vec() }
}
