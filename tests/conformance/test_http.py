"""Every call of `tritonclient.http`."""

import numpy as np
import pytest
import tritonclient.http as http
from inputs import check_simple, filled, simple
from tritonclient.utils import InferenceServerException


@pytest.fixture
def client(server):
    with http.InferenceServerClient(server.http, concurrency=4) as client:
        yield client


@pytest.fixture
def manager(admin):
    with http.InferenceServerClient(admin) as client:
        yield client


def test_health(client):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("simple") and client.is_model_ready("simple", "1")
    assert not client.is_model_ready("nobody")


def test_metadata(client):
    assert {"name", "version", "extensions"} <= client.get_server_metadata().keys()
    about = client.get_model_metadata("simple", "1")
    assert (about["name"], about["versions"]) == ("simple", ["1"])
    assert about["inputs"][0] == {"name": "INPUT0", "datatype": "INT32", "shape": [-1, 16]}


def test_config(client):
    config = client.get_model_config("simple")
    assert (config["name"], config["max_batch_size"]) == ("simple", 8)
    assert config["input"][0]["data_type"] == "TYPE_INT32" and config["input"][0]["dims"] == [16]
    assert client.get_model_config("repeat", "1")["model_transaction_policy"]["decoupled"]


def test_statistics(client):
    def counts():
        (of,) = client.get_inference_statistics("simple")["model_stats"]
        return of["inference_count"], of["inference_stats"]["success"]["count"]

    before = counts()
    check_simple(client.infer("simple", simple(http, 4)), 4)
    assert counts() == (before[0] + 4, before[1] + 1)
    names = {of["name"] for of in client.get_inference_statistics()["model_stats"]}
    assert {"simple", "text", "scores"} <= names


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("request_compression", [None, "gzip", "deflate"])
@pytest.mark.parametrize("response_compression", [None, "gzip", "deflate"])
def test_infer(client, binary, request_compression, response_compression):
    inputs = [http.InferInput(name, [2, 16], "INT32") for name in ("INPUT0", "INPUT1")]
    inputs[0].set_data_from_numpy(np.arange(32, dtype=np.int32).reshape(2, 16), binary_data=binary)
    inputs[1].set_data_from_numpy(np.ones((2, 16), dtype=np.int32), binary_data=binary)
    outputs = [http.InferRequestedOutput(name, binary_data=binary) for name in ("OUTPUT0", "OUTPUT1")]
    result = client.infer(
        "simple", inputs, outputs=outputs, request_id="seven", timeout=10_000_000, parameters={"mine": 7},
        request_compression_algorithm=request_compression, response_compression_algorithm=response_compression,
    )  # fmt: skip
    assert np.array_equal(result.as_numpy("OUTPUT0"), np.arange(32).reshape(2, 16) + 1)
    assert result.get_response()["id"] == "seven"


def test_async_infer(client):
    calls = [client.async_infer("simple", simple(http, rows)) for rows in (1, 2, 3, 8)]
    for rows, call in zip((1, 2, 3, 8), calls):
        check_simple(call.get_result(timeout=30), rows)


def test_texts(client):
    array = np.array([["a"], ["früh".encode()], [b"\x00\xff"]], dtype=np.object_)
    result = client.infer("text", [filled(http, "INPUT", array, "BYTES")])
    assert result.as_numpy("OUTPUT").tolist() == [[b"a"], ["früh".encode()], [b"\x00\xff"]]


def test_classification(client):
    scores = np.array([[0.1, 0.7, 0.15, 0.05]], dtype=np.float32)
    asked = http.InferRequestedOutput("OUTPUT", class_count=2)
    result = client.infer("scores", [filled(http, "INPUT", scores)], outputs=[asked])
    assert [entry.decode().split(":")[1] for entry in result.as_numpy("OUTPUT")[0]] == ["1", "2"]


def test_parsing_helpers(client, server):
    body, length = http.InferenceServerClient.generate_request_body(simple(http))
    import urllib.request

    request = urllib.request.Request(f"http://{server.http}/v2/models/simple/infer", body)
    request.add_header("Inference-Header-Content-Length", str(length))
    with urllib.request.urlopen(request, timeout=30) as answer:
        header = answer.headers.get("Inference-Header-Content-Length")
        result = http.InferenceServerClient.parse_response_body(answer.read(), header_length=header and int(header))
    check_simple(result)


def test_errors_have_words(client):
    with pytest.raises(InferenceServerException, match="nobody"):
        client.infer("nobody", simple(http))
    with pytest.raises(InferenceServerException, match="INPUT1"):
        client.infer("simple", simple(http)[:1])
    with pytest.raises(InferenceServerException, match="cannot do this"):
        client.infer("fails", [filled(http, "INPUT", np.ones((1, 1), np.int32))])


def test_repository(client, manager):
    assert {entry["name"] for entry in client.get_model_repository_index()} >= {"simple", "text"}
    manager.unload_model("text")
    assert not client.is_model_ready("text")
    with pytest.raises(InferenceServerException):
        client.infer("text", [filled(http, "INPUT", np.array([["a"]], dtype=np.object_), "BYTES")])
    manager.load_model("text")
    assert client.is_model_ready("text")
    with pytest.raises(InferenceServerException, match="nobody"):
        manager.load_model("nobody")


def test_settings(client, manager):
    assert client.get_log_settings().keys() >= {"log_info", "log_verbose_level"}
    assert manager.update_log_settings({"log_verbose_level": 1})["log_verbose_level"] == 1
    assert client.get_log_settings()["log_verbose_level"] == 1
    manager.update_log_settings({"log_verbose_level": 0})
    assert client.get_trace_settings()["trace_level"] == ["OFF"]
    assert manager.update_trace_settings("simple", {"trace_level": ["OFF"]})["trace_level"] == ["OFF"]
    manager.update_trace_settings("simple", {"trace_level": None})


def test_device_memory_is_refused_without_a_device(client):
    assert client.get_cuda_shared_memory_status() == []
    with pytest.raises(InferenceServerException):
        client.register_cuda_shared_memory("region", b"A" * 88, 0, 64)
    client.unregister_cuda_shared_memory()
