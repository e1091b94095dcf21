"""No batch dimension: one request, one call."""

import numpy as np

import hydrofoil as foil


@foil.model
def trace(matrix: foil.f32["k", "k"]) -> foil.f32[1]:
    return np.array([np.trace(matrix)], np.float32)
