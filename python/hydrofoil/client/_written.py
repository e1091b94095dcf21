"""The ``model.py`` that is written around an object or a function, annotated from what its sample is and gives."""

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from hydrofoil import _annotations
from hydrofoil._annotations import DType
from hydrofoil.client._errors import DeployError

PICKLE = "model.pickle"
ENTRY = "model.py"

# By NumPy's dtype; texts are told apart by their elements.
_DTYPES = {
    it.numpy: it.name
    for it in vars(_annotations).values()
    if isinstance(it, DType) and it.numpy != np.object_
}

_MODEL = '''"""Written by hydrofoil.connect().deploy() around {what}."""

import pickle

import hydrofoil as foil


@foil.model
class Model:
    def load(self, ctx):
        with open(ctx.path("{pickle}"), "rb") as file:
            self.model = pickle.load(file)

    def predict(self, {inputs}) -> {outputs}:
{frame}        return self.model{call}({arguments})
'''

_DECLARED = '''"""Written by hydrofoil.connect().deploy(): {name}, as it was declared there."""

import pickle
from pathlib import Path

with open(Path(__file__).with_name("{pickle}"), "rb") as file:
    {name} = pickle.load(file)
'''


def declared(name: str) -> str:
    """Of a class or function that is a model already."""
    return _DECLARED.format(name=name, pickle=PICKLE)


def around(
    model: Any,
    method: str | None,
    inputs: Mapping[str, np.ndarray],
    outputs: Mapping[str, np.ndarray],
    *,
    single: bool,
    by_name: frozenset[str] = frozenset(),
    columns: list[str] | None = None,
) -> str:
    """Of an object whose ``method`` predicts, or of a callable.

    ``by_name`` are the inputs that it takes by keyword only. ``columns`` are those of the data frame that it was
    given here, which it is given there as well.
    """
    annotated = {name: annotation(name, array) for name, array in inputs.items()}
    results = {name: annotation(name, array) for name, array in outputs.items()}
    returned = ", ".join(f"{name!r}: {it}" for name, it in results.items())
    frame = ""
    if columns is not None:
        only = next(iter(inputs))
        frame = f"        import pandas\n\n        {only} = pandas.DataFrame({only}, columns={columns!r})\n"
    return _MODEL.format(
        what=_what(model, method),
        pickle=PICKLE,
        inputs=", ".join(f"{name}: {it}" for name, it in annotated.items()),
        outputs=next(iter(results.values())) if single else f"{{{returned}}}",
        frame=frame,
        call=f".{method}" if method else "",
        arguments=", ".join(f"{it}={it}" if it in by_name else it for it in inputs),
    )


def _what(model: Any, method: str | None) -> str:
    if method is None:
        name = getattr(model, "__qualname__", type(model).__qualname__)
        return f"the function {name}" if inspect.isfunction(model) else f"a {name}"
    return f"{type(model).__qualname__}.{method} of {type(model).__module__}"


def annotation(name: str, array: np.ndarray) -> str:
    """``foil.f32["n", 64]`` for an array of any number of rows."""
    if array.dtype == object:
        kind = "bytes" if array.size and isinstance(array.flat[0], bytes) else "str"
    elif array.dtype.newbyteorder("=") in _DTYPES:
        kind = _DTYPES[array.dtype.newbyteorder("=")]
    else:
        raise DeployError(f"'{name}' has dtype {array.dtype}, which no tensor has: convert it to numbers or text")
    dims = "".join(f", {dim}" for dim in array.shape[1:])
    return f'foil.{kind}["n"{dims}]'
