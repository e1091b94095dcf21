"""MLPerf's own LoadGen driving an HTTP server, for `foil-bench prove` to compare with.

    python loadgen.py HOST PORT SingleStream|Server SECONDS RATE

One JSON object on the last line: LoadGen's percentiles, and what of them was the HTTP exchange as this program saw it.
"""

import json
import queue
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

import mlperf_loadgen as loadgen

THREADS = 64
SAMPLES = 64
TIMEOUT_S = 30


def main():
    host, port, scenario, seconds, rate = sys.argv[1:6]
    pool = Pool(host, int(port))
    with tempfile.TemporaryDirectory() as folder:
        play(pool, scenario, float(seconds), float(rate), folder)
        summary = (Path(folder) / "mlperf_log_summary.txt").read_text()
    print(json.dumps({**read(summary), **pool.seen()}))


class Pool:
    """A thread and a connection for each exchange that is under way."""

    def __init__(self, host, port):
        self.address = (host, port)
        self.request = f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
        self.waiting = queue.SimpleQueue()
        self.exchanges_ns = []
        ready = threading.Barrier(THREADS + 1, timeout=TIMEOUT_S)
        for _ in range(THREADS):
            threading.Thread(target=self.work, args=[ready], daemon=True).start()
        ready.wait()

    def work(self, ready):
        connection = socket.create_connection(self.address, TIMEOUT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ready.wait()
        while True:
            samples = self.waiting.get()
            start_ns = time.perf_counter_ns()
            connection.sendall(self.request)
            receive(connection)
            self.exchanges_ns.append(time.perf_counter_ns() - start_ns)
            done = [loadgen.QuerySampleResponse(sample, 0, 0) for sample in samples]
            loadgen.QuerySamplesComplete(done)

    def seen(self):
        took_ns = sorted(self.exchanges_ns)
        at = lambda share: took_ns[int(len(took_ns) * share)] / 1e6
        return {"exchange_p50_ms": at(0.5), "exchange_p90_ms": at(0.9), "exchange_p99_ms": at(0.99)}


def receive(connection):
    """Reads one answer; the server says how long it is."""
    received = b""
    while True:
        chunk = connection.recv(65536)
        if not chunk:
            raise ConnectionError("the server closed the connection")
        received += chunk
        head, end, body = received.partition(b"\r\n\r\n")
        if end:
            fields = (line.partition(b":") for line in head.split(b"\r\n")[1:])
            lengths = [int(value) for name, _, value in fields if name.lower() == b"content-length"]
            if len(body) >= (lengths[0] if lengths else 0):
                return


def play(pool, scenario, seconds, rate, folder):
    settings = loadgen.TestSettings()
    settings.scenario = getattr(loadgen.TestScenario, scenario)
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = int(seconds * 1e3)
    settings.min_query_count = 100
    settings.server_target_qps = rate
    settings.server_target_latency_ns = 10**9
    settings.single_stream_expected_latency_ns = int(1e9 / rate)
    # The seeds of mlperf.conf.
    settings.qsl_rng_seed = 2085463073848966840
    settings.sample_index_rng_seed = 2747215439041700203
    settings.schedule_rng_seed = 16159082839903944936
    log = loadgen.LogSettings()
    log.log_output = loadgen.LogOutputSettings()
    log.log_output.outdir = folder
    system = loadgen.ConstructSUT(lambda query: pool.waiting.put([one.id for one in query]), lambda: None)
    library = loadgen.ConstructQSL(SAMPLES, SAMPLES, lambda _: None, lambda _: None)
    loadgen.StartTestWithLogSettings(system, library, settings, log)
    loadgen.DestroyQSL(library)
    loadgen.DestroySUT(system)


def read(summary):
    """Of LoadGen's summary: nanoseconds become milliseconds."""

    def after(start, default=None):
        found = [line for line in summary.splitlines() if line.strip(" *").startswith(start)]
        return found[0].partition(start)[2].strip(" :").split()[0] if found else default

    told = {f"p{n}_ms": int(after(f"{n}.00 percentile latency (ns)")) / 1e6 for n in (50, 90, 99)}
    told["valid"] = after("Result is") == "VALID"
    told["queries"] = int(after("Processed at least 64 queries", "(0)").strip("()."))
    told["discarded"] = int(after("Would discard", 0))
    told["estimate_ms"] = int(after("Early stopping 90.0th percentile estimate", 0)) / 1e6
    return told


if __name__ == "__main__":
    main()
