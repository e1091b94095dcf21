"""What can go wrong between a program and an engine. Each says what to do."""

import re
from collections.abc import Mapping
from typing import Any

# Named from the model's own directory, which in a Docker container is /model.
_MISSING = re.compile(r"No such file or directory: '(?:/model/)?([^'/][^']*)'")


class EngineError(Exception):
    """The engine can't be reached, or refuses. ``status`` is its HTTP status; None when it did not answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class DeployError(Exception):
    """A version did not get as far as taking traffic; what had the traffic before still has it.

    ``version`` is its number, None when it was not accepted. ``output`` holds the last lines that the model wrote,
    ``cause`` the probable cause and ``fix`` what to do; each may be None. All of it is in the exception's text.
    """

    def __init__(
        self,
        message: str,
        *,
        version: int | None = None,
        output: str | None = None,
        cause: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.message, self.version = message, version
        self.output, self.cause, self.fix = output, cause, fix
        parts = [message]
        if output:
            parts.append("last output:\n" + "\n".join(f"  | {line}" for line in output.rstrip().splitlines()))
        parts += [f"probable cause: {cause}"] if cause else []
        parts += [f"fix: {fix}"] if fix else []
        super().__init__("\n".join(parts))


class VersionMismatch(DeployError):
    """What a pickled model needs is of another version where it would run. Nothing was sent.

    ``package`` is ``"python"`` or the name of a library, ``here`` and ``there`` are the versions; ``there`` is None
    when the library is missing.
    """

    def __init__(self, message: str, *, package: str, here: str, there: str | None, fix: str) -> None:
        super().__init__(message, fix=fix)
        self.package, self.here, self.there = package, here, there


def failure(name: str, event: Mapping[str, Any]) -> DeployError:
    """Of the last line of the engine's report on a version."""
    version, output, cause, fix = (event.get(key) for key in ("version", "output", "cause", "fix"))
    error = event["error"].rstrip()
    missing = _MISSING.search(f"{error}\n{output or ''}")
    if missing:
        fix = f"{missing[1]} is not part of the deployment: send it along by files=[{missing[1]!r}]"
    if output and error in output:
        # A container tells its engine what it writes as well: once is enough.
        error = error.partition("\n")[0]
    label = name if version is None else f"{name} v{version}"
    return DeployError(f"{label} failed: {error}", version=version, output=output, cause=cause, fix=fix)
