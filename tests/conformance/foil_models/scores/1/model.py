"""Scores in and out, for classification."""

import hydrofoil as foil


@foil.model(max_batch=8)
class Scores:
    def predict(self, INPUT: foil.f32["n", 4]) -> {"OUTPUT": foil.f32["n", 4]}:
        return {"OUTPUT": INPUT.copy()}
