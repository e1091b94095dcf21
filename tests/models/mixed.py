"""Several inputs, several outputs, strings among them."""

import numpy as np

import hydrofoil as foil


@foil.model(max_batch=8)
class Mixed:
    def predict(
        self, name: foil.str["n"], values: foil.f64["n", "k"], flag: foil.bool["n"]
    ) -> {"greeting": foil.str["n"], "total": foil.f64["n"], "inverse": foil.bool["n"]}:
        greeting = np.array([f"hello, {who}" for who in name], dtype=object)
        return {"greeting": greeting, "total": values.sum(axis=1), "inverse": ~flag}
