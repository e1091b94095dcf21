"""Adds up its rows in PyTorch where it is installed, through a view and in a GPU's way of keeping tensors."""

import importlib.util
import sys

import numpy as np

import hydrofoil as foil

INSTALLED = importlib.util.find_spec("torch") is not None


@foil.model(max_batch=16)
class ToTorch:
    def load(self, ctx):
        assert "torch" not in sys.modules, "PyTorch is imported by those who use it"
        self.kept = []

    def predict(self, x: foil.f32["n", 2]) -> {
        "sum": foil.f32["n"],
        "installed": foil.bool["n"],
        "changed": foil.i64["n"],
    }:
        installed = np.full(len(x), INSTALLED)
        if not INSTALLED:
            return {"sum": x.sum(1), "installed": installed, "changed": np.zeros(len(x), np.int64)}
        tensor = foil.to_torch(x, "cpu")
        assert tensor.data_ptr() == x.ctypes.data, "a view"
        self.kept.append((tensor, tensor.clone()))
        changed = sum(not tensor.equal(copy) for tensor, copy in self.kept)
        return {"sum": tensor.sum(1), "installed": installed, "changed": np.full(len(x), changed)}
