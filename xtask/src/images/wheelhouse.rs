//! Wheels for a base, downloaded here so that images are made without a network.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::base::Base;
use super::build::remove_directory;
use crate::shell::{Done, command, target_dir, venv};
use crate::steps::Step;

/// 150 MB at most of ours; an index is slow at times.
const DOWNLOAD_WAIT: Duration = Duration::from_secs(15 * 60);

/// The oldest glibc that wheels are still made for by this name.
const GLIBC_MINOR_LEAST: u32 = 17;

/// What the requirements need on the base, and pip. Downloaded once for the same words and the same kind of base.
pub(super) fn wheelhouse(name: &str, requirements: &Path, base: &Base) -> Done<PathBuf> {
    let wanted = fs::read_to_string(requirements)
        .map_err(|error| format!("cannot read {}: {error}", requirements.display()))?;
    let platform = platform_arguments(base);
    let wanted = format!("{wanted}{platform:?}");
    let wheels = target_dir().join("images/wheelhouse").join(name);
    let stamp = wheels.join("made-for");
    if fs::read_to_string(&stamp).is_ok_and(|made_for| made_for == wanted) {
        return Ok(wheels);
    }
    remove_directory(&wheels)?;
    let mut download = command(venv("python"), &["-m", "pip", "download", "--only-binary=:all:"]);
    download.args(["--disable-pip-version-check", "--progress-bar", "off"]).args(platform);
    download.arg("--dest").arg(&wheels).arg("--requirement").arg(requirements).arg("pip");
    let doing = "downloading wheels";
    Step { of: name, doing, wait: DOWNLOAD_WAIT }.run(&mut download)?;
    fs::write(&stamp, wanted)
        .map_err(|error| format!("cannot write {}: {error}", stamp.display()))?;
    Ok(wheels)
}

/// pip's flags for another Python on another C library than its own.
fn platform_arguments(base: &Base) -> Vec<String> {
    let Base { python: (major, minor), glibc_minor, machine, .. } = base;
    let mut arguments = vec![format!("--python-version={major}.{minor}")];
    arguments.push("--implementation=cp".into());
    let glibcs = (GLIBC_MINOR_LEAST..=*glibc_minor).rev();
    arguments.extend(glibcs.map(|minor| format!("--platform=manylinux_2_{minor}_{machine}")));
    arguments.push(format!("--platform=manylinux2014_{machine}"));
    arguments
}

/// Puts the wheels into a context, by name where the file system can.
pub(super) fn place(wheels: &Path, context: &Path) -> Done {
    let cannot = |error: std::io::Error| format!("cannot fill {}: {error}", context.display());
    fs::create_dir_all(context).map_err(cannot)?;
    for entry in fs::read_dir(wheels).map_err(cannot)?.flatten() {
        let from = entry.path();
        if from.extension().is_some_and(|kind| kind == "whl") {
            let to = context.join(entry.file_name());
            fs::hard_link(&from, &to)
                .or_else(|_| fs::copy(&from, &to).map(drop))
                .map_err(cannot)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wheels_are_asked_for_the_bases_python_and_up_to_its_c_library() {
        let base = Base {
            image: "base".into(),
            id: "sha256:1".into(),
            python: (3, 12),
            glibc_minor: 19,
            machine: "aarch64".into(),
        };
        let expected = [
            "--python-version=3.12",
            "--implementation=cp",
            "--platform=manylinux_2_19_aarch64",
            "--platform=manylinux_2_18_aarch64",
            "--platform=manylinux_2_17_aarch64",
            "--platform=manylinux2014_aarch64",
        ];
        assert_eq!(platform_arguments(&base), expected);
    }
}
