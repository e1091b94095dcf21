"""From a declared model to one function over a whole batch: arrays in, what predict returned out."""

from collections.abc import Callable
from typing import Any

from hydrofoil._errors import BadOutput, InputError
from hydrofoil._model import Definition


def batch_call(definition: Definition, instance: Any) -> Callable[..., Any]:
    """Takes the inputs by position, in their declared order. ``instance`` is what has ``predict``."""
    function = _by_position(definition, getattr(instance, "predict", instance))
    return _lift(definition, function) if definition.lifted else function


def _by_position(definition: Definition, function: Callable[..., Any]) -> Callable[..., Any]:
    names = definition.keyword_only
    if not names:
        return function
    split = len(definition.inputs) - len(names)

    def call(*inputs: Any) -> Any:
        return function(*inputs[:split], **dict(zip(names, inputs[split:], strict=True)))

    return call


def _lift(definition: Definition, function: Callable[..., Any]) -> Callable[..., Any]:
    """Calls a per-item function row by row, and gathers what it returned by output."""

    def call(*inputs: Any) -> Any:
        results = [_item(function, row, items) for row, items in enumerate(zip(*inputs))]
        if definition.single_output:
            return results
        return {name: [_pick(it, name) for it in results] for name in definition.outputs}

    return call


def _item(function: Callable[..., Any], row: int, items: tuple[Any, ...]) -> Any:
    try:
        return function(*items)
    except InputError as error:
        error.row = row
        raise


def _pick(result: Any, name: str) -> Any:
    if not isinstance(result, dict) or name not in result:
        raise BadOutput(f"predict returned no output '{name}': return a dict with its name")
    return result[name]
