"""A model that gets stuck on request: the first number of a row says how."""

import ctypes
import os
import signal
from pathlib import Path

import hydrofoil as foil

FINE, HOLD, SPIN, DIE = range(4)

# As C code that takes long and never lets go of the interpreter lock.
c = ctypes.PyDLL(None)


@foil.model(max_batch=8, batch_timeout="10s")
class Stuck:
    def load(self, ctx):
        if Path(ctx.path("poison")).exists():
            os._exit(7)

    def predict(self, x: foil.f32["n", 2]) -> foil.f32["n"]:
        for code in x[:, 0]:
            if code == HOLD:
                c.sleep(3)
            if code == SPIN:
                while True:
                    pass
            if code == DIE:
                os.kill(os.getpid(), signal.SIGKILL)
        return x.sum(axis=1)
