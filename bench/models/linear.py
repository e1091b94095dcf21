"""One layer of NumPy in float32. Weights are drawn, not trained: only the time it takes is looked at."""

import numpy as np
import hydrofoil as foil

SIZES = (784, 10)


@foil.model(max_batch=256)
class Linear:
    def load(self, ctx):
        draw = np.random.default_rng(1)
        self.weights = draw.standard_normal(SIZES, dtype=np.float32) / np.float32(SIZES[0] ** 0.5)

    def predict(self, x: foil.f32["n", 784]) -> foil.f32["n", 10]:
        return x @ self.weights
