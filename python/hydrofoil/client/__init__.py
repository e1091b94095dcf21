"""A program's way to an engine: deploy models, ask them, look after them.

    client = hydrofoil.connect()
    digits = client.deploy("digits", clf, sample=X[:4])
    digits.predict(X[:2])
"""

import os

from hydrofoil.client._client import Client, Deployment
from hydrofoil.client._errors import DeployError, EngineError, VersionMismatch
from hydrofoil.client._link import reach

__all__ = ["Client", "DeployError", "Deployment", "EngineError", "VersionMismatch", "connect"]


def connect(
    engine: str | None = None, state: str | os.PathLike | None = None, token: str | None = None
) -> Client:
    """The engine to deploy to.

    With no arguments: the one that this user runs on this machine with ``foil serve`` (or what ``FOIL_ENGINE``,
    ``FOIL_STATE`` and ``FOIL_ADMIN_TOKEN`` or ``FOIL_ADMIN_TOKEN_FILE`` name). ``state`` is another state directory, as ``foil serve --state``
    was given it. ``engine`` is ``"http://host:port"``, as ``foil serve --admin`` has it, and ``token`` its token.

    Raises :class:`EngineError` when no engine is there.
    """
    link = reach(engine, state, token)
    link.json("GET", "/fleet")
    return Client(link)
