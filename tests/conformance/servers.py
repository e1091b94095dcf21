"""Starts Hydrofoil and, where its wheel is at hand, the real Triton, each serving the same models."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
#: No start takes a tenth of it; what does, hangs.
START_S = 90
#: Between two looks at whether a server is ready.
LOOK_S = 0.1
STOP_S = 20


@dataclass
class Server:
    name: str
    http: str
    grpc: str
    metrics: str
    admin: str
    log: Path
    process: subprocess.Popen

    def said(self) -> str:
        return self.log.read_text(errors="replace")


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def program(name: str) -> str:
    """One of Hydrofoil's own; FOIL_TEST_BIN says where, else `.venv/bin`."""
    folder = os.environ.get("FOIL_TEST_BIN")
    return str(Path(folder or ROOT / ".venv/bin") / name)


@contextlib.contextmanager
def foil(*flags: str, models: Path = HERE / "foil_models"):
    """An engine with everything on that clients of the protocol can ask for."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(4)]
    http, grpc, metrics, admin = addresses
    command = [
        program("foil"), "serve", str(models), "--http", http, "--grpc", grpc,
        "--metrics", metrics, "--admin", admin, *flags,
    ]  # fmt: skip
    environment = {**os.environ, "FOIL_STATE": "none", "FOIL_PYTHON": program("python")}
    with running("foil", command, environment, addresses) as server:
        yield server


@contextlib.contextmanager
def triton():
    """The real server of the wheel `nvidia-pytriton`; its environment is made by `cargo xtask peers --only triton`."""
    python = triton_python()
    folder = Path(tempfile.mkdtemp(prefix="conformance-triton-"))
    shutil.copytree(HERE / "triton_models", folder / "models")
    http, grpc, metrics, _ = ports = free_ports(4)
    find = "import sysconfig; print(sysconfig.get_paths()['purelib']); print(sysconfig.get_config_var('LIBDIR'))"
    packages, libraries = map(Path, subprocess.check_output([python, "-c", find], text=True).split())
    root = packages / "pytriton/tritonserver"
    command = [
        str(root / "bin/tritonserver"), f"--model-repository={folder / 'models'}",
        f"--backend-directory={write_backend(root, folder / 'backends')}",
        "--http-address=127.0.0.1", f"--http-port={http}", "--grpc-address=127.0.0.1", f"--grpc-port={grpc}",
        "--metrics-address=127.0.0.1", f"--metrics-port={metrics}", "--model-control-mode=explicit", "--load-model=*",
    ]  # fmt: skip
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, [packages / "nvidia_pytriton.libs", libraries])),
        "PATH": os.pathsep.join([str(Path(python).parent), os.environ["PATH"]]),
    }
    addresses = [f"127.0.0.1:{port}" for port in ports]
    try:
        with running("triton", command, environment, addresses) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def triton_python() -> str | None:
    python = ROOT / "target/peers/triton/bin/python"
    return str(python) if python.exists() else None


def write_backend(root: Path, folder: Path) -> Path:
    """The Python back-end beside the stub that was built for this Python."""
    backend = root / "backends/python"
    (folder / "python").mkdir(parents=True)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = root / "python_backend_stubs" / version / "triton_python_backend_stub"
    for part in [*backend.glob("*.so"), *backend.glob("*.py"), stub]:
        shutil.copy(part, folder / "python" / part.name)
    return folder


@contextlib.contextmanager
def running(name: str, command: list[str], environment: dict[str, str], addresses: list[str]):
    log = Path(tempfile.mkstemp(prefix=f"conformance-{name}-", suffix=".log")[1])
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    server = Server(name, *addresses, log, process)
    try:
        wait_ready(server)
        yield server
    finally:
        stop(process)
        log.unlink()


def wait_ready(server: Server) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if server.process.poll() is not None:
            raise RuntimeError(f"{server.name} ended:\n{server.said()}")
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(f"http://{server.http}/v2/health/ready", timeout=5) as answer:
                if answer.status == 200:
                    return
        time.sleep(LOOK_S)
    raise RuntimeError(f"{server.name} was not ready within {START_S} s:\n{server.said()}")


def stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
