"""Writes its outputs into the reply slot, and says where they lay and whether kept ones changed."""

import threading

import numpy as np

import hydrofoil as foil

PLAIN, KEEP, HUGE, UNKNOWN, TWICE, OTHER, SWAP, THREAD, NEGATIVE, TURNED = range(10)


@foil.model(max_batch=16)
class InPlace:
    def load(self, ctx):
        self.kept = []

    def predict(self, x: foil.f32["n", 2]) -> {
        "y": foil.f32["n", 2],
        "at": foil.u64["n"],
        "changed": foil.i64["n"],
        "z": foil.f32["n", 2],
    }:
        rows = len(x)
        how = int(x[0, 0])
        if how == HUGE:
            foil.output("y", (rows, 1 << 40))
        if how == UNKNOWN:
            foil.output("unknown", (rows, 2))
        if how == THREAD:
            elsewhere()
        if how == NEGATIVE:
            foil.output("y", (rows, -1))
        y = foil.output("y", (rows, 2))
        if how == TWICE:
            foil.output("y", (rows, 2))
        np.multiply(x, 2, out=y)
        if how == KEEP:
            self.kept.append((y, y.copy()))
        changed = sum(not np.array_equal(view, copy) for view, copy in self.kept)
        at = np.full(rows, y.ctypes.data, np.uint64)
        outputs = {"y": y, "at": at, "changed": np.full(rows, changed), "z": x}
        if how == OTHER:
            outputs["y"] = y + 1
        if how == SWAP:
            z = foil.output("z", (rows, 2))
            z[:] = x
            outputs["y"], outputs["z"] = z, y
        if how == TURNED:
            outputs["y"], outputs["z"] = y.T, np.asfortranarray(x)
        return outputs


def elsewhere():
    """Raises what `output` raises in another thread."""
    raised = []

    def call():
        try:
            foil.output("y", (1, 2))
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    raise raised[0]
