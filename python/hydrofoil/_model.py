"""The decorator ``foil.model``: what it declares, and the checks on it."""

import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydrofoil._annotations import Tensor, tensor_of
from hydrofoil._errors import ModelError

MARK = "__hydrofoil__"
# The bounds of the engine's own record of a model; checked here to name file and line.
BATCH_ROWS_MAX = 65_536
REPLICAS_MAX = 1024
TENSORS_MAX = 64

_UNITS_US = {"us": 1, "ms": 1_000, "s": 1_000_000}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s)")
_WORD_STARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True, slots=True)
class Settings:
    """How a model wants to be run. Times in microseconds."""

    max_batch: int
    slo_us: int | None
    replicas: int
    late: str
    batch_timeout_us: int
    pad: bool = False

    def merged(self, overrides: dict[str, Any]) -> "Settings":
        """With the settings of ``model.toml``, by the same names, in place of the decorator's."""
        changes = {}
        for name, value in overrides.items():
            if name not in _PARSERS:
                raise ModelError(f"unknown setting {name!r}: use {', '.join(_PARSERS)}")
            field, parse = _PARSERS[name]
            changes[field] = parse(name, value)
        return replace(self, **changes)


@dataclass(frozen=True, slots=True)
class Definition:
    """A model as declared: its signature and settings."""

    target: Any
    name: str
    settings: Settings
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    keyword_only: tuple[str, ...]
    single_output: bool
    lifted: bool
    # ``predict`` is a generator function: each yield is a part of the answer.
    decoupled: bool = False

    @property
    def batched(self) -> bool:
        return next(iter(self.inputs.values())).batched


class Context:
    """What ``load`` is given.

    ``device`` is where the replica runs: ``"cpu"``, or the name of its group where ``model.toml``
    has ``[[devices]]``. ``version`` is the integer version of the model. ``parameters`` are those
    of its ``model.toml`` or ``config.pbtxt``, by name.
    """

    def __init__(
        self, directory: Path, device: str, version: int, parameters: dict[str, str]
    ) -> None:
        self.directory = directory
        self.device = device
        self.version = version
        self.parameters = parameters

    def path(self, name: str) -> Path:
        """The file ``name`` that lies beside the model file."""
        return self.directory / name


def model(
    target: Any = None,
    /,
    *,
    max_batch: int | None = None,
    slo: str | None = None,
    replicas: int = 1,
    late: str = "serve",
    batch_timeout: str = "30s",
    batch: bool = True,
    pad: bool = False,
) -> Any:
    """Declares a class with ``predict``, or a plain function, as a model. It is returned as it was.

    ``max_batch``: most rows of a batch; 64, where nothing is said. ``slo``: aim for the 99th percentile of latency, such as
    ``"20ms"``; units us, ms, s. ``replicas``: processes that run it. ``late``: ``"serve"`` or
    ``"shed"`` what can't meet the SLO. ``batch_timeout``: a batch that takes longer is ended with
    its process. ``batch=False``: ``predict`` takes one item at a time; annotations then need no
    ``"n"``. A model whose annotations have no ``"n"`` is called once per request.

    ``pad=True``: requests of unlike sizes share a batch. Named dimensions other than ``"n"`` are
    filled up with zeros to the longest of the batch, and outputs are returned as long as that. A
    model that must tell zeros from padding takes the lengths, or a mask, as an input of its own.
    Requests share a batch when all the dimensions that differ between them equal, in each, the
    first named one; others must be the same.

    A ``predict`` that yields answers in parts: each ``yield`` is the outputs for the whole batch, as a
    return would be. It is given one request at a time, whose rows ``max_batch`` bounds: 1, where nothing
    is said. The generator is closed when nobody waits for more. ``batch_timeout`` is then the time
    between two parts.

    Raises :class:`ModelError`, with file and line, when a setting or an annotation is wrong.
    """
    frame = sys._getframe(1)
    place = (frame.f_code.co_filename, frame.f_lineno)
    given = {"max_batch": max_batch, "slo": slo, "replicas": replicas}
    given |= {"late": late, "batch_timeout": batch_timeout, "pad": pad}
    given = {name: value for name, value in given.items() if (name, value) != ("max_batch", None)}
    settings = _at(place, lambda: Settings(0, None, 1, "serve", 30_000_000).merged(given))
    if not isinstance(batch, bool):
        raise ModelError(f"batch is {batch!r}, use True or False", *place)

    def declare(target: Any) -> Any:
        definition = define(target, settings, lifted=not batch, place=place)
        setattr(target, MARK, definition)
        return target

    return declare if target is None else declare(target)


