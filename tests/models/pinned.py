"""Sends its inputs to a GPU that is not there, and says what became of them.

Its GPU does what a real one may: it reads the memory not when it is asked to, but as late as it can.
"""

import ctypes

import numpy as np

import hydrofoil as foil
from hydrofoil import _pins

PLAIN, KEEP = 0, 1


class LateGpu:
    def __init__(self, refuses):
        self.refuses = refuses
        self.ranges = {}
        self.staged = 0

    def register(self, address, byte_size):
        if self.refuses:
            return "not supported"
        self.ranges[address] = byte_size
        return None

    def unregister(self, address):
        del self.ranges[address]

    def send(self, x, device):
        copy = LateCopy(self, x)
        return copy, copy

    def stage(self, x, device):
        self.staged += 1
        return x.copy()


class LateCopy:
    def __init__(self, gpu, x):
        # No view of the slot: one would count as kept.
        self.gpu, self.address, self.expected = gpu, x.ctypes.data, x.copy()
        self.arrived = None

    def synchronize(self):
        ranges = self.gpu.ranges.items()
        assert any(at <= self.address < at + size for at, size in ranges), "a registered range"
        self.arrived = np.empty_like(self.expected)
        ctypes.memmove(self.arrived.ctypes.data, self.address, self.arrived.nbytes)


@foil.model(max_batch=16)
class Pinned:
    def load(self, ctx):
        self.gpu = LateGpu(ctx.parameters.get("refuses") == "yes")
        self.sent, self.kept = [], []

    def predict(self, x: foil.f32["n", 2]) -> {
        "unfinished": foil.i64["n"],
        "wrong": foil.i64["n"],
        "registered": foil.i64["n"],
        "staged": foil.i64["n"],
        "changed": foil.i64["n"],
    }:
        unfinished = sum(copy.arrived is None for copy in self.sent)
        arrived = (copy for copy in self.sent if copy.arrived is not None)
        wrong = sum(not np.array_equal(copy.arrived, copy.expected) for copy in arrived)
        sent = _pins.pins(self.gpu).send(x, x.ctypes.data, "gpu")
        if isinstance(sent, LateCopy):
            self.sent.append(sent)
        if int(x[0, 0]) == KEEP:
            self.kept.append((x, x.copy()))
        found = {
            "unfinished": unfinished,
            "wrong": wrong,
            "registered": len(self.gpu.ranges),
            "staged": self.gpu.staged,
            "changed": sum(not np.array_equal(view, copy) for view, copy in self.kept),
        }
        return {name: np.full(len(x), value) for name, value in found.items()}
