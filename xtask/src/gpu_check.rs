//! What is promised of GPUs, checked on a host that has one: a bundle to carry there, with a script that runs it. Here
//! the same runs as far as it goes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::setup::wheel;
use crate::shell::{Done, command, run, target_dir, venv};

/// What is carried must be small: some hosts take no more.
const BUNDLE_BYTES_MAX: u64 = 64 << 20;

const PROGRAMS: [&str; 3] = ["foil", "foil-container", "foil-bench"];

/// Runs wherever the bundle lies, with the Python that is there.
const RUN: &str = "#!/bin/sh\n\
    # Checks on this machine what Hydrofoil promises of GPUs, in less than 8 minutes: ./run --out DIR\n\
    # --help shows more, such as --python FILE, the one that has PyTorch.\n\
    here=$(CDPATH= cd -- \"$(dirname -- \"$0\")\" && pwd) || exit 1\n\
    exec \"$here/bin/foil-bench\" gpu-check --bundle \"$here\" \"$@\"\n";

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Arguments {
    /// Only make the bundle, target/gpu-check; its `run` needs no toolchain.
    #[arg(long)]
    bundle: bool,
    /// Where gpu-check.json and gpu-check.md go [default: target/gpu-check-found]
    #[arg(long)]
    out: Option<PathBuf>,
    /// A Python that has PyTorch, if .venv/ has none.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Only the steps whose names contain this.
    #[arg(long)]
    only: Option<String>,
}

pub(crate) fn gpu_check(arguments: &Arguments) -> Done {
    let bundle = target_dir().join("gpu-check");
    make(&bundle, &wheel()?)?;
    if arguments.bundle {
        return Ok(());
    }
    let out = arguments.out.clone().unwrap_or_else(|| target_dir().join("gpu-check-found"));
    let python = arguments.python.clone().unwrap_or_else(|| venv("python"));
    let mut check = command(bundle.join("run"), &[]);
    check.arg("--out").arg(&out).arg("--python").arg(python);
    if let Some(only) = &arguments.only {
        check.args(["--only", only]);
    }
    run(&mut check)?;
    println!("gpu-check: {}", out.join("gpu-check.md").display());
    Ok(())
}

/// The wheel's programs and package, laid out to run in place.
fn make(bundle: &Path, wheel: &Path) -> Done {
    let cannot = |error| format!("cannot make {}: {error}", bundle.display());
    if bundle.exists() {
        fs::remove_dir_all(bundle).map_err(cannot)?;
    }
    let (package, programs) = (bundle.join("python"), bundle.join("bin"));
    fs::create_dir_all(&programs).map_err(cannot)?;
    run(command(venv("python"), &["-m", "zipfile", "-e"]).arg(wheel).arg(&package))?;
    let version = env!("CARGO_PKG_VERSION");
    let scripts = package.join(format!("hydrofoil-{version}.data/scripts"));
    for name in PROGRAMS {
        let program = programs.join(name);
        fs::rename(scripts.join(name), &program).map_err(cannot)?;
        runnable(&program).map_err(cannot)?;
        // The wheel's are stripped of what names their sources, not of every symbol.
        run(&mut command("strip", &[&program.to_string_lossy()]))?;
    }
    let script = bundle.join("run");
    fs::write(&script, RUN).and_then(|()| runnable(&script)).map_err(cannot)?;
    fits(bytes_of(bundle).map_err(cannot)?)?;
    println!("gpu-check: carry {} to the GPU host, there ./run --out DIR", bundle.display());
    Ok(())
}

fn runnable(file: &Path) -> std::io::Result<()> {
    fs::set_permissions(file, fs::Permissions::from_mode(0o755))
}

fn fits(bytes: u64) -> Done {
    if bytes <= BUNDLE_BYTES_MAX {
        return Ok(());
    }
    let (mib, most) = (bytes >> 20, BUNDLE_BYTES_MAX >> 20);
    Err(format!("the bundle has {mib} MiB, more than the {most} that every GPU host takes"))
}

fn bytes_of(path: &Path) -> std::io::Result<u64> {
    if path.is_file() {
        return Ok(fs::metadata(path)?.len());
    }
    fs::read_dir(path)?.map(|entry| bytes_of(&entry?.path())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::output;

    #[test]
    fn a_bundle_too_large_to_carry_is_refused() {
        assert!(fits(BUNDLE_BYTES_MAX).is_ok());
        let refused = fits(BUNDLE_BYTES_MAX + (1 << 20));
        assert_eq!(
            refused,
            Err("the bundle has 65 MiB, more than the 64 that every GPU host takes".into())
        );
    }

    #[test]
    fn the_script_starts_the_check_beside_it() {
        let bundle = std::env::temp_dir().join(format!("foil-gpu-check-{}", std::process::id()));
        fs::create_dir_all(bundle.join("bin")).expect("a temporary folder");
        fs::write(bundle.join("run"), RUN).expect("written");
        // A shell in the program's place takes what it is told first for a script.
        std::os::unix::fs::symlink("/bin/sh", bundle.join("bin/foil-bench")).expect("linked");
        fs::write(bundle.join("gpu-check"), "echo \"$@\"\n").expect("written");
        let mut run = command("sh", &["run", "--out", "DIR"]);
        let said = output(run.current_dir(&bundle));
        fs::remove_dir_all(&bundle).expect("removed");
        assert_eq!(said, Ok(format!("--bundle {} --out DIR\n", bundle.display())));
    }
}
