"""A program and a real engine: what is deployed from here answers there as it does here."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

import hydrofoil as foil

# Nothing an engine does in these tests takes this long; what does, hangs.
WATCHDOG_S = 60

FILE = """
import hydrofoil as foil

@foil.model(max_batch=8)
class Times:
    def load(self, ctx):
        self.factor = int(ctx.path("factor.txt").read_text())
        print("the factor is", self.factor, flush=True)

    def predict(self, x: foil.f32["n", 2]) -> foil.f32["n", 2]:
        return x * self.factor
"""


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """The state directory of an engine that runs as long as these tests."""
    state = tmp_path_factory.mktemp("state")
    programs = os.environ.get("FOIL_TEST_BIN") or Path(sys.executable).parent
    addresses = [it for flag in ("--http", "--grpc", "--metrics") for it in (flag, "127.0.0.1:0")]
    with open(state / "log", "w") as log:
        engine = subprocess.Popen(
            [Path(programs) / "foil", "serve", "--state", state, *addresses],
            env=os.environ | {"FOIL_PYTHON": sys.executable},
            stderr=log,
        )
    try:
        wait_until(lambda: (state / "admin.sock").exists() or engine.poll() is not None)
        assert engine.poll() is None, (state / "log").read_text()
        yield state
    finally:
        engine.terminate()
        engine.wait(WATCHDOG_S)


@pytest.fixture
def client(state):
    client = foil.connect(state=state)
    yield client
    for model in client.models():
        client.remove(model["name"])


def wait_until(done):
    end = time.monotonic() + WATCHDOG_S
    while not done():
        assert time.monotonic() < end, "watchdog"
        time.sleep(0.02)


def digits():
    x, y = load_digits(return_X_y=True)
    return x, RandomForestClassifier(10, random_state=0).fit(x, y)


def a_trained_classifier_answers_there_as_here(client):
    x, clf = digits()
    deployment = client.deploy("digits", clf, sample=x[:4])
    assert (deployment.version, deployment.checked) == (1, True)
    assert deployment.url.endswith("/v2/models/digits")
    # More rows than a batch takes, and integers where it was trained on floats.
    assert client.predict("digits", x.astype(np.int64)).tolist() == clf.predict(x).tolist()
    again = client.deploy("digits", clf, sample=x[:4], method="predict_proba", slo="50ms")
    assert np.allclose(client.predict("digits", x[:9]), clf.predict_proba(x[:9]))
    assert deployment.predict(x[:2]).tolist() == clf.predict(x[:2]).tolist()
    assert client.rollback("digits").version == 1
    assert client.predict("digits", x[:2]).shape == (2,)
    assert client.promote("digits", again.version).version == 2
    assert client.model("digits")["slo"] == "50ms"


def functions_bring_their_arrays_and_answer_by_name(client):
    weights = np.arange(6, dtype=np.float32).reshape(2, 3)

    def score(rows):
        return {"score": rows @ weights, "kind": ["big" if it.sum() > 3 else "small" for it in rows]}

    rows = np.array([[1, 2], [3, 4]], np.float32)
    deployment = client.deploy("score", score, sample=rows)
    answer = deployment.predict(rows)
    assert answer["score"].tolist() == (rows @ weights).tolist()
    assert answer["kind"].tolist() == ["small", "big"]


def a_function_that_answers_otherwise_there_never_gets_traffic(client, monkeypatch):
    import os

    monkeypatch.setenv("HYDROFOIL_TEST_OFFSET", "1")
    rows = np.array([1, 2])
    client.deploy("offset", lambda x: x, sample=rows)
    with pytest.raises(foil.DeployError) as caught:
        client.deploy("offset", lambda x: x + int(os.environ.get("HYDROFOIL_TEST_OFFSET", 5)), sample=rows)
    assert caught.value.version == 2
    assert client.predict("offset", rows).tolist() == [1, 2]
    assert client.model("offset")["active"] == 1


def a_file_is_deployed_with_what_lies_beside_it(client, tmp_path):
    (tmp_path / "times.py").write_text(FILE)
    (tmp_path / "factor.txt").write_text("3")
    with pytest.raises(foil.DeployError, match="files=.'factor.txt'.") as caught:
        client.deploy("times", tmp_path / "times.py")
    assert "FileNotFoundError" in caught.value.message
    said = []
    rows = np.ones((2, 2), np.float32)
    files = [tmp_path / "factor.txt"]
    client.deploy("times", tmp_path / "times.py", rows, files=files, hold=True, progress=said.append)
    assert any("times v2" in line for line in said)
    assert client.models()[0]["active"] is None
    client.promote("times", 2)
    assert client.predict("times", [[1, 2]]).tolist() == [[3, 6]]
    assert any("the factor is 3" in line for line in client.logs("times"))


def replicas_come_and_go_as_they_are_asked_for(client):
    client.deploy("same", lambda x: x, sample=np.array([1.0]), replicas=2)
    assert len(client.replicas("same")) == 2
    model = client.scale("same", (1, 3))
    assert (model["replicas"]["min"], model["replicas"]["max"]) == (1, 3)
    client.scale("same", 1)
    wait_until(lambda: len(client.replicas("same")) == 1)
    assert client.slo("same", "20ms")["slo"] == "20ms"
    assert client.slo("same", None)["slo"] is None


def what_is_not_there_is_told_by_its_status(client):
    for ask in (
        lambda: client.model("nobody"),
        lambda: client.predict("nobody", [1]),
        lambda: client.rollback("nobody"),
        lambda: client.remove("nobody"),
    ):
        with pytest.raises(foil.EngineError) as caught:
            ask()
        assert caught.value.status == 404


def a_name_that_is_none_is_refused_by_the_engine(client):
    x, clf = digits()
    with pytest.raises(foil.EngineError) as caught:
        client.deploy("../elsewhere", clf, sample=x[:1])
    assert caught.value.status == 400


def values_that_do_not_suit_the_model_are_refused_here(client):
    x, clf = digits()
    client.deploy("digits", clf, sample=x[:4])
    with pytest.raises(ValueError, match="convert it"):
        client.predict("digits", np.array([["a"] * 64]))
    with pytest.raises(ValueError, match="takes x"):
        client.predict("digits", {"y": x})
    with pytest.raises(foil.EngineError, match="shape") as caught:
        client.predict("digits", x[:2, :3])
    assert caught.value.status == 400


def other_versions_are_noticed_before_anything_is_sent(client, monkeypatch):
    x, clf = digits()
    monkeypatch.setattr("platform.python_version", lambda: "3.6.1")
    with pytest.raises(foil.VersionMismatch, match="3.6.1"):
        client.deploy("digits", clf, sample=x[:1])
    assert client.models() == []
    assert client.deploy("digits", clf, sample=x[:1], check_versions=False).version == 1


def without_an_engine_connecting_says_what_to_start(tmp_path):
    with pytest.raises(foil.EngineError, match="foil serve") as caught:
        foil.connect(state=tmp_path)
    assert caught.value.status is None
    with pytest.raises(foil.EngineError, match="http://host:port"):
        foil.connect("https://engine/path")