def definition_of(value: Any) -> Definition | None:
    """The declaration on a class or function itself; one inherited from a base does not count."""
    return getattr(value, "__dict__", {}).get(MARK)


def define(
    target: Any, settings: Settings, *, lifted: bool, place: tuple[str, int]
) -> Definition:
    """Reads the signature of a class's ``predict``, or of a function."""
    function, skips_first = _predict_of(target, place)
    place = (function.__code__.co_filename, function.__code__.co_firstlineno)
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise ModelError("predict is async: make it a plain function", *place)
    return _at(place, lambda: _define(target, function, skips_first, settings, lifted))


def _define(
    target: Any, function: Any, skips_first: bool, settings: Settings, lifted: bool
) -> Definition:
    signature = _signature(function)
    parameters = list(signature.parameters.values())[1 if skips_first else 0 :]
    inputs = {it.name: _input(it) for it in parameters}
    outputs, single = _outputs(signature.return_annotation)
    if lifted:
        inputs = {name: tensor.with_batch() for name, tensor in inputs.items()}
        outputs = {name: tensor.with_batch() for name, tensor in outputs.items()}
    _check_tensors(inputs, outputs)
    decoupled = inspect.isgeneratorfunction(function)
    if decoupled and lifted:
        raise ModelError(
            'batch=False is for a predict that returns: leave it out, and leave "n" out of the '
            "annotations"
        )
    if settings.max_batch == 0:
        settings = replace(settings, max_batch=1 if decoupled else 64)
    if settings.pad and decoupled:
        raise ModelError(
            "pad=True is for requests that share a batch, and a predict that yields has one at a "
            "time: leave pad out"
        )
    if settings.pad:
        _check_padding(inputs, lifted)
    keyword_only = tuple(it.name for it in parameters if it.kind is it.KEYWORD_ONLY)
    name = snake_case(target.__name__)
    return Definition(target, name, settings, inputs, outputs, keyword_only, single, lifted, decoupled)


def _predict_of(target: Any, place: tuple[str, int]) -> tuple[Any, bool]:
    """The function to call, and whether its first parameter is the instance."""
    if inspect.isfunction(target):
        return target, False
    if not inspect.isclass(target):
        raise ModelError(f"@foil.model goes on a class or a function, not on {target!r}", *place)
    predict = inspect.getattr_static(target, "predict", None)
    is_static = isinstance(predict, staticmethod)
    if isinstance(predict, (staticmethod, classmethod)):
        predict = predict.__func__
    if not inspect.isfunction(predict):
        raise ModelError(f"class {target.__name__} has no method predict: add one", *place)
    return predict, not is_static


def _signature(function: Any) -> inspect.Signature:
    try:
        return inspect.signature(function, eval_str=True)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"the annotations of {function.__name__} can't be read: {type(error).__name__}: {error}"
        ) from error


def _input(parameter: inspect.Parameter) -> Tensor:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise ModelError(f"parameter '{parameter}' names no tensor: give each input a name")
    if parameter.annotation is parameter.empty:
        raise ModelError(
            f"parameter '{parameter.name}' has no annotation: write "
            f'{parameter.name}: foil.f32["n", …]'
        )
    return _tensor(f"parameter '{parameter.name}'", parameter.annotation)


