"""The inference client of `kserve`. Apart from the others: its generated messages clash with tritonclient's."""

import asyncio

import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

ROW = np.arange(16, dtype=np.int32).reshape(1, 16)


def question(binary: bool) -> InferRequest:
    inputs = []
    for name in ("INPUT0", "INPUT1"):
        given = InferInput(name, [1, 16], "INT32")
        given.set_data_from_numpy(ROW, binary_data=binary)
        inputs.append(given)
    return InferRequest("simple", inputs, request_id="seven")


def check(response) -> None:
    assert response.id == "seven"
    (total,) = [output for output in response.outputs if output.name == "OUTPUT0"]
    assert np.array_equal(total.as_numpy().reshape(1, 16), ROW + ROW)


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_rest(server, binary, http2):
    async def talk():
        client = InferenceRESTClient(RESTConfig(protocol="v2", http2=http2))
        base = f"http://{server.http}"
        assert await client.is_server_live(base) and await client.is_server_ready(base)
        assert await client.is_model_ready(base, "simple")
        check(await client.infer(base, question(binary), "simple"))
        await client.close()

    asyncio.run(talk())


@pytest.mark.parametrize("binary", [True, False], ids=["raw", "typed"])
def test_grpc(server, binary):
    async def talk():
        client = InferenceGRPCClient(server.grpc)
        assert await client.is_server_live() and await client.is_server_ready()
        assert await client.is_model_ready("simple")
        check(await client.infer(question(binary)))
        await client.close()

    asyncio.run(talk())
