"""Raises what it is told to."""

import hydrofoil as foil


@foil.model(max_batch=1)
class Fails:
    def predict(self, INPUT: foil.i32["n", 1]) -> {"OUTPUT": foil.i32["n", 1]}:
        raise ValueError("the model cannot do this")
