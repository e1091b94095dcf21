//! For tests: the files of a machine that is not at hand.

use std::fs;
use std::path::PathBuf;

/// A machine's files below a directory of its own, removed with it.
pub(crate) struct Tree(pub(crate) PathBuf);

impl Tree {
    pub(crate) fn of(name: &str, files: &[(&str, &str)]) -> Tree {
        let tree =
            Tree(std::env::temp_dir().join(format!("foil-tree-{}-{name}", std::process::id())));
        for (path, text) in files {
            let path = tree.0.join(path);
            fs::create_dir_all(path.parent().expect("below the root")).expect("made");
            fs::write(path, text).expect("written");
        }
        tree
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // What can't be removed is left to the system's own cleaning.
        let _left = fs::remove_dir_all(&self.0);
    }
}
