"""A model of ours that an application for Clipper can be linked to: no container, no text."""

import hydrofoil as foil


@foil.model(max_batch=32)
def total(x: foil.f64["n", "m"]) -> foil.f64["n"]:
    return x.sum(axis=1)
