"""What is sent for a deployment, and what is refused before anything is sent."""

import json
import sys
import tarfile
import tomllib
import types

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import hydrofoil as foil
from hydrofoil.client import DeployError, VersionMismatch, _pickles, _versions
from hydrofoil.client._errors import failure
from hydrofoil.client._bundle import Bundle, of_directory, toml
from hydrofoil.client._sources import source_of
from hydrofoil.client._tensors import answer, fitted, request

X = np.arange(12, dtype=np.float64).reshape(6, 2)
Y = np.array([0, 0, 0, 1, 1, 1])

FILE = """
import hydrofoil as foil

@foil.model
class Twice:
    def load(self, ctx):
        self.factor = int(ctx.path("factor.txt").read_text())

    def predict(self, x: foil.f32["n", 2]) -> foil.f32["n", 2]:
        return x * self.factor
"""


def sent(source, name):
    return json.loads(source.bundle.files[name])


def written(source):
    return source.bundle.files["model.py"].decode()


@foil.model
def declared_here(x: foil.f32["n"]) -> foil.f32["n"]:
    return x + 1


def a_trained_object_is_annotated_by_its_sample_and_answer():
    clf = LogisticRegression().fit(X, Y)
    source = source_of(clf, X[:3], None, True)
    assert 'def predict(self, x: foil.f64["n", 2]) -> foil.i64["n"]:' in written(source)
    assert {"sklearn", "numpy"} <= source.modules
    assert sent(source, "sample.json")["inputs"][0]["shape"] == [3, 2]
    assert sent(source, "expected.json")["outputs"][0]["data"] == clf.predict(X[:3]).tolist()
    by_method = source_of(clf, X[:3], "predict_proba", True)
    assert '-> foil.f64["n", 2]' in written(by_method)
    assert "self.model.predict_proba(x)" in written(by_method)


def labels_that_are_words_travel_as_text():
    clf = LogisticRegression().fit(X, np.where(Y > 0, "dog", "cat"))
    source = source_of(clf, X[:2], None, True)
    assert '-> foil.str["n"]' in written(source)
    assert sent(source, "expected.json")["outputs"][0] == {
        "name": "output", "shape": [2], "datatype": "BYTES", "data": ["cat", "cat"]
    }


def a_closure_takes_along_what_it_refers_to():
    weights = np.ones((2, 3), np.float32)
    source = source_of(lambda rows: rows @ weights, X.astype(np.float32), None, True)
    assert 'rows: foil.f32["n", 2]) -> foil.f32["n", 3]' in written(source)
    assert source.modules == {"numpy", "cloudpickle"}


def several_inputs_and_outputs_keep_their_names():

    def both(a, *, b):
        return {"sum": a + b, "text": [str(it) for it in b]}

    source = source_of(both, {"a": [1, 2], "b": [3, 4]}, None, True)
    assert "self.model(a, b=b)" in written(source)
    outputs = {it["name"]: it["data"] for it in sent(source, "expected.json")["outputs"]}
    assert outputs == {"sum": [4, 6], "text": ["3", "4"]}


