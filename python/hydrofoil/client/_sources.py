"""From what ``deploy`` is given, an object, a function, a file or a directory, to files with the sample's answer."""

import contextlib
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hydrofoil._calls import batch_call
from hydrofoil._discover import discover
from hydrofoil._errors import report
from hydrofoil._model import Context, Definition, definition_of
from hydrofoil._outputs import converter
from hydrofoil.client import _pickles, _written
from hydrofoil.client._bundle import Bundle, of_directory
from hydrofoil.client._errors import DeployError
from hydrofoil.client._tensors import NAMES, Tensors, as_array, fitted, has_json_form, json_tensors
from hydrofoil.container import load

SAMPLE, EXPECTED = "sample.json", "expected.json"

RUN_HERE = "run_here=False deploys without its answer; what the model answers there is then not compared"


@dataclass
class Source:
    """A version's files, and the modules that its pickle needs."""

    bundle: Bundle
    modules: frozenset[str] = frozenset()
    # What it was not possible to do, for whoever deploys.
    notes: list[str] = field(default_factory=list)


def source_of(model: Any, sample: Any, method: str | None, run_here: bool) -> Source:
    """Runs the sample where it is given."""
    if isinstance(model, (str, os.PathLike)):
        return _of_path(str(model), sample, run_here)
    definition = definition_of(model)
    if definition is not None:
        return _of_declared(definition, sample, run_here)
    if inspect.isclass(model):
        raise DeployError(
            f"{model.__name__} is a class: decorate it with @foil.model, or give an object of it that is trained"
        )
    if sample is None:
        raise DeployError(
            "the model's inputs are not known", fix="give some rows of them, as in sample=X[:4]; they are run here first"
        )
    return _of_object(model, sample, method)


def _of_object(model: Any, sample: Any, method: str | None) -> Source:
    """A trained object with a method, or a callable: a model.py is written around it."""
    if method is None and hasattr(model, "predict"):
        method = "predict"
    call = getattr(model, method, None) if method else model
    if not callable(call):
        raise DeployError(f"{type(model).__name__} has no {method or 'predict'}, and is no function")
    columns = [str(it) for it in sample.columns] if hasattr(sample, "columns") else None
    names, by_name = (["x"], frozenset()) if method else _parameters(call)
    inputs = _inputs(sample, names)
    given = {name: array if columns is None else sample for name, array in inputs.items()}
    outputs, single = _outputs(_run(lambda: _call(call, given, by_name)), _rows(inputs))
    pickled = _pickles.dump(model) if method else _pickles.by_value(model)
    text = _written.around(
        model, method, inputs, outputs, single=single, by_name=by_name, columns=columns
    )
    bundle = Bundle({_written.ENTRY: text.encode(), _written.PICKLE: pickled.data})
    _add_sample(bundle, inputs, outputs)
    modules = pickled.modules | ({"pandas"} if columns is not None else set())
    return Source(bundle, frozenset(modules))


def _call(call: Callable[..., Any], given: Mapping[str, Any], by_name: frozenset[str]) -> Any:
    positional = [value for name, value in given.items() if name not in by_name]
    return call(*positional, **{name: given[name] for name in by_name})


