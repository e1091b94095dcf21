"""The models that every peer serves, in float32 NumPy: the same weights and sums as in bench/models."""

import numpy as np

FEATURES = 784
SIZES = {"noop": [], "linear": [784, 10], "mlp": [784, 512, 512, 10]}


class Model:
    """Takes and gives rows: (n, 784) to (n,) or (n, 10)."""

    def __init__(self, name):
        draw = np.random.default_rng(1)
        sizes = SIZES[name]
        self.layers = [
            draw.standard_normal(pair, dtype=np.float32) / np.float32(pair[0] ** 0.5)
            for pair in zip(sizes, sizes[1:])
        ]

    def __call__(self, x):
        if not self.layers:
            return x.sum(axis=1)
        for layer in self.layers[:-1]:
            x = np.maximum(x @ layer, 0)
        return x @ self.layers[-1]
