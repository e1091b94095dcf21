"""Two integers in, their sum and difference out: the example that every client of the protocol comes with."""

import hydrofoil as foil


@foil.model(max_batch=8)
class Simple:
    def predict(self, INPUT0: foil.i32["n", 16], INPUT1: foil.i32["n", 16]) -> {
        "OUTPUT0": foil.i32["n", 16],
        "OUTPUT1": foil.i32["n", 16],
    }:
        return {"OUTPUT0": INPUT0 + INPUT1, "OUTPUT1": INPUT0 - INPUT1}
