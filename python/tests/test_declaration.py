"""What a model author writes: annotations, settings, and the errors about them."""

import numpy as np
import pytest

import hydrofoil as foil
from hydrofoil._model import definition_of, parse_duration_us, snake_case


def raises(match):
    return pytest.raises(foil.ModelError, match=match)


def a_dtype_with_dimensions_is_a_tensor():
    tensor = foil.f32["n", 64]
    assert (tensor.dtype.name, tensor.dims, tensor.batched) == ("f32", ("n", 64), True)
    assert repr(tensor) == 'foil.f32["n", 64]'


def every_dtype_is_public_and_names_its_numpy_type():
    names = "bool u8 u16 u32 u64 i8 i16 i32 i64 f16 f32 f64 bytes str".split()
    assert [getattr(foil, name).name for name in names] == names
    assert foil.f16.numpy == np.float16
    assert foil.str.numpy == object


@pytest.mark.parametrize("dim", [-1, 1.5, "", True, None])
def a_dimension_that_is_none_is_refused(dim):
    with raises("is no dimension of foil.f32"):
        foil.f32["n", dim]


def the_batch_dimension_comes_first():
    with raises("must come first"):
        foil.f32[64, "n"]


def more_dimensions_than_a_header_carries_are_refused():
    with raises("at most 8"):
        foil.f32[(1,) * 9]


def a_class_is_returned_as_it_was_with_its_declaration():
    @foil.model(max_batch=8, slo="20ms", replicas=2, late="shed", batch_timeout="1.5s")
    class MyDigits:
        def predict(self, x: foil.f32["n", 64]) -> foil.i64["n"]:
            return x

    it = definition_of(MyDigits)
    assert it.name == "my_digits"
    assert it.inputs == {"x": foil.f32["n", 64]}
    assert it.outputs == {"output": foil.i64["n"]}
    assert (it.settings.max_batch, it.settings.slo_us, it.settings.replicas) == (8, 20_000, 2)
    assert (it.settings.late, it.settings.batch_timeout_us) == ("shed", 1_500_000)
    assert it.batched


def a_bare_decorator_on_a_function_uses_the_defaults():
    @foil.model
    def twice(a: foil.f64["n"], b: foil.str["n", "k"]) -> {"c": foil.f64["n"], "d": foil.u8["n", 2]}:
        return a

    it = definition_of(twice)
    assert list(it.inputs) == ["a", "b"]
    assert list(it.outputs) == ["c", "d"]
    assert it.settings.slo_us is None


def a_subclass_does_not_inherit_the_declaration():
    @foil.model
    class Base:
        def predict(self, x: foil.f32["n"]) -> foil.f32["n"]:
            return x

    assert definition_of(type("Derived", (Base,), {})) is None


def annotations_as_text_are_read():
    @foil.model
    def later(x: 'foil.f32["n"]') -> "{'y': foil.f32['n']}":
        return x

    assert list(definition_of(later).outputs) == ["y"]


def a_model_without_n_is_unbatched():
    @foil.model
    def trace(matrix: foil.f32["k", "k"]) -> foil.f32[1]:
        return matrix

    assert not definition_of(trace).batched


def a_lifted_function_gets_a_batch_dimension():
    @foil.model(batch=False)
    def item(x: foil.f32[4], y: foil.str) -> foil.f32:
        return x

    it = definition_of(item)
    assert it.inputs == {"x": foil.f32["n", 4], "y": foil.str["n"]}
    assert it.outputs == {"output": foil.f32["n"]}


@pytest.mark.parametrize(
    "settings, reason",
    [
        ({"max_batch": 0}, "max_batch is 0, use an integer from 1"),
        ({"max_batch": True}, "max_batch is True"),
        ({"replicas": 2.0}, "replicas is 2.0"),
        ({"slo": 20}, "slo is 20, use a duration"),
        ({"slo": "0ms"}, "longer than zero"),
        ({"batch_timeout": "1h"}, "batch_timeout is '1h'"),
        ({"late": "never"}, 'use "serve" or "shed"'),
        ({"batch": "no"}, "use True or False"),
    ],
)
def a_wrong_setting_names_file_and_line(settings, reason):
    with raises(reason) as raised:
        foil.model(**settings)
    assert raised.value.file == __file__
    assert raised.value.line > 0


