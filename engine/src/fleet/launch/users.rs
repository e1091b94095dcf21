//! A user of its own for every replica, where the engine is root and may give one.
//!
//! Under its own user a hostile model can neither trace the engine or another model, nor signal them, nor open their
//! memory through /proc. It needs to reach its program and files as "others": where it can't, it runs as the engine's
//! user, and one warning names the path.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::ids::Incarnation;

/// systemd's range for dynamic users: no distribution gives these to people or services.
const FIRST: u32 = 61184;
const LAST: u32 = 65519;

/// By convention.
pub(super) const NOBODY: u32 = 65534;

/// Where users come from.
#[derive(Clone, Copy, Debug)]
pub struct Users {
    offset: u32,
}

impl Users {
    /// None when the engine isn't root, or was told to share its user.
    pub fn available(shared_user: bool) -> Option<Users> {
        let root = rustix::process::geteuid().is_root();
        (root && !shared_user).then(|| Users { offset: std::process::id() })
    }

    /// Consecutive incarnations differ, and so do, most likely, two engines on one machine.
    pub fn uid(self, incarnation: Incarnation) -> u32 {
        let count = u64::from(LAST - FIRST + 1);
        let number = (u64::from(self.offset) * 64 + incarnation.0) % count;
        FIRST + number as u32
    }
}

/// Whom a container runs as that gets no user of its own and must not be root: no files belong to it. None where the
/// engine isn't root either.
pub fn nobody() -> Option<u32> {
    rustix::process::geteuid().is_root().then_some(NOBODY)
}

/// The first of `paths` that another user could not read or pass through.
pub fn first_unreachable(paths: &[PathBuf]) -> Option<PathBuf> {
    paths.iter().find_map(|path| unreachable_part(path))
}

/// The first of `paths` that another user could not read where it is, however it got there.
pub fn first_unreadable(paths: &[PathBuf]) -> Option<PathBuf> {
    paths.iter().find(|path| fs::metadata(path).is_ok_and(|about| !is_open(&about))).cloned()
}

/// To users that own nothing of it.
fn is_open(about: &fs::Metadata) -> bool {
    let needed = if about.is_dir() { 0o001 } else { 0o004 };
    about.mode() & needed != 0
}

fn unreachable_part(path: &Path) -> Option<PathBuf> {
    let resolved = fs::canonicalize(path).ok()?;
    [path, &resolved].into_iter().flat_map(Path::ancestors).find_map(|part| {
        let metadata = fs::metadata(part).ok()?;
        (!is_open(&metadata)).then(|| part.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn users_lie_in_the_dynamic_range_and_differ_from_one_incarnation_to_the_next() {
        let users = Users { offset: u32::MAX };
        for incarnation in 0..10_000 {
            let uid = users.uid(Incarnation(incarnation));
            assert!((FIRST..=LAST).contains(&uid));
            assert_ne!(uid, users.uid(Incarnation(incarnation + 1)));
        }
    }

    #[test]
    fn the_part_of_a_path_that_others_cannot_pass_is_named() {
        let root = std::env::temp_dir().join(format!("foil-users-{}", std::process::id()));
        let inner = root.join("inner");
        fs::create_dir_all(&inner).unwrap();
        let file = inner.join("model.py");
        fs::write(&file, "x").unwrap();
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(&root, 0o755);
        mode(&inner, 0o711);
        mode(&file, 0o644);
        assert_eq!(first_unreachable(std::slice::from_ref(&file)), None);
        mode(&file, 0o600);
        assert_eq!(first_unreachable(std::slice::from_ref(&file)), Some(file.clone()));
        mode(&file, 0o644);
        mode(&inner, 0o700);
        assert_eq!(first_unreachable(&[file]), Some(inner));
        fs::remove_dir_all(&root).unwrap();
    }
}
