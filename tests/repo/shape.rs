//! Sizes, and what must lie where. The yardsticks are printed; only the hard limits fail.

use harness::engine::root;

use super::source::{File, files, production};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 500;
const ARCHITECTURE_LINES_MAX: usize = 250;

/// Name, first line and length of each function with a body, by counting braces.
fn functions(file: &File) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    let mut open: Option<(String, usize, i64, bool)> = None;
    for (number, code) in file.code() {
        if open.is_none() {
            let name = code.split_once("fn ").filter(|(before, _)| starts_function(before));
            if let Some((_, rest)) = name {
                let name = rest.split(['(', '<']).next().unwrap_or_default().to_owned();
                open = Some((name, number, 0, false));
            }
        }
        let Some((name, start, depth, opened)) = &mut open else { continue };
        let code = without_literals(code);
        *depth += code.matches('{').count() as i64 - code.matches('}').count() as i64;
        *opened |= code.contains('{');
        let declared_only = !*opened && code.trim_end().ends_with(';');
        if *opened && *depth <= 0 {
            found.push((name.clone(), *start, number - *start + 1));
        }
        if declared_only || (*opened && *depth <= 0) {
            open = None;
        }
    }
    found
}

fn starts_function(before: &str) -> bool {
    let words = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern", "\"C\""];
    before.split_whitespace().all(|word| words.contains(&word))
}

/// Braces in strings and characters are not blocks.
fn without_literals(code: &str) -> String {
    let mut out = String::new();
    let mut quoted = false;
    let mut escaped = false;
    for character in code.replace("'{'", "").replace("'}'", "").replace("'\"'", "").chars() {
        match (quoted, escaped, character) {
            (true, true, _) => escaped = false,
            (true, false, '\\') => escaped = true,
            (_, _, '"') => quoted = !quoted,
            (false, _, other) => out.push(other),
            (true, false, _) => {}
        }
    }
    out
}

#[test]
fn functions_and_files_keep_their_limits_and_the_yardsticks_are_printed() {
    let files = production();
    let mut lengths = Vec::new();
    let mut too_long = Vec::new();
    for file in &files {
        for (name, line, length) in functions(file) {
            lengths.push(length);
            if length > FUNCTION_LINES_MAX {
                too_long.push(format!("{}:{line} fn {name}: {length} lines", file.path));
            }
        }
        if file.lines.len() > FILE_LINES_MAX {
            too_long.push(format!("{}: {} lines", file.path, file.lines.len()));
        }
    }
    lengths.sort_unstable();
    let mut sizes: Vec<_> = files.iter().map(|file| file.lines.len()).collect();
    sizes.sort_unstable();
    let at = |sorted: &[usize], share: f64| sorted[(sorted.len() as f64 * share) as usize];
    println!(
        "function lines  median {}  p90 {}  of {}",
        at(&lengths, 0.5),
        at(&lengths, 0.9),
        lengths.len()
    );
    println!(
        "file lines      median {}  p90 {}  of {}",
        at(&sizes, 0.5),
        at(&sizes, 0.9),
        sizes.len()
    );
    assert!(lengths.len() > 300, "the scanner finds functions: {}", lengths.len());
    assert!(too_long.is_empty(), "{too_long:#?}");
}

#[test]
fn production_code_never_unwraps() {
    for file in production() {
        for (line, code) in file.code() {
            assert!(!code.contains(".unwrap()"), "{}:{line}: {code}", file.path);
            let unfinished = code.contains("todo!(") || code.contains("unimplemented!(");
            assert!(!unfinished, "{}:{line}: {code}", file.path);
        }
    }
}

#[test]
fn modules_lie_beside_their_directories_and_have_telling_names() {
    const EMPTY_NAMES: [&str; 8] = [
        "mod.rs",
        "utils.rs",
        "util.rs",
        "helpers.rs",
        "common.rs",
        "misc.rs",
        "manager.rs",
        "service.rs",
    ];
    for file in files() {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        assert!(!EMPTY_NAMES.contains(&name), "{}: name the idea", file.path);
    }
}

#[test]
fn modules_open_with_what_they_are_for() {
    for file in
        files().iter().filter(|file| !file.is_generated() && !file.path.ends_with("/tests.rs"))
    {
        let first = file.lines.iter().find(|line| !line.is_empty() && !line.starts_with("#!"));
        let told = first.is_some_and(|line| line.starts_with("//!"));
        assert!(told, "{} does not say what it is for", file.path);
    }
}

#[test]
fn the_documents_are_there_and_short_enough() {
    for name in
        ["README.md", "ARCHITECTURE.md", "STYLE.md", "CHANGELOG.md", "LICENSE", "bench/RESULTS.md"]
    {
        let text = std::fs::read_to_string(root().join(name))
            .unwrap_or_else(|_| panic!("{name} is missing"));
        assert!(!text.is_empty());
    }
    let architecture =
        std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("it is there");
    assert!(architecture.lines().count() <= ARCHITECTURE_LINES_MAX);
}

#[test]
fn nothing_but_the_house_lies_at_the_top() {
    const HOUSE: [&str; 27] = [
        ".cargo",
        ".ci",
        ".git",
        ".gitignore",
        ".venv",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "STYLE.md",
        "bench",
        "clippy.toml",
        "deny.toml",
        "docs",
        "engine",
        "fuzz",
        "gpu-containers",
        "python",
        "rustfmt.toml",
        "schemas",
        "shm-rpc",
        "target",
        "tests",
        "xtask",
        "shared",
    ];
    for entry in std::fs::read_dir(root()).expect("the root is readable").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(HOUSE.contains(&name.as_str()), "{name} is not part of the house");
    }
}
