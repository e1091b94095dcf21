"""Whether what a pickle needs is there where it would be loaded, and of a version that reads it."""

import importlib.metadata
import platform
import re
from collections.abc import Iterable, Mapping
from typing import Any

from hydrofoil.client._errors import VersionMismatch
from hydrofoil.client._pickles import distributions

# Their pickles are good for the minor version that made them; those of others for the major version.
BY_MINOR = ("scikit-learn",)
ANYWAY = "check_versions=False deploys all the same"


def check(modules: Iterable[str], runtime: Mapping[str, Any]) -> None:
    """Raises :class:`VersionMismatch` for the first difference that matters."""
    python = runtime.get("python")
    if python is None:
        # An image without Python brings a program of its own.
        return
    _check_python(platform.python_version(), python)
    there = {_normal(name): version for name, version in (runtime.get("libraries") or {}).items()}
    for name, here in sorted(needed(modules).items()):
        _check_library(name, here, there.get(_normal(name)))


def needed(modules: Iterable[str]) -> dict[str, str]:
    """Version of each installed distribution that brings one of the modules."""
    found = {}
    for module in modules:
        for name in distributions().get(module, [])[:1]:
            if _normal(name) != "hydrofoil":
                found[name] = importlib.metadata.version(name)
    return found


def _check_python(here: str, there: str) -> None:
    if _numbers(here)[:2] == _numbers(there)[:2]:
        return
    raise VersionMismatch(
        f"this is Python {here} and the model would run on Python {there}: pickles are for the minor version that made them",
        package="python",
        here=here,
        there=there,
        fix=f"train and deploy with Python {_minor(there)}, start foil serve with --python of a Python {_minor(here)}, "
        f"or name an image that has it. {ANYWAY}",
    )


def _check_library(name: str, here: str, there: str | None) -> None:
    if there is None:
        raise VersionMismatch(
            f"the model needs {name}, which is not installed where it would run",
            package=name,
            here=here,
            there=None,
            fix=f"pip install {name}=={here} into the Python of foil serve, or name an image that has it. {ANYWAY}",
        )
    if _compatible(name, here, there):
        return
    raise VersionMismatch(
        f"the model was made with {name} {here} and would run with {name} {there}, which may not read it, or read it wrongly",
        package=name,
        here=here,
        there=there,
        fix=f"pip install {name}=={there} here and train again, or {name}=={here} into the Python of foil serve or the image. "
        f"{ANYWAY}",
    )


def _compatible(name: str, here: str, there: str) -> bool:
    ours, theirs = _numbers(here), _numbers(there)
    # Before 1.0 the second number is what others count first.
    by_minor = _normal(name) in BY_MINOR or ours[:1] == [0]
    count = 2 if by_minor else 1
    return ours[:count] == theirs[:count]


def _numbers(version: str) -> list[int]:
    leading = re.match(r"\d+(?:\.\d+)*", version)
    return [int(it) for it in leading[0].split(".")] if leading else []


def _minor(version: str) -> str:
    return ".".join(str(it) for it in _numbers(version)[:2])


def _normal(name: str) -> str:
    """As package indexes compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()
