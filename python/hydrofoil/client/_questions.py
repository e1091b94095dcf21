"""Questions to models that an engine serves: what a model takes, and where, is asked once and remembered."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

from hydrofoil.client._errors import EngineError
from hydrofoil.client._link import Asker, authority, parsed
from hydrofoil.client._tensors import LENGTH, Tensors, answer, fitted, request

# A prediction that was given no time of its own.
PREDICT_WAIT_S = 60.0
# Beyond the time that a request may take, for its way there and back.
MARGIN_S = 5.0

Key = tuple[str, int | None]


@dataclass(frozen=True)
class Signature:
    """What a model takes: the datatypes of its inputs, and the most rows at once; 0 where it has no batches."""

    datatypes: dict[str, str]
    rows_max: int

    def requests(self, arrays: Tensors) -> Iterator[Tensors]:
        rows = max((len(it) for it in arrays.values() if it.ndim), default=0)
        if not self.rows_max or rows <= self.rows_max:
            yield arrays
            return
        for start in range(0, rows, self.rows_max):
            yield {key: it[start : start + self.rows_max] for key, it in arrays.items()}


class Questions:
    """``url_of`` tells where a model is asked, ``host`` what stands for addresses that mean all of the engine's."""

    def __init__(self, host: str, url_of: Callable[[str], str]) -> None:
        self._host, self._url_of = host, url_of
        self._asker = Asker()
        self._places: dict[str, tuple[str, str]] = {}
        self._takes: dict[Key, Signature] = {}

    def forget(self, name: str) -> None:
        """Another version may have another signature, another engine another address."""
        self._places.pop(name, None)
        for key in [key for key in list(self._takes) if key[0] == name]:
            self._takes.pop(key, None)

    def predict(self, name: str, x: Any, version: int | None, timeout: float | None) -> Any:
        known = (name, version) in self._takes
        try:
            return self._predict(name, x, version, timeout)
        except (ValueError, EngineError) as error:
            # What was remembered may be of another version, or engine, than there is now.
            moved = isinstance(error.__context__, ConnectionRefusedError)
            if not known or not (moved or getattr(error, "status", 400) in (400, 404)):
                raise
        self.forget(name)
        return self._predict(name, x, version, timeout)

    def _predict(self, name: str, x: Any, version: int | None, timeout: float | None) -> Any:
        takes = self._signature(name, version)
        given = x if isinstance(x, Mapping) else {next(iter(takes.datatypes)): x}
        if set(given) != set(takes.datatypes):
            raise ValueError(f"the model takes {', '.join(takes.datatypes)}: give a dict with each of them")
        arrays = {key: fitted(key, given[key], datatype) for key, datatype in takes.datatypes.items()}
        parts = [self._ask(name, it, takes, version, timeout) for it in takes.requests(arrays)]
        outputs = parts[0]
        if len(parts) > 1:
            outputs = {key: np.concatenate([part[key] for part in parts]) for key in outputs}
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    def _ask(
        self, name: str, arrays: Tensors, takes: Signature, version: int | None, timeout: float | None
    ) -> Tensors:
        body, headers = request(arrays, takes.datatypes)
        if timeout is not None:
            headers["X-Request-Timeout-Ms"] = str(max(1, round(timeout * 1000)))
        wait_s = PREDICT_WAIT_S if timeout is None else timeout + MARGIN_S
        netloc, path = self._place(name, version)
        got, text = self._asker.ask("POST", netloc, f"{path}/infer", body, headers, wait_s)
        return answer(text, got.get(LENGTH))

    def _signature(self, name: str, version: int | None) -> Signature:
        key = (name, version)
        if key not in self._takes:
            netloc, path = self._place(name, version)
            _, metadata = self._asker.ask("GET", netloc, path, None, {}, PREDICT_WAIT_S)
            _, config = self._asker.ask("GET", netloc, f"{path}/config", None, {}, PREDICT_WAIT_S)
            datatypes = {it["name"]: it["datatype"] for it in parsed(metadata)["inputs"]}
            self._takes[key] = Signature(datatypes, int(parsed(config).get("max_batch_size") or 0))
        return self._takes[key]

    def _place(self, name: str, version: int | None) -> tuple[str, str]:
        """Host and port, and the path of a model."""
        if name not in self._places:
            url = urlsplit(self._url_of(name))
            host = self._host if url.hostname in ("0.0.0.0", "::", None) else url.hostname
            netloc = authority(host, url.port or 80)
            self._places[name] = netloc, f"/v2/models/{quote(name, safe='')}"
        netloc, path = self._places[name]
        return netloc, path if version is None else f"{path}/versions/{version}"
