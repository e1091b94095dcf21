"""From a target ``FILE[:Class]`` to the one model it means."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from hydrofoil._errors import ModelError
from hydrofoil._model import Definition, definition_of


def discover(target: str) -> tuple[Definition, Path]:
    """The model, and the file it is in. What importing the file raises passes through."""
    path, wanted = split_target(target)
    module = import_file(path)
    return find(module, path, wanted), path


def split_target(target: str) -> tuple[Path, str | None]:
    """The file and, after the last colon, the name of the model in it."""
    file, colon, name = target.rpartition(":")
    if not colon or not name.isidentifier():
        file, name = target, ""
    path = Path(file).absolute()
    if not path.is_file():
        raise ModelError(f"there is no file {path}")
    return path, name or None


def import_file(path: Path) -> ModuleType:
    """Runs the file as a module; modules beside it can be imported, as when it is run itself."""
    name = path.stem if path.stem not in sys.modules else f"hydrofoil_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{path} is no Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    # A cached compilation goes by seconds and length: one written now would hide a change that
    # follows at once, and a model may be loaded anew right after.
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(path.parent))
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def find(module: ModuleType, path: Path, wanted: str | None) -> Definition:
    if wanted is not None:
        return _named(module, path, wanted)
    definitions = (definition_of(value) for value in vars(module).values())
    own = {id(it): it for it in definitions if it and it.target.__module__ == module.__name__}
    if len(own) == 1:
        return next(iter(own.values()))
    if not own:
        raise ModelError("there is no model in it: decorate one with @foil.model", str(path), 1)
    names = ", ".join(it.target.__name__ for it in own.values())
    raise ModelError(
        f"there are several models in it ({names}): name one as {path.name}:Name", str(path), 1
    )


def _named(module: ModuleType, path: Path, wanted: str) -> Definition:
    if not hasattr(module, wanted):
        raise ModelError(f"there is no {wanted} in it", str(path), 1)
    value = getattr(module, wanted)
    definition = definition_of(value)
    if definition is None:
        line = getattr(getattr(value, "__code__", None), "co_firstlineno", None)
        line = line or _class_line(path, wanted)
        raise ModelError(f"{wanted} is not a model: decorate it with @foil.model", str(path), line)
    return definition


def _class_line(path: Path, wanted: str) -> int:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    numbered = enumerate(lines, 1)
    return next((at for at, line in numbered if line.strip().startswith(f"class {wanted}")), 1)
