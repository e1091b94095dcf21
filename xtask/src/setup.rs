//! What the other commands need: a Python with venv, a C compiler, `.venv/` with the wheel and the demo's packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::shell::{Done, command, output, root, run, target_dir, venv, works};

/// What the demo and the tests import, beside the wheel.
const PACKAGES: [&str; 7] =
    ["numpy", "scikit-learn", "safetensors", "pytest", "joblib", "pyzmq", "cloudpickle"];

/// What the wheel is built from; a newer file among them makes a new wheel.
const SOURCES: [&str; 7] =
    ["Cargo.toml", "engine", "shm-rpc", "schemas", "gpu-containers", "bench", "python"];

pub(crate) const PYTHON_LEAST: (u32, u32) = (3, 11);

pub(crate) fn setup() -> Done {
    system_packages()?;
    make_venv()?;
    install_packages()?;
    install_wheel()
}

/// Debian's names for what the build needs. Installed when we may, else named.
fn system_packages() -> Done {
    let mut missing = Vec::new();
    if !works(&mut command("cc", &["--version"])) {
        missing.extend(["gcc", "libc6-dev"]);
    }
    match python() {
        None => missing.extend(["python3", "python3-venv"]),
        Some(python) if !works(&mut command(&python, &["-c", "import venv, ensurepip"])) => {
            missing.push("python3-venv");
        }
        Some(_) => {}
    }
    apt_install(&missing)
}

/// Installs Debian packages as root; otherwise says which to install.
pub(crate) fn apt_install(packages: &[&str]) -> Done {
    if packages.is_empty() {
        return Ok(());
    }
    if !is_root() || !works(&mut command("apt-get", &["--version"])) {
        let names = packages.join(" ");
        return Err(format!("these system packages are missing, install them first: {names}"));
    }
    eprintln!("setup: installing {}", packages.join(" "));
    run(command("apt-get", &["update", "-qq"]).env("DEBIAN_FRONTEND", "noninteractive"))?;
    let mut install = command("apt-get", &["install", "-y", "-qq", "--no-install-recommends"]);
    run(install.args(packages).env("DEBIAN_FRONTEND", "noninteractive"))
}

pub(crate) fn apt_install_unless(program: &str, packages: &[&str]) -> Done {
    if works(&mut command(program, &["--version"])) { Ok(()) } else { apt_install(packages) }
}

pub(crate) fn is_root() -> bool {
    output(&mut command("id", &["-u"])).is_ok_and(|user| user.trim() == "0")
}

/// The first interpreter that is new enough.
pub(crate) fn python() -> Option<PathBuf> {
    let names = ["python3", "python3.13", "python3.12", "python3.11"];
    names.into_iter().map(PathBuf::from).find(|python| {
        let (major, minor) = PYTHON_LEAST;
        let check = format!("import sys; sys.exit(sys.version_info < ({major}, {minor}))");
        works(&mut command(python, &["-c", &check]))
    })
}

fn make_venv() -> Done {
    if works(&mut command(venv("python"), &["-c", "import pip"])) {
        return Ok(());
    }
    let (major, minor) = PYTHON_LEAST;
    let python = python().ok_or(format!("no Python {major}.{minor} or newer; install python3"))?;
    eprintln!("setup: making .venv");
    run(&mut command(python, &["-m", "venv", "--clear", ".venv"]))
}

fn install_packages() -> Done {
    let import = "import numpy, sklearn, safetensors, pytest, joblib, zmq, cloudpickle";
    if works(&mut command(venv("python"), &["-c", import])) {
        return Ok(());
    }
    eprintln!("setup: installing {}", PACKAGES.join(", "));
    pip(&PACKAGES)
}

/// Installs into `.venv/`.
pub(crate) fn pip(packages: &[&str]) -> Done {
    let quiet = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(command(venv("python"), &quiet).args(packages))
}

/// `pip install` for clients, of whose libraries little is imported: Python compiles that little when it comes to it.
pub(crate) fn pip_for_clients(python: &Path) -> Command {
    let lean = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"];
    command(python, &lean)
}

/// Builds and installs the wheel unless the one installed is newer than every source.
fn install_wheel() -> Done {
    let stamp = root().join(".venv/wheel-installed");
    let built = modified(&stamp);
    let newest = SOURCES.iter().filter_map(|source| newest(&root().join(source))).max();
    let installed = works(&mut command(venv("python"), &["-c", "import hydrofoil"]));
    if installed && built.is_some() && built >= newest {
        return Ok(());
    }
    eprintln!("setup: building the wheel (several minutes the first time)");
    let cannot = |error| format!("cannot write {}: {error}", stamp.display());
    // Dated before the build: a source that changes meanwhile makes another wheel next time.
    let begun = stamp.with_extension("begun");
    fs::write(&begun, "").map_err(cannot)?;
    pip(&["--force-reinstall", "--no-deps", "./python"])?;
    fs::rename(&begun, &stamp).map_err(cannot)
}

/// The wheel that `.venv/` was set up with, made again when it was cleaned away.
pub(crate) fn wheel() -> Done<PathBuf> {
    setup()?;
    let wheels = target_dir().join("wheels");
    if let Some(wheel) = latest_wheel(&wheels) {
        return Ok(wheel);
    }
    eprintln!("setup: building the wheel (several minutes the first time)");
    let build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "./python", "--wheel-dir"];
    run(command(venv("python"), &build).arg(&wheels))?;
    latest_wheel(&wheels).ok_or_else(|| format!("pip left no wheel in {}", wheels.display()))
}

fn latest_wheel(wheels: &Path) -> Option<PathBuf> {
    let start = format!("hydrofoil-{}-", env!("CARGO_PKG_VERSION"));
    let entries = fs::read_dir(wheels).ok()?.flatten().map(|entry| entry.path());
    let ours = entries.filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&start) && name.ends_with(".whl")
    });
    ours.max_by_key(|path| modified(path))
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|it| it.modified()).ok()
}

/// When the newest source file below `path` changed. What builds leave behind does not count, nor what is in no wheel.
fn newest(path: &Path) -> Option<SystemTime> {
    if path.is_file() {
        let kinds = ["rs", "py", "toml", "fbs"];
        let source = path.extension().is_some_and(|it| kinds.iter().any(|kind| it == *kind));
        return modified(path).filter(|_| source);
    }
    let left_behind = [
        "target",
        "hydrofoil.data",
        "__pycache__",
        "build",
        ".pytest_cache",
        "tests",
        "benches",
        "bench/iceoryx2",
        "bench/peers",
    ];
    if left_behind.iter().any(|name| path.ends_with(name)) {
        return None;
    }
    let entries = fs::read_dir(path).ok()?;
    entries.filter_map(|entry| newest(&entry.ok()?.path())).max()
}
