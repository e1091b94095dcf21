"""Checks what ``predict`` returned against its annotation and makes it ready for the lane.

Values must survive: a float becomes a narrower float, an integer another integer that can hold
it, an integer a float. Nothing becomes an integer or a bool by rounding.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from hydrofoil._annotations import BATCH, Tensor
from hydrofoil._errors import BadOutput, clip
from hydrofoil._model import Definition

# What the lane takes for one output: its shape, and an array, in whatever order it lies, or a flat list of str or
# bytes.
Ready = tuple[tuple[int, ...], Any]


def converter(definition: Definition) -> Callable[[Any, int], list[Ready]]:
    """A function of what predict returned and the rows of the batch, to the outputs in order."""
    checks = [(name, _check(name, tensor)) for name, tensor in definition.outputs.items()]
    if definition.single_output:
        check = checks[0][1]
        return lambda result, rows: [check(result, rows)]

    def convert(result: Any, rows: int) -> list[Ready]:
        if not isinstance(result, dict):
            raise BadOutput(f"predict returned {_kind(result)}, expected a dict of its outputs")
        for name in result.keys() - definition.outputs.keys():
            raise BadOutput(f"predict returned {name!r}, which its annotation does not name")
        return [check(_value(result, name), rows) for name, check in checks]

    return convert


def _value(result: dict[str, Any], name: str) -> Any:
    try:
        return result[name]
    except KeyError:
        raise BadOutput(f"predict returned no output '{name}'") from None


def _check(name: str, tensor: Tensor) -> Callable[[Any, int], Ready]:
    dtype, ndarray, batched, dims = tensor.dtype.numpy, np.ndarray, tensor.batched, tensor.dims
    fixed = tuple((at, dim) for at, dim in enumerate(dims) if not isinstance(dim, str))
    rank, is_text = len(dims), dtype == np.object_

    def check(value: Any, rows: int) -> Ready:
        array = value if type(value) is ndarray else _array(name, value, is_text)
        # Nearly always the same object: comparing datatypes takes as long as the rest.
        if array.dtype is not dtype and array.dtype != dtype:
            array = _cast(name, array, tensor)
        shape = array.shape
        fits = len(shape) == rank and (not batched or shape[0] == rows)
        for at, dim in fixed:
            fits = fits and shape[at] == dim
        if not fits:
            raise BadOutput(_shape_sentence(name, tensor, shape, rows))
        return shape, array.ravel().tolist() if is_text else array

    return check


def _array(name: str, value: Any, is_text: bool) -> np.ndarray:
    if value is None or isinstance(value, dict):
        raise BadOutput(f"output '{name}' is {_kind(value)}, expected an array")
    try:
        return np.asarray(value, dtype=np.object_ if is_text else None)
    except Exception as error:
        raise BadOutput(clip(f"output '{name}' is no array: {error}")) from error


def _cast(name: str, array: np.ndarray, tensor: Tensor) -> np.ndarray:
    dtype = tensor.dtype.numpy
    if dtype == np.object_:
        if array.dtype.kind in "SU":
            return array.astype(np.object_)
        raise BadOutput(_dtype_sentence(name, array, tensor))
    if array.dtype.kind not in "biuf":
        raise BadOutput(_dtype_sentence(name, array, tensor))
    if array.dtype.kind in "iu" and dtype.kind in "iu":
        return _cast_integer(name, array, tensor)
    if array.size == 0 or np.can_cast(array.dtype, dtype, "same_kind"):
        # A narrower float may become infinite: that is its value, not news for the log.
        with np.errstate(over="ignore"):
            return array.astype(dtype)
    raise BadOutput(_dtype_sentence(name, array, tensor))


def _cast_integer(name: str, array: np.ndarray, tensor: Tensor) -> np.ndarray:
    info = np.iinfo(tensor.dtype.numpy)
    if array.size and not (info.min <= int(array.min()) and int(array.max()) <= info.max):
        raise BadOutput(
            f"output '{name}' holds an integer that {tensor.dtype.name} can't hold: "
            "declare a wider type"
        )
    return array.astype(tensor.dtype.numpy)


def _dtype_sentence(name: str, array: np.ndarray, tensor: Tensor) -> str:
    return f"output '{name}' has dtype {array.dtype}, expected {tensor.dtype.name}"


def _shape_sentence(name: str, tensor: Tensor, shape: tuple[int, ...], rows: int) -> str:
    if tensor.batched and shape and shape[0] != rows:
        return f"output '{name}' has {shape[0]} rows, the batch has {rows}"
    named = (f"{rows}" if dim == BATCH else f"{dim}" for dim in tensor.dims)
    return f"output '{name}' has shape {list(shape)}, expected [{', '.join(named)}]"


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
