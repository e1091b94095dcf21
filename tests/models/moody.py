"""A model that misbehaves on request: the first number of a row says how."""

import os
import signal
import sys
import time

import numpy as np

import hydrofoil as foil

FINE, RAISE, WRONG_DTYPE, WRONG_SHAPE, TOO_FEW_ROWS, CHATTER, EXIT, HANG, KILL, REFUSE, SLOW, KEEP = range(12)

kept = []


@foil.model(max_batch=16, batch_timeout="2s")
class Moody:
    def predict(self, x: foil.f32["n", 2]) -> foil.f32["n"]:
        for row, code in enumerate(x[:, 0]):
            if code == RAISE:
                raise ValueError(f"row {row} asked for it")
            if code == WRONG_DTYPE:
                return np.array(["not", "numbers"] * len(x))[: len(x)]
            if code == WRONG_SHAPE:
                return np.zeros((len(x), 3), np.float32)
            if code == TOO_FEW_ROWS:
                return np.zeros(max(len(x) - 1, 0), np.float32)
            if code == CHATTER:
                for _ in range(40_000):
                    print("all work and no play makes this a very long line indeed, " * 2)
            if code == EXIT:
                sys.exit(3)
            if code == HANG:
                time.sleep(3600)
            if code == KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            if code == REFUSE:
                raise foil.InputError("this row is not to my taste", row)
            if code == SLOW:
                time.sleep(0.3)
            if code == KEEP:
                kept.append((x, x.copy()))
        if any(not np.array_equal(view, copy) for view, copy in kept):
            raise RuntimeError("a kept view was overwritten")
        return x.sum(axis=1)
