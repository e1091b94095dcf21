"""The process that runs one replica of a Python model; the engine starts it.

    python -m hydrofoil.container --target FILE[:Class] [--describe]

Says hello as soon as the file is imported, loads the model, then answers batches until the engine
is done with it. An exception of the model fails its batch; an exit ends the process, and the
engine starts another. ``--describe`` prints the declaration as JSON and exits.
"""

import argparse
import contextlib
import gc
import inspect
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydrofoil import _pins
from hydrofoil._annotations import BATCH, Tensor
from hydrofoil._calls import batch_call
from hydrofoil._discover import discover
from hydrofoil._errors import BadOutput, InputError, ModelError, report, stderr_text, summary
from hydrofoil._model import Context, Definition, Settings
from hydrofoil._outputs import converter
from hydrofoil._views import bind


# A lane whose model is loaded, how it serves batches, what it calls, and what makes outputs of that.
Started = tuple[Any, Callable[..., Any], Callable[..., Any], Callable[..., Any]]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m hydrofoil.container")
    parser.add_argument("--target", required=True, metavar="FILE[:CLASS]")
    parser.add_argument("--describe", action="store_true", help="print the declaration as JSON")
    options = parser.parse_args(arguments)
    if options.describe:
        return describe(options.target)
    # The engine keeps the last lines: they must be out before the process can die.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        return run(options.target)
    except KeyboardInterrupt:
        return 0


def describe(target: str) -> int:
    try:
        definition, _ = discover(target)
        spec = spec_of(definition, settings_from(os.environ, definition))
    except Exception as error:
        print(report(error), file=sys.stderr)
        return 1
    print(json.dumps(spec))
    return 0


def run(target: str) -> int:
    """Connects first, so that whatever fails after it can be told to the engine."""
    from hydrofoil._native import Lane

    lane = Lane(os.environ["FOIL_SOCKET"])
    try:
        started = start(lane, target)
        if started is None:
            return 1
        serve(*started)
        return 0
    finally:
        # A GPU that failed has let go of everything.
        with contextlib.suppress(RuntimeError):
            _pins.release()
        # A thread of the model may keep the process alive; the engine must know at once.
        lane.close()


def start(lane: Any, target: str) -> Started | None:
    """Hello, load, ready: how to serve, what to call, how to convert. None when the model does not get that far; the engine knows why."""
    try:
        definition, path = discover(target)
        settings = settings_from(os.environ, definition)
        lane.hello(int(os.environ["FOIL_NONCE"]), spec_of(definition, settings))
        instance = load(definition, context_from(os.environ, path))
        call = batch_call(definition, instance)
    except Exception as error:
        return fail_to_load(lane, error)
    # What load left lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    bind(lane, definition)
    _pins.bind(lane)
    lane.ready()
    serve = lane.serve_parts if definition.decoupled else lane.serve
    return lane, serve, call, converter(definition)


def fail_to_load(lane: Any, error: Exception) -> None:
    message = report(error)
    print(message, file=sys.stderr)
    lane.load_failed(message)


def load(definition: Definition, context: Context) -> Any:
    """What has ``predict``: an instance, loaded, or the function itself."""
    if not inspect.isclass(definition.target):
        return definition.target
    instance = definition.target()
    if hasattr(instance, "load"):
        instance.load(context)
    return instance


def settings_from(environment: Any, definition: Definition) -> Settings:
    """The decorator's settings under those of the engine, which come from ``model.toml``."""
    overrides = json.loads(environment.get("FOIL_SETTINGS") or "{}")
    return definition.settings.merged({k: v for k, v in overrides.items() if v is not None})


def context_from(environment: Any, path: Path) -> Context:
    version = environment.get("FOIL_VERSION") or "1"
    device = environment.get("FOIL_DEVICE") or "cpu"
    parameters = json.loads(environment.get("FOIL_PARAMETERS") or "{}")
    return Context(path.parent, device, int(version), parameters)


def spec_of(definition: Definition, settings: Settings) -> dict[str, Any]:
    """What hello says of the model. A dimension is an integer, "n" for the batch, or None."""
    return {
        "name": definition.name,
        "inputs": [tensor_of(*it) for it in definition.inputs.items()],
        "outputs": [tensor_of(*it) for it in definition.outputs.items()],
        "batched": definition.batched,
        "max_batch": settings.max_batch if definition.batched else 1,
        "slo_us": settings.slo_us,
        "late": settings.late,
        "batch_timeout_us": settings.batch_timeout_us,
        "replicas": settings.replicas,
        "pad": settings.pad,
        "decoupled": definition.decoupled,
    }


def tensor_of(name: str, tensor: Tensor) -> tuple[str, str, list[Any]]:
    dims = [dim if isinstance(dim, int) or dim == BATCH else None for dim in tensor.dims]
    return name, tensor.dtype.name, dims


def serve(
    lane: Any,
    batches: Callable[..., BaseException | None],
    call: Callable[..., Any],
    convert: Callable[..., Any],
) -> None:
    """Until the engine is done. ``batches`` runs one after the other by itself, as long as none fails."""
    while fail(lane, batches(call, convert)):
        # The arrays of the batch that failed are dropped by now: `finish` looks for kept views.
        lane.finish()


def fail(lane: Any, error: BaseException | None) -> bool:
    """Answers the batch in hand with what its model raised; False when it raised nothing."""
    match error:
        case None:
            return False
        case InputError():
            lane.fail("input_refused", str(error.message), row_of(error, lane.rows))
        case BadOutput():
            lane.fail("bad_output", str(error), None)
        case _:
            lane.fail("raised", summary(error), None)
            tell(error)
    let_go(error)
    return True


def row_of(error: InputError, rows: int) -> int | None:
    """The row the model named, if it is one of the batch."""
    try:
        row = int(error.row)
    except (TypeError, ValueError, OverflowError):
        return None
    return row if 0 <= row < rows else None


def tell(error: BaseException) -> None:
    # A closed stderr must not turn a failed batch into a dead replica.
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(stderr_text(error))


def let_go(error: BaseException) -> None:
    """Drops the locals of the model's frames, which hold views of the batch."""
    if error.__traceback__ is not None:
        traceback.clear_frames(error.__traceback__)


if __name__ == "__main__":
    sys.exit(main())
