"""Hydrofoil: write a model as a class or function, and serve it in batches.

    import numpy as np
    import hydrofoil as foil

    @foil.model(max_batch=64, slo="20ms")
    class Digits:
        def load(self, ctx):
            self.w = np.load(ctx.path("w.npy"))

        def predict(self, x: foil.f32["n", 64]) -> foil.i64["n"]:
            return (x @ self.w).argmax(1)

Annotations declare tensors: ``"n"`` is the batch dimension, an integer a fixed dimension, any
other name a variable one. Serve with ``foil serve model.py``.

A trained object, or a function, needs no file: an engine that runs takes it from here.

    client = foil.connect()
    client.deploy("digits", clf, sample=X[:4])
    client.predict("digits", X[:2])
"""

from typing import TYPE_CHECKING

from hydrofoil._annotations import (
    DType,
    Tensor,
    bool,
    bytes,
    f16,
    f32,
    f64,
    i8,
    i16,
    i32,
    i64,
    str,
    u8,
    u16,
    u32,
    u64,
)
from hydrofoil._errors import InputError, ModelError, RegionError
from hydrofoil._model import Context, model
from hydrofoil._torch import to_torch
from hydrofoil._views import output

if TYPE_CHECKING:
    from hydrofoil._shared_region import SharedRegion
    from hydrofoil.client import Client, Deployment, DeployError, EngineError, VersionMismatch, connect

__all__ = [
    "Client",
    "Context",
    "DType",
    "DeployError",
    "Deployment",
    "EngineError",
    "InputError",
    "ModelError",
    "RegionError",
    "SharedRegion",
    "Tensor",
    "VersionMismatch",
    "__version__",
    "bool",
    "bytes",
    "connect",
    "f16",
    "f32",
    "f64",
    "i8",
    "i16",
    "i32",
    "i64",
    "model",
    "output",
    "str",
    "to_torch",
    "u8",
    "u16",
    "u32",
    "u64",
]

_OF_CLIENTS = ("Client", "DeployError", "Deployment", "EngineError", "VersionMismatch", "connect")


def __getattr__(name):
    # Looked up on demand: reading the metadata costs every import some milliseconds.
    if name == "__version__":
        from importlib.metadata import version

        return version("hydrofoil")
    # And so does what models have no use for.
    if name == "SharedRegion":
        from hydrofoil._shared_region import SharedRegion

        return SharedRegion
    if name in _OF_CLIENTS:
        import hydrofoil.client

        return getattr(hydrofoil.client, name)
    raise AttributeError(f"module 'hydrofoil' has no attribute {name!r}")
