"""Triton with its Python back-end, from the wheel of PyTriton: writes a model repository and becomes tritonserver."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from settings import BATCH_MAX, DELAY_MS, FOLDER, GRPC_PORT, MODEL, PORT

DIMENSIONS = {"noop": 1, "linear": 10, "mlp": 10}

packages = Path(sysconfig.get_paths()["purelib"])
triton = packages / "pytriton/tritonserver"
python = f"{sys.version_info.major}.{sys.version_info.minor}"


def batching():
    if BATCH_MAX == 1:
        return "max_batch_size: 0"
    delay = f"max_queue_delay_microseconds: {1000 * int(DELAY_MS)}" if DELAY_MS else ""
    return f"max_batch_size: {BATCH_MAX}\ndynamic_batching {{ {delay} }}"


def config():
    # Without batching the first dimension is the model's own.
    rows = "1, " if BATCH_MAX == 1 else ""
    return f"""name: "{MODEL}"
backend: "python"
{batching()}
input [ {{ name: "x", data_type: TYPE_FP32, dims: [ {rows}784 ] }} ]
output [ {{ name: "y", data_type: TYPE_FP32, dims: [ {rows}{DIMENSIONS[MODEL]} ] }} ]
instance_group [ {{ count: 1, kind: KIND_CPU }} ]
"""


def write_repository():
    folder = Path(FOLDER) / "repository" / MODEL
    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "config.pbtxt").write_text(config())
    here = Path(__file__).resolve().parent
    for file in [here / "model.py", here.parent / "shared/models.py"]:
        shutil.copy(file, folder / "1")
    return folder.parent


def write_backend():
    """The back-end beside the stub that was built for this Python."""
    folder = Path(FOLDER) / "backends/python"
    folder.mkdir(parents=True, exist_ok=True)
    backend = triton / "backends/python"
    stub = triton / "python_backend_stubs" / python / "triton_python_backend_stub"
    for part in [*backend.glob("*.so"), *backend.glob("*.py"), stub]:
        shutil.copy(part, folder / part.name)
    return folder.parent


if __name__ == "__main__":
    libraries = [packages / "nvidia_pytriton.libs", sysconfig.get_config_var("LIBDIR")]
    # The stub finds its Python, and so its packages, as the first one on the path.
    programs = [Path(sys.executable).parent, os.environ["PATH"]]
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
        "PATH": os.pathsep.join(map(str, programs)),
    }
    program = str(triton / "bin/tritonserver")
    arguments = [
        f"--model-repository={write_repository()}",
        f"--backend-directory={write_backend()}",
        "--http-address=127.0.0.1",
        f"--http-port={PORT}",
        *(["--grpc-address=127.0.0.1", f"--grpc-port={GRPC_PORT}"] if GRPC_PORT else ["--allow-grpc=false"]),
        "--allow-metrics=false",
    ]
    os.execve(program, [program, *arguments], environment)
