"""Bytes in and out, unchanged."""

import hydrofoil as foil


@foil.model(max_batch=8)
class Text:
    def predict(self, INPUT: foil.bytes["n", 1]) -> {"OUTPUT": foil.bytes["n", 1]}:
        return {"OUTPUT": INPUT}
