"""Asks a live engine every held-out digit, as JSON and as binary tensors, and checks each answer.

    ask.py DIRECTORY URL ENGINE_PID SECONDS

Exits with 1 when a single label differs from the model run offline.
"""

import http.client
import json
import os
import re
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlparse

import numpy as np

CONNECTIONS = 16
MODELS = ("forest", "logistic", "logistic_native")
FORMS = ("json", "binary")


@dataclass
class Tally:
    """What one model did."""

    asked: int = 0
    right: int = 0
    wrong: list = field(default_factory=list)
    seconds: list = field(default_factory=list)
    batches: Counter = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        self.asked += other.asked
        self.right += other.right
        self.wrong += other.wrong
        self.seconds += other.seconds
        self.batches += other.batches


def question(row: np.ndarray, form: str) -> tuple[bytes, dict[str, str]]:
    tensor = {"name": "x", "shape": [1, 64], "datatype": "FP64"}
    if form == "json":
        tensor["data"] = row.tolist()
        return json.dumps({"inputs": [tensor]}).encode(), {"Content-Type": "application/json"}
    tensor["parameters"] = {"binary_data_size": row.nbytes}
    head = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    header = json.dumps(head).encode()
    length = {"Inference-Header-Content-Length": str(len(header))}
    return header + row.tobytes(), {"Content-Type": "application/octet-stream", **length}


def label(response: http.client.HTTPResponse, body: bytes) -> int:
    """The first output of an answer in either form."""
    length = response.getheader("Inference-Header-Content-Length")
    if length is None:
        return json.loads(body)["outputs"][0]["data"][0]
    first = json.loads(body[: int(length)])["outputs"][0]
    start = int(length)
    return int(np.frombuffer(body[start : start + first["parameters"]["binary_data_size"]], np.int64)[0])


def ask(address: str, work: "Work", tallies: dict[str, Tally]) -> None:
    """One connection: takes jobs until there are none."""
    connection = http.client.HTTPConnection(address, timeout=60)
    mine = {name: Tally() for name in MODELS}
    for model, form, index in work:
        body, headers = question(work.x[index], form)
        started = time.perf_counter()
        connection.request("POST", f"/v2/models/{model}/infer", body, headers)
        response = connection.getresponse()
        answer = response.read()
        took = time.perf_counter() - started
        tally = mine[model]
        tally.asked += 1
        tally.seconds.append(took)
        if response.status != 200:
            tally.wrong.append(f"{form} row {index}: {response.status} {answer[:200]!r}")
            continue
        said = label(response, answer)
        tally.right += said == work.truth[index]
        if said != work.offline[model][index]:
            tally.wrong.append(f"{form} row {index}: {said}, offline {work.offline[model][index]}")
        batch = re.search(r'desc="batch (\d+)"', response.getheader("Server-Timing", ""))
        if batch:
            tally.batches[int(batch[1])] += 1
    with work.lock:
        for name, tally in mine.items():
            tallies[name].add(tally)


class Work:
    """The jobs, handed out one by one to all connections."""

    def __init__(self, held_out: dict[str, np.ndarray], seconds: int) -> None:
        self.x = np.ascontiguousarray(held_out["x"], np.float64)
        self.truth = held_out["truth"]
        self.offline = {name: held_out[name] for name in MODELS}
        self.jobs = [(m, f, i) for i in range(len(self.x)) for m in MODELS for f in FORMS]
        self.end = time.monotonic() + seconds if seconds else None
        self.began = time.monotonic()
        self.next = 0
        self.lock = threading.Lock()

    def __iter__(self) -> "Work":
        return self

    def __next__(self) -> tuple[str, str, int]:
        with self.lock:
            at, self.next = self.next, self.next + 1
        over = at >= len(self.jobs) if self.end is None else time.monotonic() >= self.end
        if over:
            raise StopIteration
        return self.jobs[at % len(self.jobs)]

    def done(self) -> float:
        if self.end is None:
            return min(self.next / len(self.jobs), 1.0)
        return min((time.monotonic() - self.began) / (self.end - self.began), 1.0)


def show_progress(work: Work, threads: list[threading.Thread]) -> None:
    """A bar on a terminal; silence elsewhere."""
    while any(thread.is_alive() for thread in threads):
        threads[0].join(0.1)
        if not threads[0].is_alive():
            time.sleep(0.05)
        if sys.stderr.isatty():
            filled = round(work.done() * 40)
            print(f"\rasking [{'█' * filled}{'·' * (40 - filled)}] {work.next}", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and all it started."""
    total, tick = 0.0, os.sysconf("SC_CLK_TCK")
    family, grew = {pid}, True
    stats = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        stats[int(path.parent.name)] = (int(fields[1]), int(fields[11]) + int(fields[12]))
    while grew:
        children = {p for p, (parent, _) in stats.items() if parent in family} - family
        family |= children
        grew = bool(children)
    for process in family & stats.keys():
        total += stats[process][1] / tick
    return total


def table(tallies: dict[str, Tally], cpu_s: float, wall_s: float) -> str:
    head = ("model", "accuracy", "requests", "p50 ms", "p99 ms", "p99.9 ms", "batch sizes")
    rows = [head]
    for name, tally in tallies.items():
        p50, p99, p999 = (np.percentile(tally.seconds, q) * 1e3 for q in (50, 99, 99.9))
        sizes = f"1 to {max(tally.batches, default=0)}, mean {mean(tally.batches):.1f}"
        accuracy = f"{tally.right / tally.asked:.4f}"
        rows.append((name, accuracy, str(tally.asked), f"{p50:.2f}", f"{p99:.2f}", f"{p999:.2f}", sizes))
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    lines.insert(1, "  ".join("─" * width for width in widths))
    asked = sum(tally.asked for tally in tallies.values())
    lines.append(f"\n{asked} requests in {wall_s:.1f} s over {CONNECTIONS} connections from Python; ")
    lines[-1] += f"engine and containers used {cpu_s / asked * 1e6:.0f} µs of CPU each"
    return "\n".join(lines)


def mean(batches: Counter) -> float:
    """Of the batches; each was seen once per row in it."""
    rows = sum(batches.values())
    count = sum(seen / size for size, seen in batches.items())
    return rows / count if count else 0.0


def main(directory: Path, url: str, pid: int, seconds: int) -> int:
    work = Work(dict(np.load(directory / "held_out.npz")), seconds)
    tallies = {name: Tally() for name in MODELS}
    address = urlparse(url).netloc
    cpu, began = cpu_seconds(pid), time.monotonic()
    threads = [threading.Thread(target=ask, args=(address, work, tallies)) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    show_progress(work, threads)
    for thread in threads:
        thread.join()
    print(table(tallies, cpu_seconds(pid) - cpu, time.monotonic() - began))
    wrong = [f"{name}: {what}" for name, tally in tallies.items() for what in tally.wrong]
    asked = sum(tally.asked for tally in tallies.values())
    if wrong or (not seconds and asked != len(work.jobs)):
        print(f"FAIL: {len(wrong)} wrong of {asked} answers, {len(work.jobs)} were due", *wrong[:10], sep="\n  ")
        return 1
    print(f"PASS: all {asked} labels equal the models run offline")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
