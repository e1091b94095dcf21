"""The errors a model author meets, and how they are told: reason, file and line."""

import os
import sysconfig
import traceback

# Enough to see the way into a library and back; a runaway recursion must not fill the log.
FRAMES_MAX = 20
# A message of the handshake holds 64 KiB; half of it leaves room and is plenty to read.
TEXT_CHARS_MAX = 8 * 1024

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep


class InputError(Exception):
    """A row is the caller's fault: it is answered with HTTP 400 and never retried.

    ``message`` is for the caller. ``row`` is the index in the batch, from 0; without one, the
    batch is divided until the row is found. Other rows of the batch are not affected.
    """

    def __init__(self, message: str, row: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.row = row


class ModelError(Exception):
    """A model is declared wrongly. The text says what to change, in which file and line."""

    def __init__(self, reason: str, file: str | None = None, line: int | None = None) -> None:
        self.reason, self.file, self.line = reason, file, line
        super().__init__(reason if file is None else f"{file}:{line}: {reason}")


class RegionError(Exception):
    """The engine does not take a client's shared memory. The text says why."""


class BadOutput(Exception):
    """What ``predict`` returned is not what its annotation declares."""


def summary(error: BaseException) -> str:
    """Type and text of an exception, without any path: fit for a caller of the service."""
    try:
        text = str(error)
    except Exception:
        text = "(its text could not be made)"
    return clip(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def report(error: BaseException) -> str:
    """The reason with file and line and the user's own frames: fit for the model's author."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_users(f.filename)]
    if isinstance(error, ModelError):
        return str(error) if error.file else f"{_place(error, frames)}{error}"
    place = _place(error, frames)
    lines = traceback.format_list(frames[-FRAMES_MAX:])
    return clip(f"{place}{summary(error)}\n{''.join(lines)}".rstrip())


def stderr_text(error: BaseException) -> str:
    """A bounded traceback for the log."""
    whole = traceback.TracebackException.from_exception(error, limit=-FRAMES_MAX)
    return clip("".join(whole.format()))


def clip(text: str) -> str:
    return text if len(text) <= TEXT_CHARS_MAX else text[:TEXT_CHARS_MAX] + " …"


def _is_users(filename: str) -> bool:
    return not filename.startswith((_HERE, "<frozen "))


def _place(error: BaseException, frames: list[traceback.FrameSummary]) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: "
    # Where the model's own code was, rather than the library that it called.
    libraries = tuple(sysconfig.get_path(it) + os.sep for it in ("stdlib", "purelib", "platlib"))
    own = [frame for frame in frames if not frame.filename.startswith(libraries)]
    last = (own or frames)[-1:]
    return "".join(f"{frame.filename}:{frame.lineno}: " for frame in last)
