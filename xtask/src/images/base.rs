//! What Python images stand on: an image that the user names, or a small Debian of our own.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::Made;
use super::build::{image_id, remove_directory};
use crate::setup::{PYTHON_LEAST, apt_install, is_root};
use crate::shell::{Done, command, output, target_dir, works};
use crate::steps::Step;

/// Our own. Its number goes up when what is in it changes.
pub(super) const OWN: &str = "hydrofoil/base:1";

/// Debian 12: Python 3.11, glibc 2.36.
const SUITE: &str = "bookworm";
const PACKAGES: &str = "--include=python3";

/// What nothing in a container reads, 150 MB of it.
const LEFT_OUT: [&str; 9] = [
    "./dev/*",
    "./proc/*",
    "./sys/*",
    "./var/cache/*",
    "./var/lib/apt/lists/*",
    "./var/log/*",
    "./usr/share/doc/*/*.gz",
    "./usr/share/man/*",
    "./usr/share/locale/*",
];

/// Debian's mirrors are slow at times; 60 packages take half a minute as a rule.
const DEBOOTSTRAP_WAIT: Duration = Duration::from_secs(15 * 60);
/// One archive of 130 MB, read or written once.
const ARCHIVE_WAIT: Duration = Duration::from_secs(5 * 60);
/// A base with a GPU's libraries has gigabytes.
const PULL_WAIT: Duration = Duration::from_secs(30 * 60);
/// An interpreter starts and says three words.
const LOOK_SECONDS: &str = "60";

const PATH: &str = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The base is here afterwards.
pub(super) fn have(named: Option<&str>) -> Done<Made> {
    let image = named.unwrap_or(OWN);
    if image_id(image).is_some() {
        return Ok(Made::Unchanged);
    }
    match named {
        Some(image) => pull(image)?,
        None => debootstrap()?,
    }
    Ok(Made::New)
}

fn pull(image: &str) -> Done {
    let step = Step { of: image, doing: "pulling", wait: PULL_WAIT };
    step.run(&mut command("docker", &["pull", image]))
}

fn debootstrap() -> Done {
    if !is_root() {
        return Err("only root can make a base by debootstrap; name one that Docker can pull: \
                    cargo xtask images --base python:3.11-slim"
            .into());
    }
    if !works(&mut command("debootstrap", &["--version"])) {
        apt_install(&["debootstrap"])?;
    }
    let files = target_dir().join("images/base");
    let root = files.join("root");
    remove_directory(&files)?;
    fs::create_dir_all(&root)
        .map_err(|error| format!("cannot make {}: {error}", root.display()))?;
    let done = unpack(&root).and_then(|()| import(&root, &files.join("base.tar")));
    done.and(remove_directory(&files))
}

fn unpack(root: &Path) -> Done {
    let step = Step { of: OWN, doing: "making a Debian by debootstrap", wait: DEBOOTSTRAP_WAIT };
    let mut debootstrap = command("debootstrap", &["--variant=minbase", PACKAGES, SUITE]);
    step.run(debootstrap.arg(root))
}

fn import(root: &Path, archive: &Path) -> Done {
    let mut tar = command("tar", &["--create", "--numeric-owner", "--file"]);
    tar.arg(archive).arg("--directory").arg(root);
    tar.args(LEFT_OUT.map(|pattern| format!("--exclude={pattern}"))).arg(".");
    Step { of: OWN, doing: "packing it", wait: ARCHIVE_WAIT }.run(&mut tar)?;
    let mut import = command("docker", &["import", "--change", PATH]);
    import.args(["--change", "LABEL hydrofoil.images=base"]).arg(archive).arg(OWN);
    Step { of: OWN, doing: "giving it to Docker", wait: ARCHIVE_WAIT }.run(&mut import)
}

/// What of a base decides which wheels run on it.
#[derive(Debug, PartialEq)]
pub(super) struct Base {
    pub(super) image: String,
    /// Of the image's content.
    pub(super) id: String,
    pub(super) python: (u32, u32),
    /// The Y of glibc 2.Y.
    pub(super) glibc_minor: u32,
    pub(super) machine: String,
}

/// Printed by the base's own interpreter.
const TELL: &str = "import platform, sys; \
    print(*sys.version_info[:2], '-'.join(platform.libc_ver()), platform.machine())";

impl Base {
    /// Asks its Python.
    pub(super) fn look(image: &str) -> Done<Base> {
        let id = image_id(image).ok_or(format!("the image {image} has gone"))?;
        let mut ask = Command::new("timeout");
        ask.args([LOOK_SECONDS, "docker", "run", "--rm", "--network", "none", "--entrypoint"]);
        let told = output(ask.args(["python3", image, "-c", TELL])).map_err(|why| {
            format!("{image}: its Python can't be asked: {why}\n  to fix it: name a base with python3 in its PATH")
        })?;
        Base::read(image, id, &told)
    }

    fn read(image: &str, id: String, told: &str) -> Done<Base> {
        let words: Vec<&str> = told.split_whitespace().collect();
        let [major, minor, libc, machine] = words[..] else {
            return Err(format!("{image}: its Python says '{}'", told.trim()));
        };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else {
            return Err(format!("{image}: its Python says '{}'", told.trim()));
        };
        let (least_major, least_minor) = PYTHON_LEAST;
        if (major, minor) < PYTHON_LEAST {
            return Err(format!(
                "{image} has Python {major}.{minor}; name a base with {least_major}.{least_minor} or newer"
            ));
        }
        let glibc = libc.strip_prefix("glibc-2.").and_then(|minor| minor.parse().ok());
        let glibc_minor = glibc.ok_or(format!(
            "{image} has no glibc 2 (but '{libc}'), which the wheels need; name a Debian or Ubuntu, not an Alpine"
        ))?;
        Ok(Base {
            image: image.into(),
            id,
            python: (major, minor),
            glibc_minor,
            machine: machine.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(told: &str) -> Done<Base> {
        Base::read("base", "sha256:1".into(), told)
    }

    #[test]
    fn a_base_is_known_by_what_its_python_says() {
        let base = read("3 11 glibc-2.36 x86_64\n").expect("a fine base");
        assert_eq!((base.python, base.glibc_minor, &*base.machine), ((3, 11), 36, "x86_64"));
    }

    #[test]
    fn a_base_that_no_wheel_runs_on_is_refused_with_what_to_name_instead() {
        for (told, why) in [
            ("3 9 glibc-2.31 x86_64", "name a base with 3.11 or newer"),
            ("3 12 musl-1.2.5 x86_64", "not an Alpine"),
            ("3 12 - x86_64", "no glibc"),
            ("nonsense", "says 'nonsense'"),
        ] {
            let refused = read(told).expect_err("no wheel runs there");
            assert!(refused.contains(why), "{told}: {refused}");
        }
    }
}
