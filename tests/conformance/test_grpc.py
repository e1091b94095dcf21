"""Every call of `tritonclient.grpc`."""

import queue

import numpy as np
import pytest
import tritonclient.grpc as grpc
from inputs import check_simple, filled, simple
from tritonclient.utils import InferenceServerException

WAIT_S = 30


@pytest.fixture
def client(server):
    with grpc.InferenceServerClient(server.grpc) as client:
        yield client


def test_health(client):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("simple") and client.is_model_ready("simple", "1")
    assert not client.is_model_ready("nobody")


def test_metadata(client):
    assert client.get_server_metadata().extensions
    about = client.get_model_metadata("simple", as_json=True)
    assert about["inputs"][0] == {"name": "INPUT0", "datatype": "INT32", "shape": ["-1", "16"]}


def test_config(client):
    config = client.get_model_config("simple").config
    assert (config.name, config.max_batch_size, list(config.input[0].dims)) == ("simple", 8, [16])
    assert client.get_model_config("repeat").config.model_transaction_policy.decoupled


def test_statistics(client):
    def count():
        return client.get_inference_statistics("simple").model_stats[0].inference_count

    before = count()
    check_simple(client.infer("simple", simple(grpc, 4)), 4)
    assert count() == before + 4


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_infer(client, compression):
    outputs = [grpc.InferRequestedOutput("OUTPUT0"), grpc.InferRequestedOutput("OUTPUT1")]
    result = client.infer(
        "simple", simple(grpc, 2), outputs=outputs, request_id="seven", client_timeout=WAIT_S,
        timeout=10_000_000, parameters={"mine": 7, "text": "a", "flag": True}, compression_algorithm=compression,
    )  # fmt: skip
    check_simple(result, 2)
    assert result.get_response().id == "seven"
    assert [output.name for output in result.get_response().outputs] == ["OUTPUT0", "OUTPUT1"]


def test_async_infer(client):
    answers = queue.Queue()
    for rows in (1, 2, 8):
        told = lambda result, error, rows=rows: answers.put((rows, result, error))  # noqa: E731
        client.async_infer("simple", simple(grpc, rows), told, client_timeout=WAIT_S)
    for _ in range(3):
        rows, result, error = answers.get(timeout=WAIT_S)
        assert error is None
        check_simple(result, rows)


def test_a_deadline_is_kept(client):
    late = [filled(grpc, "DELAY_MS", np.array([[2000]], np.int32))]
    with pytest.raises(InferenceServerException, match="(?i)deadline"):
        client.infer("slow", late, client_timeout=0.2)


def test_cancelling(client):
    answers = queue.Queue()
    long = [filled(grpc, "DELAY_MS", np.array([[3000]], np.int32))]
    call = client.async_infer("slow", long, lambda result, error: answers.put(error))
    call.cancel()
    error = answers.get(timeout=WAIT_S)
    assert "CANCELLED" in str(error.status())


def test_texts_and_classification(client):
    array = np.array([["a"], [b"\x00\xff"]], dtype=np.object_)
    result = client.infer("text", [filled(grpc, "INPUT", array, "BYTES")])
    assert result.as_numpy("OUTPUT").tolist() == [[b"a"], [b"\x00\xff"]]
    scores = np.array([[0.1, 0.7, 0.15, 0.05]], dtype=np.float32)
    asked = grpc.InferRequestedOutput("OUTPUT", class_count=2)
    result = client.infer("scores", [filled(grpc, "INPUT", scores)], outputs=[asked])
    assert [entry.decode().split(":")[1] for entry in result.as_numpy("OUTPUT")[0]] == ["1", "2"]


def test_errors_have_codes(client):
    with pytest.raises(InferenceServerException, match="nobody") as unknown:
        client.infer("nobody", simple(grpc))
    assert unknown.value.status() == "StatusCode.NOT_FOUND"
    with pytest.raises(InferenceServerException, match="INPUT1") as missing:
        client.infer("simple", simple(grpc)[:1])
    assert missing.value.status() == "StatusCode.INVALID_ARGUMENT"
    with pytest.raises(InferenceServerException, match="cannot do this"):
        client.infer("fails", [filled(grpc, "INPUT", np.ones((1, 1), np.int32))])


def stream(client, ask, count):
    """`count` answers to what `ask` sends, as (result, error)."""
    answers = queue.Queue()
    client.start_stream(callback=lambda result, error: answers.put((result, error)))
    try:
        ask()
        return [answers.get(timeout=WAIT_S) for _ in range(count)]
    finally:
        client.stop_stream()


def test_streaming_one_answer_each(client):
    def ask():
        for number in range(4):
            client.async_stream_infer("simple", simple(grpc, 2), request_id=str(number))

    answers = stream(client, ask, 4)
    assert sorted(result.get_response().id for result, _ in answers) == ["0", "1", "2", "3"]
    for result, error in answers:
        assert error is None
        check_simple(result, 2)


def test_streaming_many_answers_to_one_question(client):
    numbers = [filled(grpc, "IN", np.array([[4, 5, 6]], np.int32))]
    ask = lambda: client.async_stream_infer(  # noqa: E731
        "repeat", numbers, request_id="r", enable_empty_final_response=True
    )
    answers = stream(client, ask, 4)
    assert [result.as_numpy("OUT").tolist() for result, _ in answers[:3]] == [[[4]], [[5]], [[6]]]
    last = answers[3][0].get_response()
    assert last.parameters["triton_final_response"].bool_param and len(last.outputs) == 0


def test_an_error_leaves_a_stream_open(client):
    def ask():
        client.async_stream_infer("nobody", simple(grpc), request_id="bad")
        client.async_stream_infer("simple", simple(grpc), request_id="good")

    answers = stream(client, ask, 2)
    assert sum(error is not None for _, error in answers) == 1
    assert any(error is None and result.get_response().id == "good" for result, error in answers)


def test_repository_index(client):
    index = client.get_model_repository_index().models
    assert {entry.name for entry in index} >= {"simple", "text"}
    assert {entry.state for entry in index} == {"READY"}


@pytest.fixture
def manager(server):
    """Where administrators call: an address of its own, but for Triton."""
    with grpc.InferenceServerClient(server.grpc if server.name == "triton" else server.admin) as manager:
        yield manager


def test_administration(client, manager, server):
    manager.unload_model("kinds")
    assert not client.is_model_ready("kinds")
    manager.load_model("kinds")
    assert client.is_model_ready("kinds")
    with pytest.raises(InferenceServerException, match="nobody"):
        manager.load_model("nobody")
    manager.update_log_settings({"log_verbose_level": 1})
    manager.update_log_settings({"log_verbose_level": 0})
    manager.update_trace_settings("simple", {"trace_level": ["OFF"]})
    if server.name != "triton":
        with pytest.raises(InferenceServerException, match="--admin") as refused:
            client.unload_model("simple")
        assert refused.value.status() == "StatusCode.PERMISSION_DENIED"


def test_settings(client):
    assert "log_info" in client.get_log_settings().settings
    assert client.get_trace_settings().settings["trace_level"].value == ["OFF"]


def test_device_memory_is_refused_without_a_device(client):
    assert not client.get_cuda_shared_memory_status().regions
    with pytest.raises(InferenceServerException):
        client.register_cuda_shared_memory("region", b"A" * 88, 0, 64)
    client.unregister_cuda_shared_memory()
