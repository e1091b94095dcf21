"""Objects of this program as bytes that another can load, and the modules they need there."""

import contextlib
import importlib
import io
import pickle
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions
from typing import Any

from hydrofoil.client._errors import DeployError

# Read by every Python that this package supports.
PROTOCOL = 5


@dataclass(frozen=True, slots=True)
class Pickled:
    """``modules`` are the top-level packages that loading ``data`` imports, without Python's own."""

    data: bytes
    modules: frozenset[str]


def dump(value: Any) -> Pickled:
    """By reference where everything it names is installed, else by value, which takes cloudpickle.

    What lies in the main program, a notebook or a module of yours beside it, goes along by value.
    """
    with contextlib.suppress(Exception):
        # Functions and classes are named by where they are: what that means there is not known here.
        data = pickle.dumps(value, PROTOCOL)
        modules = _modules_of(data)
        if not any(is_local(name) for name in modules):
            return Pickled(data, frozenset(modules))
    return by_value(value)


def by_value(value: Any) -> Pickled:
    cloudpickle = _cloudpickle()
    try:
        with _local_modules_by_value(cloudpickle):
            data = cloudpickle.dumps(value, PROTOCOL)
        modules = _modules_of(data)
    except Exception as error:
        raise DeployError(
            f"the model can't be pickled: {type(error).__name__}: {error}",
            fix="put it into a Python file with @foil.model, whose load() makes it, and deploy that file",
        ) from error
    return Pickled(data, frozenset(name for name in modules if not is_local(name)))


def _cloudpickle() -> Any:
    try:
        return importlib.import_module("cloudpickle")
    except ImportError:
        raise DeployError(
            "functions, and classes of this program or notebook, travel by cloudpickle, which is not installed",
            fix="pip install cloudpickle, here and where models run; or put the model into a file with @foil.model",
        ) from None


def _modules_of(data: bytes) -> set[str]:
    """Top-level modules that loading imports. It is loaded once here: what fails here would fail there."""
    recorder = _Recorder(io.BytesIO(data))
    recorder.load()
    names = {name.partition(".")[0] for name in recorder.seen}
    return {name for name in names if name not in sys.stdlib_module_names}


class _Recorder(pickle.Unpickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.seen: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        self.seen.add(module)
        found = super().find_class(module, name)
        if (module, name) == ("cloudpickle.cloudpickle", "subimport"):
            return self._subimport
        return found

    def _subimport(self, name: str) -> Any:
        """A module that a function names, as cloudpickle brings it back."""
        self.seen.add(name)
        return importlib.import_module(name)


@contextlib.contextmanager
def _local_modules_by_value(cloudpickle: Any) -> Iterator[None]:
    # The main program, by whatever names it is known, goes by value anyway.
    names = [name for name in list(sys.modules) if "." not in name and is_local(name)]
    modules = [sys.modules[name] for name in names if getattr(sys.modules[name], "__name__", None) == name]
    registered = []
    for module in (it for it in modules if it.__name__ != "__main__"):
        # What can't be told from a module that was made by hand goes by value anyway.
        with contextlib.suppress(ValueError):
            cloudpickle.register_pickle_by_value(module)
            registered.append(module)
    try:
        yield
    finally:
        for module in registered:
            cloudpickle.unregister_pickle_by_value(module)


def is_local(name: str) -> bool:
    """Whether a top-level module is a file of the user's, and installed nowhere."""
    if name == "__main__":
        return True
    if name in sys.stdlib_module_names or name in ("hydrofoil", "cloudpickle") or name in distributions():
        return False
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is not None and not any(part in file for part in ("site-packages", "dist-packages"))


@cache
def distributions() -> dict[str, list[str]]:
    """Names of installed distributions by the top-level modules they bring."""
    return dict(packages_distributions())
