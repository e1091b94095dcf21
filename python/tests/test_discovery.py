"""From FILE[:Class] to one model, and what a failing file reports."""

import pytest

from hydrofoil import ModelError
from hydrofoil._discover import discover
from hydrofoil._errors import report

ONE = """
import hydrofoil as foil

@foil.model
class One:
    def predict(self, x: foil.f32["n"]) -> foil.f32["n"]:
        return x
"""
TWO = ONE + ONE.replace("One", "Two")


@pytest.fixture
def file(tmp_path, monkeypatch, request):
    monkeypatch.setattr("sys.path", list(__import__("sys").path))

    def write(source, name=f"model_{abs(hash(request.node.name))}.py"):
        path = tmp_path / name
        path.write_text(source)
        return path

    return write


def the_only_model_is_found(file):
    path = file(ONE)
    definition, found = discover(str(path))
    assert (definition.name, found) == ("one", path)


def a_model_is_found_by_name(file):
    assert discover(f"{file(TWO)}:Two")[0].name == "two"


def several_models_need_a_name(file):
    with pytest.raises(ModelError, match="several models in it .One, Two."):
        discover(str(file(TWO)))


def modules_beside_the_file_can_be_imported(file):
    file(ONE, "beside_the_model.py")
    path = file("from beside_the_model import One\n")
    assert discover(f"{path}:One")[0].name == "one"
    with pytest.raises(ModelError, match="no model in it"):
        discover(str(path))


@pytest.mark.parametrize(
    "source, target, reason",
    [
        ("x = 1\n", "", "no model in it"),
        (ONE, ":Other", "there is no Other"),
        ("\nclass Plain: ...\n", ":Plain", r":2: Plain is not a model: decorate it"),
    ],
)
def what_is_missing_is_said_with_file_and_line(file, source, target, reason):
    with pytest.raises(ModelError, match=reason):
        discover(f"{file(source)}{target}")


def a_missing_file_is_said():
    with pytest.raises(ModelError, match="there is no file"):
        discover("/nowhere/model.py")


@pytest.mark.parametrize(
    "source, place, reason",
    [
        ("import os\nimport no_such_module_here\n", 2, "ModuleNotFoundError: No module named"),
        ("x = 1\ndef (\n", 2, "SyntaxError"),
        (ONE.replace('["n"]', '["n", 1.5]', 1), 6, "1.5 is no dimension"),
        (ONE.replace("foil.model", 'foil.model(slo="soon")'), 4, "slo is 'soon'"),
        (ONE.replace('foil.f32["n"])', "int)"), 6, "is no tensor"),
    ],
)
def a_failing_import_reports_reason_file_and_line(file, source, place, reason):
    path = file(source)
    with pytest.raises(Exception) as raised:
        discover(str(path))
    text = report(raised.value)
    assert text.startswith(f"{path}:{place}: ")
    assert reason in text
    assert "hydrofoil/" not in text


def an_error_inside_a_library_is_placed_where_the_model_called_it(file):
    path = file("from pathlib import Path\n\nWEIGHTS = Path('/nowhere/w.npy').read_bytes()\n")
    with pytest.raises(FileNotFoundError) as raised:
        discover(str(path))
    text = report(raised.value)
    assert text.startswith(f"{path}:3: FileNotFoundError: ")
    assert "read_bytes" in text
