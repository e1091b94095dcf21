"""Build backend of the wheel: the native programs go into its scripts, then maturin does the rest.

The programs and the extension come from the same source tree, so that they always speak the same
protocol. ``CARGO_TARGET_DIR`` is honoured by cargo itself.
"""

import json
import shutil
import subprocess
from pathlib import Path

import maturin
from maturin import *  # noqa: F403 (the hooks that need no programs)

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE / "hydrofoil.data" / "scripts"
# Program in the wheel, and the package it is built from.
PROGRAMS = {"foil": "engine", "foil-container": "gpu-containers", "foil-bench": "bench"}

# maturin refuses to say even the metadata while the folder of data is missing.
SCRIPTS.mkdir(parents=True, exist_ok=True)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    collect_programs()
    return maturin.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    collect_programs()
    return maturin.build_editable(wheel_directory, config_settings, metadata_directory)


def collect_programs():
    """Builds all programs in one go and puts them where maturin looks for scripts."""
    built = build_programs()
    missing = PROGRAMS.keys() - built.keys()
    if missing:
        raise SystemExit(f"cargo built no {', '.join(sorted(missing))}: check the [[bin]] sections")
    shutil.rmtree(SCRIPTS, ignore_errors=True)
    SCRIPTS.mkdir(parents=True)
    for name in PROGRAMS:
        shutil.copy2(built[name], SCRIPTS / name)


def build_programs():
    """Program name to the path of its executable, as cargo reports it."""
    command = ["cargo", "build", "--profile", "wheel", "--locked"]
    command.append("--message-format=json-render-diagnostics")
    for program, package in PROGRAMS.items():
        command += ["--package", package, "--bin", program]
    done = subprocess.run(command, cwd=HERE.parent, check=True, stdout=subprocess.PIPE)
    messages = (json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"{"))
    return {it["target"]["name"]: it["executable"] for it in messages if it.get("executable")}
