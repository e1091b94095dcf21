"""Answers with each number of its input by itself: a decoupled model."""

import hydrofoil as foil


@foil.model(max_batch=1)
class Repeat:
    def predict(self, IN: foil.i32["n", "k"]) -> {"OUT": foil.i32["n", 1]}:
        for at in range(IN.shape[1]):
            yield {"OUT": IN[:, at : at + 1].copy()}
