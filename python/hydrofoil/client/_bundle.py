"""The files of one version, as the engine takes them: a tar archive with a ``model.toml``."""

import io
import json
import os
import tarfile
import tempfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from hydrofoil.client._errors import DeployError

SETTINGS = "model.toml"
# As many as the engine takes.
FILES_MAX = 10_000
# A larger archive is written to a file before it is sent.
IN_MEMORY_BYTES_MAX = 64 << 20


@dataclass
class Bundle:
    """``files`` by their names in the archive: a path here, or what the file holds."""

    files: dict[str, Path | bytes] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def add(self, path: Path, under: str | None = None) -> None:
        """A file by its name, or a directory with all that is in it; links go as what they lead to."""
        name = path.resolve().name if under is None else under
        if path.is_file():
            self.put(name, path)
        elif path.is_dir():
            for inside in sorted(path.iterdir()):
                if not _is_left_behind(inside.name):
                    self.add(inside, f"{name}/{inside.name}" if name else inside.name)
        else:
            raise DeployError(f"there is no file or directory {path}")

    def put(self, name: str, content: Path | bytes) -> None:
        if name in self.files:
            raise DeployError(f"two files would be {name} beside the model: rename one of them")
        if len(self.files) >= FILES_MAX:
            raise DeployError(f"there are more than {FILES_MAX} files: deploy the model's own files only")
        self.files[name] = content

    def archive(self) -> tuple[BinaryIO, int]:
        """An open file with the archive, and its bytes. Dated nowhere: the same files make the same archive."""
        out = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES_MAX)
        with tarfile.open(fileobj=out, mode="w") as tar:
            settings = toml(self.settings).encode()
            for name, content in sorted((self.files | {SETTINGS: settings}).items()):
                _append(tar, name, content)
        size = out.tell()
        out.seek(0)
        return out, size  # type: ignore[return-value]


def _append(tar: tarfile.TarFile, name: str, content: Path | bytes) -> None:
    entry = tarfile.TarInfo(name)
    if isinstance(content, bytes):
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
        return
    with open(content, "rb") as file:
        status = os.fstat(file.fileno())
        entry.size, entry.mode = status.st_size, 0o755 if status.st_mode & 0o111 else 0o644
        tar.addfile(entry, file)


def _is_left_behind(name: str) -> bool:
    """No part of a model: what version control, editors and Python leave."""
    return name.startswith(".") or name == "__pycache__" or name.endswith(".pyc")


def of_directory(directory: Path) -> Bundle:
    """A version's own directory, a version of a repository, or a repository's model, whose newest version it is then."""
    directory = directory.resolve()
    versions = sorted((it for it in directory.iterdir() if it.is_dir() and it.name.isdigit()), key=_number)
    if versions:
        return _of_repository(directory, versions[-1])
    if directory.name.isdigit():
        return _of_repository(directory.parent, directory)
    return _of_files(directory)


def _number(path: Path) -> int:
    return int(path.name)


def _of_files(directory: Path) -> Bundle:
    bundle = Bundle()
    bundle.add(directory, "")
    settings = bundle.files.pop(SETTINGS, None)
    if isinstance(settings, Path):
        bundle.settings = read_toml(settings)
    return bundle


def _of_repository(model: Path, version: Path) -> Bundle:
    """The version's files, and what its model keeps beside its versions: settings, labels."""
    bundle = _of_files(version)
    for beside in sorted(it for it in model.iterdir() if it.is_file() and not _is_left_behind(it.name)):
        if beside.name == SETTINGS:
            bundle.settings = bundle.settings or read_toml(beside)
        elif beside.name not in bundle.files:
            bundle.put(beside.name, beside)
    return bundle


def read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except ValueError as error:
        raise DeployError(f"{path}: {error}") from None


def toml(table: dict[str, Any]) -> str:
    """As TOML: a key a line, tables inside in one line each."""
    return "".join(f"{_text(key)} = {_value(value)}\n" for key, value in table.items())


def _value(value: Any) -> str:
    match value:
        case dict():
            inside = ", ".join(f"{_text(key)} = {_value(it)}" for key, it in value.items())
            return f"{{{inside}}}"
        case list() | tuple():
            return f"[{', '.join(_value(it) for it in value)}]"
        case str():
            return _text(value)
        case bool() | int() | float():
            return json.dumps(value)
        case _:
            raise DeployError(f"{value!r} can't be written into {SETTINGS}: use text, numbers, lists and tables")


def _text(text: str) -> str:
    # What JSON escapes, TOML escapes alike; JSON leaves DEL alone.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
