"""The lane's request slots as a GPU reads them: each registered with its driver once, and let go of before it moves.

The driver copies from a registered slot by itself, after the call that asked for it has returned. So the lane asks here
before a slot goes back to the engine: copies are waited for, and a slot that moves from under views that are kept is
registered no longer. What can't be registered is staged: copied to memory of the driver's own first.
"""

import contextlib
import sys
import threading
from typing import Any, Protocol

# A model that keeps its inputs past their batch moves a slot each time, and registering one takes milliseconds.
MOVES_MAX = 4
# Copies of one batch that are waited for only at its end; a model has fewer inputs.
UNDER_WAY_MAX = 64

_lane: Any = None
_thread = 0
_pins: "Pins | None" = None


class Copy(Protocol):
    """One that was begun."""

    def synchronize(self) -> None: ...


class Gpu(Protocol):
    """What is asked of a GPU. ``tensor`` is whatever its caller copies."""

    def register(self, address: int, byte_size: int) -> str | None:
        """None, or why the driver can't read the range by itself."""

    def unregister(self, address: int) -> None: ...

    def send(self, tensor: Any, device: Any) -> tuple[Any, Copy]:
        """On the device, perhaps later, and what tells when."""

    def stage(self, tensor: Any, device: Any) -> Any:
        """On the device; ``tensor`` is not read any more."""


class Pins:
    """Which slots of ``lane`` are registered with ``gpu``. Belongs to the thread that runs predict."""

    def __init__(self, lane: Any, gpu: Gpu) -> None:
        self._lane, self._gpu = lane, gpu
        self._slots: list[tuple[int, int]] = []
        self._registered: set[int] = set()
        self._under_way: list[Copy] = []
        self._moves = 0
        self._refused = False
        lane.on_return(self._returns)

    def send(self, tensor: Any, address: int, device: Any) -> Any:
        """A copy on the device of what lies at ``address``."""
        if not self._is_pinned(address):
            return self._gpu.stage(tensor, device)
        if len(self._under_way) == UNDER_WAY_MAX:
            self._wait()
        sent, copy = self._gpu.send(tensor, device)
        self._under_way.append(copy)
        return sent

    def release(self) -> None:
        """Nothing is registered any more; the lane may unmap its slots."""
        self._wait()
        while self._registered:
            self._gpu.unregister(self._registered.pop())

    def _is_pinned(self, address: int) -> bool:
        slot = self._slot_of(address)
        if slot is None or self._refused:
            return False
        base, byte_size = slot
        if base not in self._registered:
            why = self._gpu.register(base, byte_size)
            if why is not None:
                self._refuse(f"CUDA can't register the lane's memory ({why})")
                return False
            self._registered.add(base)
        return True

    def _slot_of(self, address: int) -> tuple[int, int] | None:
        if not self._slots:
            self._slots = self._lane.request_slots()
        inside = (it for it in self._slots if it[0] <= address < it[0] + it[1])
        return next(inside, None)

    def _returns(self, moves_from: int | None) -> None:
        """A batch's slot goes back to the engine; it moves if ``moves_from`` is its address."""
        self._wait()
        if moves_from is None:
            return
        self._slots = []
        if moves_from not in self._registered:
            return
        self._registered.remove(moves_from)
        self._gpu.unregister(moves_from)
        self._moves += 1
        if self._moves == MOVES_MAX:
            self._refuse("the model keeps its inputs past their batch: keep copies instead, x.copy()")

    def _wait(self) -> None:
        for copy in self._under_way:
            copy.synchronize()
        self._under_way.clear()

    def _refuse(self, why: str) -> None:
        self._refused = True
        # A closed stderr must not fail a batch.
        with contextlib.suppress(OSError, ValueError):
            print(f"hydrofoil: to_torch copies inputs twice from now on: {why}", file=sys.stderr)


def bind(lane: Any) -> None:
    """From now on this thread's `pins` are those of the lane."""
    global _lane, _thread
    _lane, _thread = lane, threading.get_ident()


def pins(gpu: Gpu) -> Pins | None:
    """Of the lane that this thread serves, made at the first call. None in any other thread, and where nothing is served."""
    global _pins
    if _lane is None or threading.get_ident() != _thread:
        return None
    if _pins is None:
        _pins = Pins(_lane, gpu)
    return _pins


def release() -> None:
    """Before the lane is closed."""
    if _pins is not None:
        _pins.release()
