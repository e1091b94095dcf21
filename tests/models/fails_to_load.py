"""Its load raises."""

import hydrofoil as foil


@foil.model
class FailsToLoad:
    def load(self, ctx):
        print("looking for the weights")
        raise FileNotFoundError("no weights here")

    def predict(self, x: foil.f32["n"]) -> foil.f32["n"]:
        return x
