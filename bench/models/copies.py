"""How fast memory that another process shares is copied to a GPU, registered with CUDA and not; prints one line of JSON."""

import json
import mmap
import time

import numpy as np
import torch

BYTES = 64 << 20
COPIES = 10

mapped = mmap.mmap(-1, BYTES)
array = np.frombuffer(mapped, np.uint8)
array[:] = 1
address = array.__array_interface__["data"][0]
there = torch.empty(BYTES, dtype=torch.uint8, device="cuda")
here = torch.from_dlpack(array)
runtime = torch.cuda.cudart()


def gb_per_s():
    there.copy_(here, non_blocking=True)
    torch.cuda.synchronize()
    times = []
    for _ in range(COPIES):
        begun = time.perf_counter()
        there.copy_(here, non_blocking=True)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
    return BYTES / np.median(times) / 1e9


unregistered = gb_per_s()
begun = time.perf_counter()
error = int(runtime.cudaHostRegister(address, BYTES, 1))
register_ms = (time.perf_counter() - begun) * 1e3
found = {"unregistered_gb_s": unregistered, "register_error": error, "register_ms": register_ms}
if error == 0:
    found["registered_gb_s"] = gb_per_s()
    runtime.cudaHostUnregister(address)
print(json.dumps(found))