def _parameters(function: Any) -> tuple[list[str], frozenset[str]]:
    """The inputs a callable takes, and which of them by keyword only."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return ["x"], frozenset()
    wanted = [it for it in parameters if it.default is it.empty and it.kind not in (it.VAR_POSITIONAL, it.VAR_KEYWORD)]
    wanted = wanted or [it for it in parameters if it.kind is it.POSITIONAL_OR_KEYWORD][:1]
    if not wanted:
        return ["x"], frozenset()
    return [it.name for it in wanted], frozenset(it.name for it in wanted if it.kind is it.KEYWORD_ONLY)


def _inputs(sample: Any, names: list[str]) -> Tensors:
    """The sample's arrays by the inputs' names; each has the same rows."""
    given = sample if isinstance(sample, Mapping) else {names[0]: sample}
    if set(given) != set(names):
        takes, has = ", ".join(names), ", ".join(str(it) for it in given)
        raise DeployError(f"the model takes {takes} and the sample has {has}: give a dict with each of them")
    arrays = _arrays("the sample", {name: given[name] for name in names})
    for name, array in arrays.items():
        if array.ndim == 0 or len(array) == 0:
            raise DeployError(f"the sample of '{name}' has no rows: give some, rows first, as in sample=X[:4]")
        _check_finite(name, array)
    _rows(arrays)
    return arrays


def _check_finite(name: str, array: np.ndarray) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DeployError(f"the sample of '{name}' holds NaN or infinities, which JSON has not: give other rows")


def _arrays(what: str, values: Mapping[str, Any]) -> Tensors:
    """As they can be sent. Half precision has no form as JSON: what computes with it takes single precision as well."""
    try:
        arrays = {name: as_array(name, value) for name, value in values.items()}
    except ValueError as error:
        raise DeployError(f"{what} can't be sent: {error}") from None
    return {k: it.astype(np.float32) if it.dtype == np.float16 else it for k, it in arrays.items()}


def _rows(arrays: Mapping[str, np.ndarray]) -> int:
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        raise DeployError(f"the inputs of the sample have unlike numbers of rows: {counts}")
    return next(iter(counts.values()))


def _outputs(result: Any, rows: int) -> tuple[Tensors, bool]:
    """What the model returned for the sample, and whether that was one array without a name."""
    single = not isinstance(result, Mapping)
    named = {"output": result} if single else {str(name): it for name, it in result.items()}
    outputs = _arrays("what the model returned for the sample", named)
    for name, array in outputs.items():
        if array.ndim == 0 or len(array) != rows:
            shape = list(array.shape)
            raise DeployError(
                f"the model returned shape {shape} as '{name}' for a sample of {rows} rows: it must return a row for each"
            )
    return outputs, single


def _run(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        raise DeployError(
            f"the sample fails here already: {type(error).__name__}: {error}",
            cause="the model does not take what the sample holds",
            fix="give rows that it can predict, with the shape and dtype it was trained on",
        ) from error


def _of_declared(definition: Definition, sample: Any, run_here: bool) -> Source:
    """A class or function with @foil.model: its file goes along, or itself where it has none that can be imported."""
    target = definition.target
    path = _file_of(target)
    if path is None:
        pickled = _pickles.by_value(target)
        files = {_written.ENTRY: _written.declared(target.__name__).encode(), _written.PICKLE: pickled.data}
        source = Source(Bundle(dict(files)), pickled.modules)
        entry, beside = _written.ENTRY, Path.cwd()
    else:
        source = Source(Bundle({path.name: path}))
        entry, beside = path.name, path.parent
    source.bundle.settings["entry"] = f"{entry}:{target.__name__}"
    _run_declared(source, definition, beside, sample, run_here)
    return source


def _file_of(target: Any) -> Path | None:
    """The module that a class or function is in; the main program is none, since importing it runs it."""
    if target.__module__ == "__main__":
        return None
    file = getattr(sys.modules.get(target.__module__), "__file__", None)
    return Path(file) if file and file.endswith(".py") and Path(file).is_file() else None


def _of_path(text: str, sample: Any, run_here: bool) -> Source:
    if Path(text).is_dir():
        return _of_directory(Path(text), sample, run_here)
    file, _, name = text.rpartition(":")
    path = Path(file if name.isidentifier() and file else text)
    if not path.is_file() or path.suffix != ".py":
        raise DeployError(f"'{text}' is no Python file and no directory with a model")
    source = Source(Bundle({path.name: path}))
    entry = f"{path.name}:{name}" if path != Path(text) else path.name
    source.bundle.settings["entry"] = entry
    if sample is not None:
        with _as_it_was():
            definition = _discovered(text)
            _run_declared(source, definition, path.parent, sample, run_here)
    return source


def _discovered(target: str) -> Definition:
    try:
        return discover(target)[0]
    except Exception as error:
        raise DeployError(
            f"the model's file fails here already: {report(error)}",
            fix="mend it, or install here what it imports; without a sample it is not run here",
        ) from error


def _of_directory(path: Path, sample: Any, run_here: bool) -> Source:
    source = Source(of_directory(path))
    settings, files = source.bundle.settings, source.bundle.files
    if settings.get("runtime", "python") != "python" or "image" in settings:
        _add_named_sample(source, sample)
        return source
    programs = [name for name in files if name.endswith(".py") and "/" not in name]
    if "entry" not in settings and "model.py" not in files:
        if len(programs) != 1:
            raise DeployError(f'{path} holds no model.py: name the model in model.toml, as in entry = "file.py:Class"')
        settings["entry"] = programs[0]
    if sample is not None:
        file, colon, name = str(settings.get("entry", "model.py")).partition(":")
        program = files.get(file)
        if not isinstance(program, Path):
            raise DeployError(f"{path} holds no {file}, which its model.toml names as entry")
        with _as_it_was():
            definition = _discovered(f"{program}{colon}{name}")
            _run_declared(source, definition, program.parent, sample, run_here)
    return source


def _add_named_sample(source: Source, sample: Any) -> None:
    """Of a model that only runs there: the sample says by itself what its inputs are called."""
    if sample is None:
        return
    if not isinstance(sample, Mapping):
        raise DeployError("this model does not run here: give its sample as a dict, by the inputs' names")
    _add_sample(source.bundle, _inputs(sample, [str(name) for name in sample]), None)
    source.notes.append("its sample is not run here: what it answers there is not compared")


def _run_declared(
    source: Source, definition: Definition, beside: Path, sample: Any, run_here: bool
) -> None:
    if sample is None:
        return
    inputs = _declared_inputs(definition, sample)
    if not has_json_form(inputs):
        source.notes.append("half precision has no form as JSON: the sample is not sent")
        return
    outputs = None
    if run_here and not definition.decoupled:
        outputs = _answer_of(definition, beside, inputs)
    _add_sample(source.bundle, inputs, outputs if outputs and has_json_form(outputs) else None)


def _declared_inputs(definition: Definition, sample: Any) -> Tensors:
    names = list(definition.inputs)
    given = sample if isinstance(sample, Mapping) else {names[0]: sample}
    if set(given) != set(names):
        raise DeployError(f"the model takes {', '.join(names)}: give a dict with each of them as its sample")
    try:
        arrays = {name: fitted(name, given[name], NAMES[it.dtype.numpy]) for name, it in definition.inputs.items()}
    except ValueError as error:
        raise DeployError(f"the sample can't be sent: {error}") from None
    for name, array in arrays.items():
        _check_finite(name, array)
    return {name: np.asarray(array, order="C") for name, array in arrays.items()}


def _answer_of(definition: Definition, beside: Path, inputs: Tensors) -> Tensors:
    """What the model answers here, converted as it is there."""

    def answer() -> Tensors:
        instance = load(definition, Context(beside, "cpu", 1, {}))
        rows = len(next(iter(inputs.values()))) if definition.batched else 1
        ready = converter(definition)(batch_call(definition, instance)(*inputs.values()), rows)
        return {
            name: np.asarray(value, definition.outputs[name].dtype.numpy).reshape(shape)
            for name, (shape, value) in zip(definition.outputs, ready)
        }

    try:
        return answer()
    except Exception as error:
        raise DeployError(
            f"the sample fails here already: {type(error).__name__}: {error}",
            fix=f"give rows that the model can answer here; {RUN_HERE}",
        ) from error


def _add_sample(bundle: Bundle, inputs: Tensors, outputs: Tensors | None) -> None:
    for name in (SAMPLE, EXPECTED):
        bundle.files.pop(name, None)
    bundle.put(SAMPLE, json.dumps({"inputs": json_tensors(inputs)}).encode())
    if outputs is not None:
        bundle.put(EXPECTED, json.dumps({"outputs": json_tensors(outputs)}).encode())


@contextlib.contextmanager
def _as_it_was() -> Iterator[None]:
    """What finding a model in a file changes of this process, undone."""
    path, without_bytecode = list(sys.path), sys.dont_write_bytecode
    try:
        yield
    finally:
        sys.path[:] = path
        sys.dont_write_bytecode = without_bytecode
