"""NumPy arrays as tensors of the Open Inference Protocol: in binary for requests, as JSON for samples."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hydrofoil.client._errors import EngineError

DATATYPES = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(object),
}
NAMES = {dtype: name for name, dtype in DATATYPES.items()}

LENGTH = "Inference-Header-Content-Length"

Tensors = dict[str, np.ndarray]


def as_array(name: str, value: Any) -> np.ndarray:
    """Numbers, or an object array of texts or bytes. ``ValueError`` says what else it is."""
    array = np.asarray(value)
    if array.dtype.kind in "US":
        return array.astype(object)
    if array.dtype.kind == "O":
        kinds = {type(it) for it in array.flat}
        if kinds <= {str} or kinds <= {bytes} or kinds <= {np.str_}:
            return array
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise ValueError(
            f"'{name}' holds {names}: give rows of equal length that are all numbers, or all text"
        )
    if array.dtype == np.longdouble and array.dtype.itemsize > 8:
        return array.astype(np.float64)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"'{name}' has dtype {array.dtype}: give numbers, bools or text")
    return array


def request(arrays: Mapping[str, np.ndarray], datatypes: Mapping[str, str]) -> tuple[bytes, dict[str, str]]:
    """Body and headers of an inference request that is answered in binary."""
    tensors, blobs = [], []
    for name, array in arrays.items():
        blob = _blob(array)
        parameters = {"binary_data_size": len(blob)}
        shape = list(array.shape)
        tensors.append(
            {"name": name, "shape": shape, "datatype": datatypes[name], "parameters": parameters}
        )
        blobs.append(blob)
    head = json.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}}).encode()
    headers = {"Content-Type": "application/octet-stream", LENGTH: str(len(head))}
    return b"".join([head, *blobs]), headers


def _blob(array: np.ndarray) -> bytes:
    if array.dtype != object:
        return np.ascontiguousarray(array).tobytes()
    pieces = []
    for element in array.flat:
        data = element.encode() if isinstance(element, str) else bytes(element)
        pieces += [len(data).to_bytes(4, "little"), data]
    return b"".join(pieces)


def fitted(name: str, value: Any, datatype: str) -> np.ndarray:
    """The value as the model takes it. ``ValueError`` when that would change it."""
    array, dtype = as_array(name, value), DATATYPES.get(datatype)
    if dtype is None:
        raise ValueError(f"'{name}' is {datatype}, which NumPy can't hold: use another client")
    if array.dtype == dtype:
        return array
    # A whole number that a list held is as good as the float that the model takes.
    if (array.dtype == object) == (dtype == object) and (
        np.can_cast(array.dtype, dtype, "same_kind") or _holds(dtype, array)
    ):
        return array.astype(dtype)
    raise ValueError(f"'{name}' has dtype {array.dtype}, and the model takes {datatype}: convert it")


def _holds(dtype: np.dtype, array: np.ndarray) -> bool:
    """Whether integers, as a list gives them, all fit the model's integers."""
    if dtype.kind not in "iu" or array.dtype.kind not in "iu":
        return False
    info = np.iinfo(dtype)
    return not array.size or (info.min <= int(array.min()) and int(array.max()) <= info.max)


def answer(body: bytes, header_length: str | None) -> Tensors:
    """The outputs by name. Texts are str where all are UTF-8, else bytes. ``header_length`` is what `LENGTH` says."""
    length = int(header_length or len(body))
    outputs, at = {}, length
    for tensor in json.loads(body[:length])["outputs"]:
        name, shape = tensor["name"], tuple(tensor["shape"])
        dtype = DATATYPES.get(tensor["datatype"])
        if dtype is None:
            raise EngineError(f"output '{name}' is {tensor['datatype']}, which NumPy can't hold")
        size = tensor.get("parameters", {}).get("binary_data_size")
        if size is None:
            outputs[name] = np.array(tensor["data"], dtype).reshape(shape)
            continue
        blob, at = body[at : at + size], at + size
        if dtype == object:
            outputs[name] = _texts(blob, shape)
        else:
            outputs[name] = np.frombuffer(blob, dtype).reshape(shape).copy()
    return outputs


def _texts(blob: bytes, shape: tuple[int, ...]) -> np.ndarray:
    elements: list[Any] = []
    at = 0
    while at < len(blob):
        end = at + 4 + int.from_bytes(blob[at : at + 4], "little")
        elements.append(blob[at + 4 : end])
        at = end
    try:
        elements = [it.decode() for it in elements]
    except UnicodeDecodeError:
        pass
    array = np.empty(len(elements), object)
    array[:] = elements
    return array.reshape(shape)


def has_json_form(arrays: Mapping[str, np.ndarray]) -> bool:
    """Half precision has none."""
    return all(array.dtype != np.float16 for array in arrays.values())


def json_tensors(arrays: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """As the protocol writes them, NaN and infinities as null, which only answers may hold."""
    return [
        {
            "name": name,
            "shape": list(array.shape),
            "datatype": NAMES[array.dtype.newbyteorder("<")],
            "data": [_element(it) for it in array.ravel().tolist()],
        }
        for name, array in arrays.items()
    ]


def _element(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return None if isinstance(value, float) and not math.isfinite(value) else value
