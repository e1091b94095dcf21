"""The methods by which a program deploys models, asks them and looks after them."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from hydrofoil.client import _versions
from hydrofoil.client._bundle import Bundle
from hydrofoil.client._errors import DeployError, EngineError, failure
from hydrofoil.client._link import Link, page, parsed
from hydrofoil.client._link import lines as lines_of
from hydrofoil.client._questions import Questions
from hydrofoil.client._sources import Source, source_of

# Longest silence of the engine while a version starts: it bounds what it waits for itself, within 11 minutes by default.
REPORT_WAIT_S = 720.0
# Lines of a log that are there already.
LOGS_WAIT_S = 60.0

Replicas = int | tuple[int, int]
Progress = Callable[[str], None]


def say(text: str) -> None:
    """A line of progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Deployment:
    """A version that is ready. ``checked``: its answer to the sample was compared, and as expected."""

    name: str
    version: int
    url: str
    seconds: float
    checked: bool
    _client: "Client"

    def predict(self, x: Any, *, timeout: float | None = None) -> Any:
        """As :meth:`Client.predict`, of this very version, for as long as it is loaded."""
        return self._client.predict(self.name, x, version=self.version, timeout=timeout)

    def __repr__(self) -> str:
        checked = ", checked against its sample" if self.checked else ""
        return f"<{self.name} v{self.version} at {self.url}, ready in {self.seconds:.1f} s{checked}>"


