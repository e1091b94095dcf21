"""NVIDIA's own load generator, the C++ one of the wheel `tritonclient` 2.46, in the ways it can ask."""

import os
import subprocess
from pathlib import Path

import pytest

#: Its own limit on unstable runs is far below.
WATCHDOG_S = 120
#: At 5,000 requests a second, less than half of it.
LONG_WATCHDOG_S = 600
MILLION = 1_000_000
#: Short windows: what is tried here is the protocol, not the speed.
WINDOW = ["--measurement-interval", "400", "--stability-percentage", "1000", "--max-trials", "3"]


def analyzer() -> Path | None:
    path = os.environ.get("PERF_ANALYZER")
    return Path(path) if path else None


@pytest.fixture
def analyze(server, tmp_path):
    program = analyzer()
    if program is None:
        pytest.skip("no perf_analyzer: cargo xtask conformance installs it")

    def run(protocol: str, model: str, *flags: str, watchdog_s=WATCHDOG_S) -> str:
        address = server.http if protocol == "http" else server.grpc
        command = [str(program), "-m", model, "-i", protocol, "-u", address, *WINDOW, *flags]
        libraries = {**os.environ, "LD_LIBRARY_PATH": os.environ.get("PERF_ANALYZER_LIBRARIES", "")}
        ended = subprocess.run(command, capture_output=True, text=True, timeout=watchdog_s, cwd=tmp_path, env=libraries)
        said = ended.stdout + ended.stderr
        assert ended.returncode == 0, said
        assert "Throughput" in said and "Failed" not in said, said
        return said

    return run


WAYS = {
    "concurrency": ["--concurrency-range", "1:4:3"],
    "asynchronous": ["--concurrency-range", "8", "--async"],
    "constant rate": ["--request-rate-range", "200", "--request-distribution", "constant"],
    "poisson rate": ["--request-rate-range", "200", "--request-distribution", "poisson"],
    "percentile": ["--concurrency-range", "2", "--percentile", "99"],
    "count window": ["--concurrency-range", "2", "--measurement-mode", "count_windows", "--measurement-request-count", "50"],
    "binary search": ["--concurrency-range", "1:4", "--binary-search", "--latency-threshold", "500"],
    "shared memory": ["--concurrency-range", "2", "--shared-memory", "system", "--output-shared-memory-size", "4096"],
    "batches": ["--concurrency-range", "2", "-b", "4"],
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_ways_of_asking(analyze, protocol, way):
    said = analyze(protocol, "simple", *way)
    assert "Inferences/Second vs. Client" in said


def test_custom_intervals(analyze, tmp_path):
    intervals = tmp_path / "intervals.txt"
    intervals.write_text("\n".join(["5000", "10000"] * 20))
    analyze("http", "simple", "--request-intervals", str(intervals))


def test_streaming(analyze):
    analyze("grpc", "simple", "--streaming", "--concurrency-range", "2")
    analyze("grpc", "repeat", "--streaming", "--concurrency-range", "1", "--shape", "IN:3")


def test_metrics_are_collected(analyze, server):
    metrics = f"http://{server.metrics}/metrics"
    analyze("http", "simple", "--concurrency-range", "2", "--collect-metrics", "--metrics-url", metrics)


def test_the_servers_own_statistics_are_reported(analyze):
    said = analyze("http", "simple", "--concurrency-range", "2")
    assert "Server:" in said and "Request count" in said and "compute infer" in said


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_million_requests_without_an_error(analyze, request, protocol):
    if not request.config.getoption("--long"):
        pytest.skip("takes minutes: cargo xtask conformance --long")
    # It takes three windows for stable, whatever they show.
    counted = ["--measurement-mode", "count_windows", "--measurement-request-count", str(MILLION // 3 + 1)]
    said = analyze(protocol, "simple", "--concurrency-range", "16", "--async", *counted, watchdog_s=LONG_WATCHDOG_S)
    print(said)
