"""What is answered to `cases.py`: as on record, and as Triton answers but for what `differences.toml` defends."""

import fnmatch
import tomllib

import cases
import golden
import pytest

DEFENDED = tomllib.loads((golden.HERE / "differences.toml").read_text())["difference"]


def defence(case: str, path: str) -> str | None:
    for entry in DEFENDED:
        named = any(fnmatch.fnmatchcase(case, pattern) for pattern in entry["cases"])
        if named and any(fnmatch.fnmatchcase(path, pattern) for pattern in entry["fields"]):
            return entry["because"]
    return None


CASES = [f"http: {case.name}" for case in cases.HTTP] + [f"grpc: {case.name}" for case in cases.GRPC]


@pytest.mark.parametrize("case", cases.HTTP, ids=lambda case: case.name)
def test_answers_over_http_are_as_on_record(server, case):
    assert golden.ask(server.http, case) == golden.load(server.name)[f"http: {case.name}"]


@pytest.mark.parametrize("case", cases.GRPC, ids=lambda case: case.name)
def test_answers_over_grpc_are_as_on_record(server, case):
    assert golden.call(server.grpc, case) == golden.load(server.name)[f"grpc: {case.name}"]


@pytest.mark.parametrize("case", CASES)
def test_every_difference_from_triton_is_defended(case):
    found = golden.differences(golden.load("foil")[case], golden.load("triton")[case])
    assert not {path: pair for path, pair in found.items() if defence(case, path) is None}


def test_every_defence_is_needed():
    ours, theirs = golden.load("foil"), golden.load("triton")
    found = [(case, path) for case in ours for path in golden.differences(ours[case], theirs[case])]
    for entry in DEFENDED:
        fields = [(c, f) for c in entry["cases"] for f in entry["fields"]]
        used = any(fnmatch.fnmatchcase(case, c) and fnmatch.fnmatchcase(path, f) for case, path in found for c, f in fields)
        assert used, entry
