"""Memory a client shares with an engine on the same machine, so that tensors need not pass through a socket."""

import contextlib
import fcntl
import json
import mmap
import os
import secrets
import socket

import numpy as np
from numpy.typing import DTypeLike

from hydrofoil._errors import RegionError

# Fixed for good, so that the engine can rely on the size of what it was given.
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
# The engine answers at once; silence means that it hangs.
_ANSWER_TIMEOUT_S = 10
# A refusal is a sentence.
_ANSWER_BYTES_MAX = 4096


class SharedRegion:
    """One region, registered for as long as it is open.

        with foil.SharedRegion("/run/foil/shm.sock", 1 << 20) as region:
            x = region.array(np.float32, (8, 784))
            y = region.array(np.int64, (8,), offset=x.nbytes)
            x[:] = rows
            given.set_shared_memory(*region.place(x))       # tritonclient's InferInput
            wanted.set_shared_memory(*region.place(y))      # its InferRequestedOutput
            {"name": "x", ..., "parameters": region.parameters(x)}    # or plain JSON

    The engine must run with ``--client-shm-socket``. The name needs to be known to nobody else, so it is
    drawn at random where none is given: whoever knows it can use the region in requests of their own.
    """

    def __init__(self, path: str | os.PathLike, byte_size: int, name: str | None = None) -> None:
        self.name = name or f"region-{secrets.token_hex(16)}"
        self.byte_size = byte_size
        with contextlib.ExitStack() as undo:
            memory = _sealed_memory(byte_size)
            undo.callback(os.close, memory)
            self._map = mmap.mmap(memory, byte_size)
            connection = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            connection.settimeout(_ANSWER_TIMEOUT_S)
            connection.connect(os.fspath(path))
            socket.send_fds(connection, [_line("register", self.name)], [memory])
            answer = _answer(connection)
            if "error" in answer:
                raise RegionError(answer["error"])
            undo.pop_all()
        os.close(memory)
        self._connection = connection

    def array(self, dtype: DTypeLike, shape: tuple[int, ...], offset: int = 0) -> np.ndarray:
        """A view of the region's bytes from ``offset`` on."""
        return np.ndarray(shape, dtype, buffer=self._map, offset=offset)

    def place(self, array: np.ndarray) -> tuple[str, int, int]:
        """Where a view lies, as ``set_shared_memory`` takes it: the region's name, the bytes, the offset."""
        start = np.frombuffer(self._map, np.uint8).__array_interface__["data"][0]
        offset = array.__array_interface__["data"][0] - start
        inside = 0 <= offset and offset + array.nbytes <= self.byte_size
        if not inside or not array.flags.c_contiguous:
            raise ValueError("the array must be a contiguous view of this region; make it with array()")
        return self.name, array.nbytes, offset

    def parameters(self, array: np.ndarray) -> dict[str, str | int]:
        """The same as a tensor's ``parameters`` in a request."""
        name, byte_size, offset = self.place(array)
        return {
            "shared_memory_region": name,
            "shared_memory_byte_size": byte_size,
            "shared_memory_offset": offset,
        }

    def close(self) -> None:
        """Unregisters the region: no request finds it from then on. Its memory goes with the last view of it."""
        with contextlib.suppress(OSError, RegionError), self._connection as connection:
            # An engine that has gone holds nothing any more.
            connection.sendall(_line("unregister", self.name))
            _answer(connection)
        # Not closed: NumPy's views keep it alive, but would not keep it from being unmapped.
        self._map = None

    def __enter__(self) -> "SharedRegion":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def _sealed_memory(byte_size: int) -> int:
    memory = os.memfd_create("hydrofoil-client", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(memory, byte_size)
        # A lack of memory is an error now and not a signal later.
        os.posix_fallocate(memory, 0, byte_size)
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
    except OSError:
        os.close(memory)
        raise
    return memory


def _line(act: str, name: str) -> bytes:
    return json.dumps({act: name}).encode() + b"\n"


def _answer(connection: socket.socket) -> dict:
    """One line."""
    said = b""
    while not said.endswith(b"\n"):
        piece = connection.recv(_ANSWER_BYTES_MAX)
        if not piece or len(said) > _ANSWER_BYTES_MAX:
            raise RegionError("the engine closed the connection; it may have as many as it takes")
        said += piece
    return json.loads(said)