def a_module_beside_the_program_travels_by_value(tmp_path, monkeypatch):
    (tmp_path / "my_own_features.py").write_text("def twice(x):\n    return x * 2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import my_own_features

    pickled = _pickles.by_value(lambda x: my_own_features.twice(x))
    assert "my_own_features" not in pickled.modules
    monkeypatch.delitem(sys.modules, "my_own_features")
    monkeypatch.setattr(sys, "path", [it for it in sys.path if it != str(tmp_path)])
    import pickle

    assert pickle.loads(pickled.data)(4) == 8


def a_sample_that_fails_here_is_told_before_anything_is_sent():
    clf = LogisticRegression().fit(X, Y)
    with pytest.raises(DeployError, match="fails here already: ValueError") as caught:
        source_of(clf, np.ones((2, 5)), None, True)
    assert caught.value.fix and caught.value.version is None


@pytest.mark.parametrize(
    "sample, reason",
    [
        (None, "inputs are not known"),
        (np.float64(3), "has no rows"),
        (X[:0], "has no rows"),
        ([[1, "a"], [None, 2]], "all numbers, or all text"),
        (np.array([[np.nan, 1.0]]), "NaN"),
        ({"x": X, "y": X}, "takes x and the sample has x, y"),
    ],
)
def samples_that_can_not_be_sent_are_refused(sample, reason):
    with pytest.raises(DeployError, match=reason):
        source_of(LogisticRegression().fit(X, Y), sample, None, True)


def an_answer_without_a_row_for_each_is_refused():
    with pytest.raises(DeployError, match="must return a row for each"):
        source_of(lambda x: x.sum(), X, None, True)


def a_file_goes_with_its_class_and_runs_here_beside_its_files(tmp_path):
    (tmp_path / "twice.py").write_text(FILE)
    (tmp_path / "factor.txt").write_text("2")
    path = sys.path[:]
    source = source_of(str(tmp_path / "twice.py") + ":Twice", [[1, 2]], None, True)
    assert source.bundle.settings == {"entry": "twice.py:Twice"}
    assert sent(source, "expected.json")["outputs"][0]["data"] == [2, 4]
    assert sys.path == path
    (tmp_path / "factor.txt").unlink()
    with pytest.raises(DeployError, match="run_here=False"):
        source_of(tmp_path / "twice.py", [[1, 2]], None, True)
    source = source_of(tmp_path / "twice.py", [[1, 2]], None, False)
    assert source.bundle.files.keys() == {"twice.py", "sample.json"}


def a_file_that_can_not_be_imported_is_told_as_such(tmp_path):
    (tmp_path / "broken.py").write_text("import not_installed_here\n")
    with pytest.raises(DeployError, match="broken.py:1: ModuleNotFoundError") as caught:
        source_of(tmp_path / "broken.py", [[1]], None, False)
    assert "rows" not in caught.value.fix


def a_directory_goes_as_one_version_with_its_settings(tmp_path):
    model = tmp_path / "twice"
    (model / "3").mkdir(parents=True)
    (model / "10" / "__pycache__").mkdir(parents=True)
    (model / "10" / "model.py").write_text(FILE)
    (model / "10" / "factor.txt").write_text("3")
    (model / "labels.txt").write_text("a")
    (model / "model.toml").write_text('max_batch = 4\n[env]\nA = "1"\n')
    source = source_of(model, [[1.0, 2.0]], None, True)
    assert source.bundle.settings == {"max_batch": 4, "env": {"A": "1"}}
    assert source.bundle.files.keys() - {"sample.json", "expected.json"} == {
        "model.py", "factor.txt", "labels.txt"
    }
    assert sent(source, "expected.json")["outputs"][0]["data"] == [3, 6]
    with pytest.raises(DeployError, match="no Python file and no directory"):
        source_of(tmp_path / "nowhere", None, None, True)


def a_declared_model_goes_as_its_file_or_by_value_from_the_main_program():
    source = source_of(declared_here, [1, 2], None, True)
    assert source.bundle.settings == {"entry": "test_client_parts.py:declared_here"}
    assert sent(source, "expected.json")["outputs"][0]["data"] == [2, 3]
    main = types.FunctionType(declared_here.__code__, globals(), "in_main")
    main.__module__ = "__main__"
    main.__annotations__ = declared_here.__annotations__
    source = source_of(foil.model(main), [1, 2], None, True)
    assert source.bundle.settings == {"entry": "model.py:in_main"}
    assert source.bundle.files.keys() >= {"model.py", "model.pickle", "expected.json"}


@foil.model
def scaled(by: foil.f32, x: foil.u8["k"]) -> foil.f32["k"]:
    return by * x


def a_declared_models_sample_is_fitted_as_predict_fits():
    source = source_of(scaled, {"by": 2, "x": [1, 2]}, None, True)
    assert [it["shape"] for it in sent(source, "sample.json")["inputs"]] == [[], [2]]
    assert sent(source, "expected.json")["outputs"][0]["data"] == [2, 4]
    for by, x, reason in (2, [300], "convert it"), (2, [[1], [1, 2]], "can't be sent"), (np.nan, [1], "NaN"):
        with pytest.raises(DeployError, match=reason):
            source_of(scaled, {"by": by, "x": x}, None, True)


def an_archive_holds_the_files_and_the_settings_and_is_always_the_same(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "w.bin").write_bytes(b"12345")
    (tmp_path / "weights" / ".git").mkdir()
    bundle = Bundle({"model.py": b"x = 1"}, {"max_batch": 4, "check": {"rtol": 0.1}})
    bundle.add(tmp_path / "weights")
    archive, size = bundle.archive()
    data = archive.read()
    assert len(data) == size and bundle.archive()[0].read() == data
    archive.seek(0)
    with tarfile.open(fileobj=archive) as tar:
        assert tar.getnames() == ["model.py", "model.toml", "weights/w.bin"]
        settings = tomllib.loads(tar.extractfile("model.toml").read().decode())
    assert settings == {"max_batch": 4, "check": {"rtol": 0.1}}
    with pytest.raises(DeployError, match="two files would be model.py"):
        bundle.put("model.py", b"")


def settings_survive_the_way_through_toml():
    table = {
        "a key": 'quote " and \\ and \n and ü',
        "n": 1,
        "f": 1e-9,
        "flag": True,
        "list": [1, {"name": "gpu", "cpus": [0, 1]}],
        "env": {"A.B": "x", "C": ""},
    }
    assert tomllib.loads(toml(table)) == table


def a_repository_needs_no_settings(tmp_path):
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "model.py").write_text(FILE)
    assert of_directory(tmp_path / "m" / "1").files.keys() == {"model.py"}
    assert of_directory(tmp_path / "m").files.keys() == {"model.py"}