class Client:
    """One engine. Methods may be called from several threads."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._questions = Questions(link.host, lambda name: self.model(name)["url"])

    def __repr__(self) -> str:
        return f"<engine at {self._link}>"

    def deploy(
        self,
        name: str,
        model: Any = None,
        sample: Any = None,
        *,
        method: str | None = None,
        replicas: Replicas | None = None,
        slo: str | None = None,
        launcher: str | None = None,
        image: str | None = None,
        hold: bool = False,
        keep_warm: str | None = None,
        env: Mapping[str, str] | None = None,
        files: Sequence[str | os.PathLike] = (),
        settings: Mapping[str, Any] | None = None,
        check_versions: bool = True,
        run_here: bool = True,
        progress: Progress | None = say,
    ) -> Deployment:
        """Deploys a new version of ``name`` and waits until it has the traffic.

        ``model`` is one of:

        - a trained object with ``predict`` (scikit-learn's, xgboost's, lightgbm's, …), or another ``method``, such as
          ``method="predict_proba"``;
        - a function or another callable, which takes and returns arrays whose first dimension is the rows; it travels
          by cloudpickle with all it refers to;
        - a class or function with ``@foil.model``;
        - a path: ``"model.py"``, ``"model.py:Class"``, or a directory with a model;
        - nothing, with ``image=``: an image that brings its own program.

        ``sample`` holds some rows of input, as an array, or a dict of arrays by the inputs' names: any dtype of
        bool, integer, float or text. For objects and functions it is needed: it gives the signature. It is
        run here, and the version gets traffic only when it answers the same there: equal integers, bools and text,
        floats within rtol 1e-3 and atol 1e-5, unless ``settings={"check": {"rtol": …, "atol": …}}`` says otherwise.

        ``replicas``: how many processes run it, or ``(least, most)`` between which the load decides. ``slo``: aim for
        the 99th percentile of latency, such as ``"20ms"``. ``launcher``: ``"process"`` or ``"docker"``. ``hold``: no
        traffic before :meth:`promote`. ``keep_warm``: how long the version before stays loaded for an instant
        :meth:`rollback`, such as ``"10m"``. ``env``: variables of its environment. ``files``: files and directories that
        are to lie beside the model. ``settings``: others of ``model.toml``, such as ``{"max_batch": 128}``. What is
        left out of ``replicas`` and ``slo`` stays as it was.

        ``check_versions=False`` skips the comparison of Python's and the libraries' versions with those where the
        model will run, ``run_here=False`` the run of the sample in this process, for files and classes.
        ``progress`` is called with lines to show; None for silence.

        Raises :class:`DeployError` when the version does not make it, with its last output, the probable cause and a
        fix: what had the traffic before still has it. :class:`VersionMismatch`, before anything is sent.
        :class:`EngineError` when the engine refuses or can't be reached.
        """
        source = self._source(model, sample, method, image, run_here)
        _settle(source.bundle, launcher, image, env, files, settings)
        if check_versions and source.modules:
            runtime, in_docker = self._runtime(launcher, image), bool(image) or launcher == "docker"
            _versions.check(source.modules, runtime, in_docker=in_docker)
        tell = progress or (lambda _: None)
        for note in source.notes:
            tell(note)
        query = _query(hold, keep_warm, replicas, slo)
        return self._send(name, source.bundle, query, tell)

    def _source(self, model: Any, sample: Any, method: str | None, image: str | None, run_here: bool) -> Source:
        if model is not None:
            return source_of(model, sample, method, run_here)
        if image is None:
            raise DeployError("give a model, or the image that brings one")
        # Whatever the image runs by itself.
        return Source(Bundle(settings={"runtime": "program"}))

    def _runtime(self, launcher: str | None, image: str | None) -> dict[str, Any]:
        launcher = launcher or ("docker" if image else None)
        query = urlencode({k: v for k, v in (("launcher", launcher), ("image", image)) if v})
        with self._link.ask("GET", f"/fleet/runtime?{query}", wait_s=REPORT_WAIT_S) as response:
            return parsed(response.read())

    def _send(self, name: str, bundle: Bundle, query: str, tell: Progress) -> Deployment:
        archive, size = bundle.archive()
        with archive:
            tell(f"sending {name}: {len(bundle.files) + 1} files, {_size(size)}")
            path = page(name) + (f"?{query}" if query else "")
            response = self._link.ask("PUT", path, archive, size=size, wait_s=REPORT_WAIT_S)
            return self._follow(name, lines_of(response, str(self._link)), tell)

    def _follow(self, name: str, report: Iterator[bytes], tell: Progress) -> Deployment:
        """Tells what happens until the report ends: well, or with the reason why not."""
        for line in report:
            if not line:
                continue
            event = parsed(line)
            match event.get("event"):
                case "accepted":
                    tell(f"accepted {name} v{event['version']}")
                case "step":
                    tell(f"  {event['text']}")
                case "ready":
                    return self._ready(name, event, tell)
                case "failed":
                    raise failure(name, event)
        raise EngineError("the engine ended its report early. What it has accepted goes on: see models()")

    def _ready(self, name: str, event: Mapping[str, Any], tell: Progress) -> Deployment:
        url = event.get("url") or self.model(name)["url"]
        self._questions.forget(name)
        seconds, checked = float(event.get("seconds") or 0), bool(event.get("checked"))
        deployment = Deployment(name, event["version"], url, seconds, checked, self)
        tell(f"ready {name} v{deployment.version} in {seconds:.1f} s  {url}")
        return deployment

    def predict(self, name: str, x: Any, *, version: int | None = None, timeout: float | None = None) -> Any:
        """What the model answers to rows of input.

        ``x`` is an array, rows first, or a dict of arrays by the inputs' names; numbers are converted to the
        model's dtype where that keeps their kind. More rows than the model takes at once go in several requests, one
        after the other. ``timeout`` in seconds is a hard deadline for each: past it the engine does not run it.
        Returns one array, or a dict of them by name where the model has several outputs. Texts come as str where all
        are UTF-8, else as bytes.

        Raises ``ValueError`` when ``x`` does not suit the model, :class:`EngineError` when the engine refuses:
        ``status`` 404 no such model, 503 overload, 504 deadline passed, 500 the model raised.
        """
        return self._questions.predict(name, x, version, timeout)

    def models(self) -> list[dict[str, Any]]:
        """All models, each with ``name``, ``active``, ``previous``, ``replicas`` (``min``, ``max``, ``live``,
        ``wanted``), ``slo``, ``url`` and ``versions`` (``version``, ``role``, ``standing``, ``why``, …)."""
        return self._link.json("GET", "/fleet/models")["models"]

    def model(self, name: str) -> dict[str, Any]:
        """One of them. :class:`EngineError` with ``status`` 404 when there is none."""
        return self._link.json("GET", page(name))

    def replicas(self, name: str | None = None) -> list[dict[str, Any]]:
        """The replicas of all models, or of one, each with ``model``, ``version``, ``replica``, ``standing``,
        ``launcher``, ``pid``, ``container``, ``restarts``, ``since`` and ``last_error``."""
        found = self._link.json("GET", "/fleet/replicas")["replicas"]
        return [it for it in found if name in (None, it["model"])]

    def scale(self, name: str, replicas: Replicas) -> dict[str, Any]:
        """Runs so many replicas, or between ``(least, most)`` as the load asks for. Returns the model."""
        least, most = _bounds(replicas)
        body = {"replicas": least} if least == most else {"min": least, "max": most}
        return self._link.json("POST", f"{page(name)}/scale", body)

    def slo(self, name: str, slo: str | None) -> dict[str, Any]:
        """Sets the latency objective, such as ``"20ms"``, or goes back to the model's own with None. Returns the
        model."""
        return self._link.json("POST", f"{page(name)}/slo", {"slo": slo})

    def rollback(self, name: str, *, progress: Progress | None = say) -> Deployment:
        """Gives the traffic back to the version that had it before: at once while that is warm. A second time goes
        forward again. :class:`EngineError` with ``status`` 409 when there is none."""
        return self._activate(name, "rollback", b"{}", progress)

    def promote(self, name: str, version: int, *, progress: Progress | None = say) -> Deployment:
        """Gives the traffic to a version that is there: held, warm or stopped."""
        return self._activate(name, "promote", b'{"version":%d}' % version, progress)

    def _activate(self, name: str, how: str, body: bytes, progress: Progress | None) -> Deployment:
        response = self._link.ask("POST", f"{page(name)}/{how}", body, wait_s=REPORT_WAIT_S)
        return self._follow(name, lines_of(response, str(self._link)), progress or (lambda _: None))

    def remove(self, name: str, version: int | None = None) -> None:
        """Removes a model with all its versions, or one version that has no traffic."""
        query = "" if version is None else f"?version={version}"
        self._link.json("DELETE", page(name) + query)
        self._questions.forget(name)

    def logs(
        self,
        name: str,
        follow: bool = False,
        *,
        lines: int = 100,
        version: int | None = None,
        replica: int | None = None,
    ) -> Iterator[str]:
        """What the model's replicas wrote, line by line, each after ``name/replica``.

        ``lines`` of each replica to begin with. With ``follow`` it goes on with what they write from then on, without
        an end: leave the loop when you have seen enough.
        """
        given = {"lines": lines, "version": version, "replica": replica, "follow": "true" if follow else None}
        query = urlencode({key: it for key, it in given.items() if it is not None})
        # A log that is followed may be silent for as long as its model is.
        wait_s = None if follow else LOGS_WAIT_S
        response = self._link.ask("GET", f"{page(name)}/logs?{query}", wait_s=wait_s)
        return (line.decode(errors="replace") for line in lines_of(response, str(self._link)))


def _settle(
    bundle: Bundle,
    launcher: str | None,
    image: str | None,
    env: Mapping[str, str] | None,
    files: Sequence[str | os.PathLike],
    settings: Mapping[str, Any] | None,
) -> None:
    """What goes into model.toml, and beside the model."""
    if image is not None and launcher == "process":
        raise DeployError("an image runs in Docker: leave launcher out")
    launcher = launcher or ("docker" if image else None)
    bundle.settings |= dict(settings or {})
    bundle.settings |= {k: it for k, it in (("launcher", launcher), ("image", image)) if it is not None}
    if env:
        bundle.settings["env"] = dict(bundle.settings.get("env", {})) | dict(env)
    for file in files:
        bundle.add(Path(file))


def _query(hold: bool, keep_warm: str | None, replicas: Replicas | None, slo: str | None) -> str:
    query: dict[str, Any] = {"hold": "true"} if hold else {}
    query |= {k: it for k, it in (("keep_warm", keep_warm), ("slo", slo)) if it is not None}
    if replicas is not None:
        query["min"], query["max"] = _bounds(replicas)
    # A plus is no blank to the engine.
    return urlencode(query, quote_via=quote)


def _bounds(replicas: Replicas) -> tuple[int, int]:
    least, most = (replicas, replicas) if isinstance(replicas, int) else replicas
    if not 1 <= least <= most:
        raise ValueError(f"replicas is {replicas!r}: give a number from 1, or (least, most)")
    return least, most


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
