"""A transformer's encoder with seeded weights: served by foil, or run without it.

    python transformer.py --batch 64 --seconds 3 --device cuda --layers 12 --width 768

prints one line of JSON with what its bare loop does.
"""

import argparse
import json
import time

import numpy as np
import torch

import hydrofoil as foil

TOKENS = 64
VOCABULARY = 100
CLASSES = 16
HEAD_WIDTH = 32


class Net(torch.nn.Module):
    def __init__(self, layers, width):
        super().__init__()
        torch.manual_seed(1)
        self.embed = torch.nn.Embedding(VOCABULARY, width)
        block = torch.nn.TransformerEncoderLayer(
            width, width // HEAD_WIDTH, 4 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.encode = torch.nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.head = torch.nn.Linear(width, CLASSES)

    def forward(self, ids):
        return self.head(self.encode(self.embed(ids)).mean(1))


def net(layers, width, device):
    return Net(layers, width).eval().to(device)


@foil.model(max_batch=64)
class Transformer:
    def load(self, ctx):
        self.device = torch.device(ctx.parameters["device"])
        sizes = int(ctx.parameters["layers"]), int(ctx.parameters["width"])
        self.net = net(*sizes, self.device)

    @torch.inference_mode()
    def predict(self, ids: foil.i64["n", TOKENS]) -> {"scores": foil.f32["n", CLASSES]}:
        return {"scores": self.net(foil.to_torch(ids, self.device)).cpu().numpy()}


def window(run, seconds):
    """Times of one call each, in nanoseconds, one after the other for so long."""
    times = []
    ends = time.perf_counter_ns() + int(seconds * 1e9)
    while not times or time.perf_counter_ns() < ends:
        begun = time.perf_counter_ns()
        run()
        times.append(time.perf_counter_ns() - begun)
    return times


@torch.inference_mode()
def bare(options):
    device = torch.device(options.device)
    model = net(options.layers, options.width, device)
    ids = torch.randint(VOCABULARY, (options.batch, TOKENS))
    if device.type == "cuda":
        ids = ids.pin_memory()

    def run():
        return model(ids.to(device, non_blocking=True)).cpu().numpy()

    window(run, options.seconds / 2)
    times = window(run, options.seconds)
    found = {
        "batch": options.batch,
        "device": str(device),
        "batches": len(times),
        "rows_per_s": options.batch * len(times) / (sum(times) / 1e9),
        "p50_us": float(np.median(times)) / 1e3,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--width", type=int, default=64)
    bare(parser.parse_args())
