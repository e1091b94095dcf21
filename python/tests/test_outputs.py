"""Outputs against their declaration, lifted functions, and what a failure tells."""

import numpy as np
import pytest

import hydrofoil as foil
from hydrofoil._calls import batch_call
from hydrofoil._errors import BadOutput, stderr_text, summary
from hydrofoil._model import definition_of
from hydrofoil._outputs import converter


def convert(annotation, value, rows=2):
    def predict(x: foil.f32["n"]): ...

    predict.__annotations__["return"] = annotation
    return converter(definition_of(foil.model(predict)))(value, rows)


def an_array_as_declared_passes_untouched():
    value = np.zeros((2, 3), np.float32)
    [(shape, ready)] = convert(foil.f32["n", 3], value)
    assert shape == (2, 3)
    assert ready is value


@pytest.mark.parametrize(
    "dtype, value",
    [
        (foil.i64, np.array([1, 2], np.int32)),
        (foil.i32, np.array([1, 2], np.int64)),
        (foil.u8, [1, 255]),
        (foil.f32, np.array([1.5, 2.5], np.float64)),
        (foil.f64, np.array([1, 2], np.int64)),
        (foil.f32, np.array([1, 2], ">f4")),
        (foil.u8, np.array([True, False])),
        (foil.bool, [True, False]),
        (foil.f16, [1.0, 2.0]),
    ],
)
def values_that_survive_are_converted(dtype, value):
    [(_, ready)] = convert(dtype["n"], value)
    assert ready.dtype == dtype.numpy
    assert ready.dtype.isnative
    assert ready.tolist() == list(value)


@pytest.mark.parametrize(
    "dtype, value, reason",
    [
        (foil.i64, [1.0, 2.0], "'output' has dtype float64, expected i64"),
        (foil.f32, ["a", "b"], "expected f32"),
        (foil.f32, [1j, 2j], "expected f32"),
        (foil.u8, [1, 256], "that u8 can't hold"),
        (foil.u64, [-1, 2], "that u64 can't hold"),
        (foil.bool, [0, 1], "expected bool"),
        (foil.str, np.array([1, 2]), "has dtype int64, expected str"),
        (foil.f32, None, "is nothing"),
        (foil.f32, {"a": 1}, "is a dict"),
        (foil.f32, [[1.0], [1.0, 2.0]], "is no array"),
        (foil.f32, [1.0], "has 1 rows, the batch has 2"),
        (foil.f32, 1.0, r"has shape \[\], expected \[2\]"),
        (foil.f32, [[1.0], [2.0]], r"has shape \[2, 1\], expected \[2\]"),
    ],
)
def what_does_not_fit_is_said(dtype, value, reason):
    with pytest.raises(BadOutput, match=reason):
        convert(dtype["n"], value)


def a_fixed_dimension_is_checked_and_a_variable_one_is_not():
    assert convert(foil.f32["n", "k"], np.zeros((2, 7), np.float32))[0][0] == (2, 7)
    with pytest.raises(BadOutput, match=r"shape \[2, 4\], expected \[2, 3\]"):
        convert(foil.f32["n", 3], np.zeros((2, 4), np.float32))


def texts_become_a_flat_list():
    value = np.array([["a", "b"], ["c", "ü"]])
    assert convert(foil.str["n", 2], value) == [((2, 2), ["a", "b", "c", "ü"])]
    assert convert(foil.bytes["n"], [b"a\0", b""]) == [((2,), [b"a\0", b""])]


def a_dict_must_hold_the_declared_names():
    annotation = {"a": foil.i64["n"], "b": foil.i64["n"]}
    ready = convert(annotation, {"b": [3, 4], "a": [1, 2]})
    assert [array.tolist() for _, array in ready] == [[1, 2], [3, 4]]
    for value, reason in [
        ({"a": [1, 2]}, "no output 'b'"),
        ({"a": [1, 2], "b": [1, 2], "c": 1}, "'c', which its annotation"),
        ([1, 2], "a list, expected a dict"),
    ]:
        with pytest.raises(BadOutput, match=reason):
            convert(annotation, value)


def run(function, *inputs, **settings):
    definition = definition_of(foil.model(**settings)(function))
    return converter(definition)(batch_call(definition, function)(*inputs), len(inputs[0]))


def a_lifted_function_sees_one_item_at_a_time():
    def item(x: foil.f32[2], name: foil.str) -> {"sum": foil.f32, "text": foil.str}:
        assert x.shape == (2,)
        return {"sum": x.sum(), "text": name.upper()}

    names = np.array(["a", "b"], dtype=object)
    (_, total), (_, text) = run(item, np.ones((2, 2), np.float32), names, batch=False)
    assert total.tolist() == [2.0, 2.0]
    assert text == ["A", "B"]


def an_input_error_of_a_lifted_function_names_its_row():
    def item(x: foil.f32) -> foil.f32:
        if x < 0:
            raise foil.InputError("negative")
        return x

    with pytest.raises(foil.InputError, match="negative") as raised:
        run(item, np.array([1, 2, -1], np.float32), batch=False)
    assert raised.value.row == 2


def a_lifted_function_that_forgets_an_output_is_told():
    def item(x: foil.f32) -> {"a": foil.f32, "b": foil.f32}:
        return {"a": x}

    with pytest.raises(BadOutput, match="no output 'b'"):
        run(item, np.ones(2, np.float32), batch=False)


def keyword_only_inputs_are_given_by_name():
    def both(a: foil.f32["n"], *, b: foil.f32["n"]) -> foil.f32["n"]:
        return a - b

    [(_, ready)] = run(both, np.ones(2, np.float32), np.zeros(2, np.float32))
    assert ready.tolist() == [1.0, 1.0]


def a_failure_tells_type_and_text_but_no_path():
    assert summary(ValueError("too long")) == "ValueError: too long"
    assert summary(KeyError()) == "KeyError"
    assert len(summary(ValueError("x" * 100_000))) < 10_000


def a_runaway_recursion_has_a_bounded_traceback():
    def again():
        again()

    with pytest.raises(RecursionError) as raised:
        again()
    assert len(stderr_text(raised.value)) < 10_000
