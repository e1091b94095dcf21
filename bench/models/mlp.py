"""Three layers of NumPy in float32. Weights are drawn, not trained: only the time they take is looked at."""

import numpy as np
import hydrofoil as foil

SIZES = [784, 512, 512, 10]


@foil.model(max_batch=256)
class Mlp:
    def load(self, ctx):
        draw = np.random.default_rng(1)
        pairs = zip(SIZES, SIZES[1:])
        self.layers = [
            draw.standard_normal(pair, dtype=np.float32) / np.float32(pair[0] ** 0.5) for pair in pairs
        ]

    def predict(self, x: foil.f32["n", 784]) -> foil.f32["n", 10]:
        for layer in self.layers[:-1]:
            x = np.maximum(x @ layer, 0)
        return x @ self.layers[-1]