def runtime(python=None, **libraries):
    python = python or f"{sys.version_info.major}.{sys.version_info.minor}.99"
    here = _versions.needed(["numpy", "sklearn"])
    return {"python": python, "libraries": here | libraries}


def the_same_versions_and_later_patches_pass():
    _versions.check(["numpy", "sklearn"], runtime())
    _versions.check(["numpy"], {"python": None, "libraries": None})
    major = np.__version__.split(".")[0]
    _versions.check(["numpy"], runtime(numpy=f"{major}.99.0"))


@pytest.mark.parametrize(
    "there, package",
    [
        (runtime(python="3.6.1"), "python"),
        (runtime(numpy="1.0.0"), "numpy"),
        (runtime(**{"scikit-learn": "1.0.2"}), "scikit-learn"),
    ],
)
def other_versions_are_refused_with_both_and_a_fix(there, package):
    with pytest.raises(VersionMismatch) as caught:
        _versions.check(["numpy", "sklearn"], there)
    error = caught.value
    assert error.package == package
    assert error.here in str(error) and error.there in str(error)
    assert "check_versions=False" in error.fix


def a_library_that_is_missing_is_named_with_its_version():
    there = runtime()
    del there["libraries"]["scikit-learn"]
    with pytest.raises(VersionMismatch, match="pip install scikit-learn==") as caught:
        _versions.check(["sklearn"], there)
    assert caught.value.there is None
    with pytest.raises(VersionMismatch, match='image="hydrofoil/sklearn:'):
        _versions.check(["sklearn"], there, in_docker=True)


def tensors_survive_the_way_there_and_back():
    arrays = {
        "f": np.array([[1.5, np.inf]]),
        "b": np.array([True, False]),
        "s": np.array(["a", "", "ü€"], object),
        "raw": np.array([b"\xff", b""], object),
    }
    datatypes = {"f": "FP64", "b": "BOOL", "s": "BYTES", "raw": "BYTES"}
    body, headers = request(arrays, datatypes)
    length = int(headers["Inference-Header-Content-Length"])
    head = json.loads(body[:length])
    head = json.dumps({"outputs": head["inputs"]}).encode()
    back = answer(head + body[length:], str(len(head)))
    for name, array in arrays.items():
        assert back[name].tolist() == array.tolist(), name


def values_are_fitted_to_the_model_as_long_as_they_stay_what_they_are():
    assert fitted("x", [1, 2], "FP32").dtype == np.float32
    assert fitted("x", [1, 2], "INT32").dtype == np.int32
    assert fitted("x", np.ones(2), "FP32").dtype == np.float32
    for value, datatype in ([1.5], "INT64"), ([300], "UINT8"), (["a"], "FP32"), ([1], "BYTES"):
        with pytest.raises(ValueError, match="convert it"):
            fitted("x", value, datatype)


def a_failure_is_told_once_with_what_to_send_along():
    error = "FileNotFoundError: No such file or directory: 'w/a.npy'\n  File model.py"
    told = failure("m", {"version": 2, "error": error, "output": error + "\nmore\n"})
    assert (told.version, told.fix) == (2, "w/a.npy is not part of the deployment: send it along by files=['w/a.npy']")
    assert str(told).count("File model.py") == 1 and "  | more" in str(told)
    plain = failure("m", {"error": "no", "output": None, "cause": "c", "fix": "f"})
    assert str(plain) == "m failed: no\nprobable cause: c\nfix: f"
