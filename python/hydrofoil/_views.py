"""Room for outputs inside the memory that the engine reads: written there, they are not copied."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from hydrofoil._model import Definition

_make: Callable[[int, tuple[int, ...]], np.ndarray] | None = None
_indices: dict[str, int] = {}
_refusal = "hydrofoil.output has room only while foil serves the model: use numpy.empty elsewhere"
_thread = 0


def bind(lane: Any, definition: Definition) -> None:
    """From now on `output` makes arrays over the lane's reply slot."""
    global _make, _refusal, _thread
    if definition.lifted:
        _refusal = "hydrofoil.output makes room for whole batches: a model with batch=False has none"
        return
    _make, _thread = lane.output, threading.get_ident()
    _indices.update((name, at) for at, name in enumerate(definition.outputs))


def output(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """An uninitialised array for output ``name`` of this batch, to be filled and returned.

    ``shape`` is the whole output's, rows first; the dtype is the declared one. Works inside
    ``predict`` alone, once per output and batch. It may be kept: it becomes private memory once
    the batch is answered. If ``predict`` returns something else for ``name``, that is copied over it.

    ``ValueError`` when there is no such output, it holds texts, or it does not fit its slot;
    ``RuntimeError`` outside of a served ``predict``, in another thread, and with ``batch=False``.
    """
    if _make is None:
        raise RuntimeError(_refusal)
    if threading.get_ident() != _thread:
        raise RuntimeError(
            "hydrofoil.output belongs to the thread that runs predict: call it there and hand the "
            "array to the others"
        )
    at = _indices.get(name)
    if at is None:
        raise ValueError(f"there is no output {name!r}: declared are {', '.join(_indices)}")
    return _make(at, tuple(shape))