def _outputs(annotation: Any) -> tuple[dict[str, Tensor], bool]:
    if annotation is inspect.Signature.empty:
        raise ModelError('predict has no return annotation: write -> foil.f32["n", …]')
    if not isinstance(annotation, dict):
        return {"output": _tensor("the return annotation", annotation)}, True
    outputs = {}
    for name, tensor in annotation.items():
        if not isinstance(name, str) or not name:
            raise ModelError(f"output name {name!r} must be a text that is not empty")
        outputs[name] = _tensor(f"output '{name}'", tensor)
    return outputs, False


def _tensor(what: str, annotation: Any) -> Tensor:
    tensor = tensor_of(annotation)
    if tensor is None:
        raise ModelError(
            f"{what} is annotated {annotation!r}, which is no tensor: use one such as "
            'foil.f32["n", 64]'
        )
    return tensor


def _check_tensors(inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> None:
    for side, tensors in (("input", inputs), ("output", outputs)):
        if not 1 <= len(tensors) <= TENSORS_MAX:
            raise ModelError(f"predict has {len(tensors)} {side}s, use 1 to {TENSORS_MAX}")
    tensors = inputs | {f"return {name}": tensor for name, tensor in outputs.items()}
    without = [name for name, tensor in tensors.items() if not tensor.batched]
    if without and len(without) < len(tensors):
        raise ModelError(
            f"'{without[0]}' lacks the batch dimension that others have: "
            'put "n" first in all of them, or in none'
        )


def _check_padding(inputs: dict[str, Tensor], lifted: bool) -> None:
    """What ``pad=True`` asks of inputs; texts have no zeros to be filled up with."""
    if lifted:
        raise ModelError("pad=True with batch=False gains nothing: leave one of them out")
    for name, tensor in inputs.items():
        if not tensor.batched:
            raise ModelError(
                f"pad=True is for a model with a batch dimension, and '{name}' has none: "
                'put "n" first, or leave pad out'
            )
        if tensor.dtype.name in ("bytes", "str"):
            raise ModelError(
                f"'{name}' is {tensor.dtype!r}, which can't be padded: leave pad out, "
                "or take numbers"
            )
    if not any(isinstance(dim, str) for it in inputs.values() for dim in it.dims[1:]):
        raise ModelError(
            'pad=True is for inputs of variable size: name such a dimension, as in ["n", "t"], '
            "or leave pad out"
        )


def snake_case(name: str) -> str:
    return _WORD_STARTS.sub("_", name).lower()


def parse_duration_us(name: str, value: Any) -> int:
    """Microseconds of a duration such as ``"20ms"``."""
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    duration_us = round(float(match[1]) * _UNITS_US[match[2]]) if match else 0
    if not 0 < duration_us < 2**63:
        raise ModelError(
            f'{name} is {value!r}, use a duration longer than zero such as "20ms" (us, ms, s)'
        )
    return duration_us


def _parse_slo_us(name: str, value: Any) -> int | None:
    return None if value is None else parse_duration_us(name, value)


def _parse_late(name: str, value: Any) -> str:
    if value not in ("serve", "shed"):
        raise ModelError(f'{name} is {value!r}, use "serve" or "shed"')
    return value


def _parse_flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ModelError(f"{name} is {value!r}, use True or False")
    return value


def _parse_count(most: int) -> Callable[[str, Any], int]:
    def parse(name: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise ModelError(f"{name} is {value!r}, use an integer from 1 to {most}")
        return value

    return parse


# Setting as users write it: the field of Settings and how to read it.
_PARSERS: dict[str, tuple[str, Callable[[str, Any], Any]]] = {
    "max_batch": ("max_batch", _parse_count(BATCH_ROWS_MAX)),
    "slo": ("slo_us", _parse_slo_us),
    "replicas": ("replicas", _parse_count(REPLICAS_MAX)),
    "late": ("late", _parse_late),
    "batch_timeout": ("batch_timeout_us", parse_duration_us),
    "pad": ("pad", _parse_flag),
}


def _at(place: tuple[str, int], check: Callable[[], Any]) -> Any:
    """Runs a check; an error without a place gets this one."""
    try:
        return check()
    except ModelError as error:
        if error.file is not None:
            raise
        raise ModelError(error.reason, *place) from error.__cause__
