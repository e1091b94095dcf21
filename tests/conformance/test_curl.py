"""curl, in the ways people and scripts use it."""

import gzip
import json
import subprocess

import cases
import pytest

WATCHDOG_S = 60


@pytest.fixture
def curl(server, tmp_path):
    def run(path: str, *flags: str, body: bytes | None = None) -> tuple[int, bytes]:
        command = ["curl", "-sS", "-o", "-", "-w", "\n%{http_code}", f"http://{server.http}{path}", *flags]
        if body is not None:
            (tmp_path / "body").write_bytes(body)
            command += ["--data-binary", f"@{tmp_path / 'body'}"]
        out = subprocess.run(command, check=True, capture_output=True, timeout=WATCHDOG_S).stdout
        said, status = out.rsplit(b"\n", 1)
        return int(status), said

    return run


INFER = "/v2/models/simple/infer"
QUESTION = json.dumps(cases.simple()).encode()


def check(status: int, said: bytes) -> None:
    assert status == 200, said
    assert json.loads(said)["outputs"][0]["data"] == [number + 1 for number in cases.ROW]


def test_json(curl):
    check(*curl(INFER, body=QUESTION))


def test_a_form_is_json_all_the_same(curl):
    check(*curl(INFER, "-H", "Content-Type: application/x-www-form-urlencoded", body=QUESTION))


def test_chunked(curl):
    check(*curl(INFER, "-H", "Transfer-Encoding: chunked", body=QUESTION))


def test_a_large_body_waits_for_leave(curl):
    padded = json.dumps({**cases.simple(), "parameters": {"padding": "x" * 2_000_000}}).encode()
    check(*curl(INFER, "-H", "Expect: 100-continue", body=padded))


def test_compressed_both_ways(curl):
    check(*curl(INFER, "-H", "Content-Encoding: gzip", "--compressed", body=gzip.compress(QUESTION)))


def test_head(curl, server):
    if server.name == "triton":
        pytest.skip("Triton answers 405")
    status, said = curl("/v2/models/simple", "-I")
    assert status == 200 and b"content-length" in said.lower()


def test_http2_with_prior_knowledge(curl, server):
    if server.name == "triton":
        pytest.skip("Triton speaks HTTP/1.1 only")
    check(*curl(INFER, "--http2-prior-knowledge", body=QUESTION))


def test_generate(curl):
    status, said = curl("/v2/models/slow/generate", body=json.dumps({"DELAY_MS": 1}).encode())
    assert (status, json.loads(said)["OUTPUT"]) == (200, 1)


def test_generate_stream(curl):
    status, said = curl("/v2/models/repeat/generate_stream", body=json.dumps({"IN": [4, 5]}).encode())
    events = [json.loads(line[len("data: ") :]) for line in said.decode().splitlines() if line.startswith("data: ")]
    assert status == 200
    assert [event["OUT"] for event in events if "OUT" in event] == [4, 5]