def wrong_signatures_name_the_reason_and_the_line_of_predict():
    def missing(x) -> foil.f32["n"]: ...
    def not_a_tensor(x: int) -> foil.f32["n"]: ...
    def no_return(x: foil.f32["n"]): ...
    def mixed(x: foil.f32["n"], y: foil.f32[3]) -> foil.f32["n"]: ...
    def star(*x: foil.f32["n"]) -> foil.f32["n"]: ...
    def nothing() -> foil.f32["n"]: ...
    def unknown(x: "foil.f31['n']") -> foil.f32["n"]: ...
    async def asynchronous(x: foil.f32["n"]) -> foil.f32["n"]: ...

    for function, reason in [
        (missing, "'x' has no annotation"),
        (not_a_tensor, "is no tensor"),
        (no_return, "no return annotation"),
        (mixed, "'y' lacks the batch dimension"),
        (star, "names no tensor"),
        (nothing, "0 inputs"),
        (unknown, "can't be read"),
        (asynchronous, "async"),
    ]:
        with raises(reason) as raised:
            foil.model(function)
        assert raised.value.line == function.__code__.co_firstlineno


def padding_is_declared_where_there_is_something_to_pad():
    def rows(x: foil.i64["n", "t"], mask: foil.bool["n", "t"]) -> foil.i64["n"]: ...
    def fixed(x: foil.i64["n", 4]) -> foil.i64["n"]: ...
    def texts(x: foil.i64["n", "t"], name: foil.str["n"]) -> foil.i64["n"]: ...
    def one(x: foil.i64["t"]) -> foil.i64: ...

    assert definition_of(foil.model(rows, pad=True)).settings.pad
    assert not definition_of(foil.model(rows)).settings.pad
    for function, reason in [
        (fixed, "inputs of variable size"),
        (texts, "'name' is foil.str"),
        (one, "'x' has none"),
    ]:
        with raises(reason) as raised:
            foil.model(function, pad=True)
        assert raised.value.line == function.__code__.co_firstlineno
    with raises("pad=True with batch=False"):
        foil.model(one, pad=True, batch=False)
    with raises("pad is 1, use True or False"):
        foil.model(pad=1)


def a_class_without_predict_is_refused():
    with raises("has no method predict"):
        foil.model(type("Empty", (), {}))


def durations_are_read_in_microseconds():
    assert [parse_duration_us("slo", it) for it in ("7us", "20ms", "0.5s")] == [7, 20_000, 500_000]


def names_become_snake_case():
    names = ["Digits", "XGBoostModel", "sum", "MyModel2"]
    assert [snake_case(it) for it in names] == ["digits", "xg_boost_model", "sum", "my_model2"]


def settings_of_the_engine_replace_the_decorators():
    @foil.model(max_batch=8, slo="20ms")
    def twice(x: foil.f64["n"]) -> foil.f64["n"]:
        return x

    merged = definition_of(twice).settings.merged({"max_batch": 16})
    assert (merged.max_batch, merged.slo_us) == (16, 20_000)
    with raises("unknown setting 'max_batches'"):
        merged.merged({"max_batches": 1})


def the_example_in_the_package_documentation_is_a_model():
    source = foil.__doc__.split("\n\n", 1)[1].split("Annotations declare")[0]
    names = {"__name__": __name__}
    exec("if True:\n" + source, names)
    assert definition_of(names["Digits"]).settings.max_batch == 64


def a_predict_that_yields_answers_in_parts_one_request_at_a_time():
    @foil.model
    def words(text: foil.str[1]) -> foil.str[1]:
        yield text

    @foil.model(max_batch=3)
    class Rows:
        def predict(self, x: foil.f32["n"]) -> foil.f32["n"]:
            yield x

    definitions = [definition_of(words), definition_of(Rows)]
    assert [(it.decoupled, it.settings.max_batch) for it in definitions] == [(True, 1), (True, 3)]


def one_that_returns_does_not():
    @foil.model
    def whole(x: foil.f32["n"]) -> foil.f32["n"]:
        return x

    assert not definition_of(whole).decoupled
    assert definition_of(whole).settings.max_batch == 64


@pytest.mark.parametrize("setting, reason", [("batch", "batch=False"), ("pad", "pad=True")])
def what_means_nothing_for_parts_is_refused(setting, reason):
    with raises(reason):

        @foil.model(**{setting: setting == "pad"})
        def parts(x: foil.f32["n", "t"]) -> foil.f32["n", "t"]:
            yield x
