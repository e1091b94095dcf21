"""HTTP to one engine: to its administrators, over the socket in its state directory or an address, and to what it serves."""

import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit

from hydrofoil.client._errors import EngineError

SOCKET = "admin.sock"
# A machine that is there takes a connection within this.
CONNECT_WAIT_S = 5.0
# Longest silence before an answer that needs no model to start.
ANSWER_WAIT_S = 30.0
# One piece of an upload.
PIECE_BYTES = 256 * 1024
# A line of a report holds a container's last output at most.
LINE_BYTES_MAX = 1 << 20

Body = bytes | BinaryIO | None


class Link:
    """Where an engine's administrators ask."""

    def __init__(self, path: Path | None, address: tuple[str, int] | None, token: str | None) -> None:
        self.path, self.address = path, address
        self.headers = {"Authorization": f"Bearer {token.strip()}"} if token else {}

    def __str__(self) -> str:
        return str(self.path) if self.address is None else f"http://{authority(*self.address)}"

    @property
    def host(self) -> str:
        """Where what it serves is reached, in place of an address that stands for all of its own."""
        return "127.0.0.1" if self.address is None else self.address[0]

    def json(self, method: str, path: str, body: Any = None) -> Any:
        """The answer to a small question."""
        data = None if body is None else json.dumps(body).encode()
        with self.ask(method, path, data, wait_s=ANSWER_WAIT_S) as response:
            return parsed(response.read())

    def ask(
        self, method: str, path: str, body: Body = None, *, size: int | None = None, wait_s: float | None
    ) -> http.client.HTTPResponse:
        """A successful answer whose body is still to be read; closing it closes the connection."""
        connection = self._connection()
        try:
            connection.connect()
        except OSError as error:
            raise self._unreachable(error) from None
        headers = self.headers | {"Connection": "close", "Content-Type": "application/json"}
        headers |= {} if size is None else {"Content-Length": str(size)}
        assert connection.sock is not None, "it is connected"
        connection.sock.settimeout(wait_s)
        try:
            response = _exchange(connection, method, path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise silent(error, str(self)) from None
        if response.status >= 300:
            raise refusal(response.status, response.read())
        return response

    def _connection(self) -> http.client.HTTPConnection:
        if self.address is None:
            return _UnixConnection(str(self.path))
        host, port = self.address
        return http.client.HTTPConnection(host, port, timeout=CONNECT_WAIT_S, blocksize=PIECE_BYTES)

    def _unreachable(self, error: OSError) -> EngineError:
        if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
            return EngineError(
                f"no engine listens at {self}. Start one with `foil serve`, which manages deployments where it is "
                "given no TARGET, or with --deployments; or name one by connect(state=…) or "
                'connect("http://host:port")'
            )
        return EngineError(f"cannot connect to the engine at {self}: {error}")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=CONNECT_WAIT_S, blocksize=PIECE_BYTES)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except OSError:
            self.sock.close()
            raise


def _exchange(
    connection: http.client.HTTPConnection, method: str, path: str, body: Body, headers: Mapping[str, str]
) -> http.client.HTTPResponse:
    try:
        connection.request(method, path, body, headers)
    except (BrokenPipeError, ConnectionResetError):
        # It may have refused what was still on its way; then its reason can be read.
        pass
    return connection.getresponse()


def reach(engine: str | None, state: str | os.PathLike | None, token: str | None) -> Link:
    """What is given, else what the environment names, else the engine of this user on this machine."""
    if engine is None and state is None:
        engine = os.environ.get("FOIL_ENGINE") or None
    if engine is not None:
        return Link(None, _address(engine), token or _token())
    return Link(_state_directory(state) / SOCKET, None, None)


def _token() -> str | None:
    file = os.environ.get("FOIL_ADMIN_TOKEN_FILE")
    return Path(file).read_text() if file else os.environ.get("FOIL_ADMIN_TOKEN") or None


def _state_directory(given: str | os.PathLike | None) -> Path:
    given = given or os.environ.get("FOIL_STATE")
    if given == "none":
        raise EngineError("an engine without a state directory manages no deployments: FOIL_STATE is none")
    if given:
        return Path(given)
    home = os.environ.get("XDG_STATE_HOME") or ""
    return (Path(home) if os.path.isabs(home) else Path.home() / ".local/state") / "hydrofoil"


def _address(engine: str) -> tuple[str, int]:
    url = urlsplit(engine if "//" in engine else f"//{engine}")
    if url.scheme not in ("", "http") or not url.hostname or not url.port or url.path not in ("", "/"):
        raise EngineError(
            f"'{engine}' is no address of an engine: write http://host:port, as foil serve --admin has it"
        )
    return url.hostname, url.port


def authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def page(name: str) -> str:
    return f"/fleet/models/{quote(name, safe='')}"


def lines(response: http.client.HTTPResponse, what: str) -> Iterator[bytes]:
    """The body's lines as they come, without their ends."""
    with response:
        while True:
            try:
                line = response.readline(LINE_BYTES_MAX)
            except (OSError, http.client.HTTPException) as error:
                raise silent(error, what) from None
            if not line:
                return
            yield line.rstrip(b"\r\n")


def parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise EngineError(f"the engine's answer is no JSON, is it of another version? {text[:200]!r}") from None


def refusal(status: int, text: bytes) -> EngineError:
    try:
        said = json.loads(text)["error"]
    except (ValueError, KeyError, TypeError):
        said = f"the engine answered {status}; is it one that manages deployments?"
    return EngineError(said, status)


def silent(error: Exception, where: str) -> EngineError:
    if isinstance(error, TimeoutError):
        return EngineError(
            f"the engine at {where} said nothing for too long. What it has accepted goes on: see models()"
        )
    return EngineError(f"the connection to {where} broke: {error or type(error).__name__}")


class Asker:
    """Connections to what an engine serves, kept open, one per thread and address."""

    def __init__(self) -> None:
        self._local = threading.local()

    def ask(
        self, method: str, netloc: str, path: str, body: bytes | None, headers: Mapping[str, str], wait_s: float
    ) -> tuple[http.client.HTTPMessage, bytes]:
        """Headers and body of a successful answer."""
        kept = self._kept()
        connection = kept.pop(netloc, None)
        fresh = connection is None
        connection = connection or http.client.HTTPConnection(netloc, timeout=wait_s)
        try:
            if connection.sock is not None:
                connection.sock.settimeout(wait_s)
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            idle = (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected)
            if not fresh and isinstance(error, idle):
                # The engine closed it while nobody used it.
                return self.ask(method, netloc, path, body, headers, wait_s)
            raise silent(error, netloc) from None
        kept[netloc] = connection
        if response.status != 200:
            raise refusal(response.status, text)
        return response.headers, text

    def _kept(self) -> dict[str, http.client.HTTPConnection]:
        if not hasattr(self._local, "connections"):
            self._local.connections = {}
        return self._local.connections
