"""What a batch of 32 x 784 float32 costs until Python has its array: taken, verified, viewed.

Not started by hand: ``cargo bench -p engine --bench handover -- python PYTHON SCRIPT`` plays the
engine and publishes the next batch as soon as the last was answered. Each one is waited for
asleep, so that `next` finds it there and is timed alone.
"""

import json
import os
import statistics
import time

import numpy as np

from hydrofoil._native import Lane

ROWS, FEATURES = 32, 784
WARM, TIMED = 300, 4000
# Far longer than the engine takes to publish the next batch.
PAUSE_NS = 60_000


def main() -> None:
    lane = Lane(os.environ["FOIL_SOCKET"])
    lane.hello(
        1,
        {
            "name": "sum",
            "inputs": [("x", "f32", ["n", FEATURES])],
            "outputs": [("y", "f32", ["n", 1])],
            "batched": True,
            "max_batch": ROWS,
            "slo_us": None,
            "late": "serve",
            "batch_timeout_us": 1_000_000,
            "replicas": 1,
        },
    )
    lane.ready()
    y = np.zeros((ROWS, 1), np.float32)
    taken = [one(lane, y) for _ in range(WARM + TIMED)]
    print(json.dumps({"handover_python_us": statistics.median(taken[WARM:]) / 1e3}))


def one(lane: Lane, y: np.ndarray) -> int:
    """Nanoseconds from the call to the array in hand."""
    clock = time.perf_counter_ns
    until = clock() + PAUSE_NS
    while clock() < until:
        pass
    begun = clock()
    rows, (x,) = lane.next()
    took = clock() - begun
    if rows != ROWS or x.shape != (ROWS, FEATURES):
        raise SystemExit(f"an odd batch: {rows} rows of shape {x.shape}")
    lane.reply([((ROWS, 1), y)])
    del x
    lane.finish()
    return took


main()
