"""Both asynchronous clients of the package, in one loop."""

import asyncio

import numpy as np
import tritonclient.grpc.aio as grpc
import tritonclient.http.aio as http
from inputs import check_simple, filled, simple

MANY = 32


def test_http(server):
    async def talk():
        async with http.InferenceServerClient(server.http) as client:
            assert await client.is_server_ready() and await client.is_model_ready("simple")
            assert (await client.get_model_metadata("simple"))["name"] == "simple"
            assert (await client.get_model_config("simple"))["max_batch_size"] == 8
            assert (await client.get_inference_statistics("simple"))["model_stats"]
            assert await client.get_model_repository_index()
            for result in await asyncio.gather(*(client.infer("simple", simple(http, 2)) for _ in range(MANY))):
                check_simple(result, 2)

    asyncio.run(talk())


def test_grpc(server):
    async def talk():
        async with grpc.InferenceServerClient(server.grpc) as client:
            assert await client.is_server_ready() and await client.is_model_ready("simple")
            assert (await client.get_model_metadata("simple")).name == "simple"
            assert (await client.get_model_config("simple")).config.max_batch_size == 8
            assert (await client.get_inference_statistics("simple")).model_stats
            for result in await asyncio.gather(*(client.infer("simple", simple(grpc, 2)) for _ in range(MANY))):
                check_simple(result, 2)
            await stream(client)

    async def stream(client):
        async def questions():
            yield {"model_name": "repeat", "inputs": [filled(grpc, "IN", np.array([[1, 2]], np.int32))]}
            yield {"model_name": "simple", "inputs": simple(grpc)}

        answers = [answer async for answer in client.stream_infer(questions())]
        assert all(error is None for _, error in answers)
        numbers = [result.as_numpy("OUT") for result, _ in answers]
        assert [array.tolist() for array in numbers if array is not None] == [[[1]], [[2]]]
        check_simple(next(result for result, _ in answers if result.as_numpy("OUTPUT0") is not None))

    asyncio.run(talk())
