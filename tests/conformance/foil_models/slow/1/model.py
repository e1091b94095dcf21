"""Sleeps for as many milliseconds as its input says."""

import time

import hydrofoil as foil


@foil.model(max_batch=1)
class Slow:
    def predict(self, DELAY_MS: foil.i32["n", 1]) -> {"OUTPUT": foil.i32["n", 1]}:
        time.sleep(int(DELAY_MS[0, 0]) / 1000)
        return {"OUTPUT": DELAY_MS.copy()}
