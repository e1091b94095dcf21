"""What grpcurl does: no description of its own, only what the server says of itself; and the standard health service."""

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICE = "inference.GRPCInferenceService"
WAIT_S = 30


@pytest.fixture
def channel(server):
    if server.name == "triton":
        pytest.skip("Triton has no reflection")
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel


def call(channel, pool: DescriptorPool, service: str, method: str, question: dict) -> dict:
    about = pool.FindServiceByName(service).FindMethodByName(method)
    asked = json_format.ParseDict(question, GetMessageClass(about.input_type)())
    answer_type = GetMessageClass(about.output_type)
    unary = channel.unary_unary(f"/{service}/{method}", lambda it: it.SerializeToString(), answer_type.FromString)
    return json_format.MessageToDict(unary(asked, timeout=WAIT_S))


def test_services_describe_themselves(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    assert {SERVICE, "grpc.health.v1.Health"} <= set(database.get_services())
    pool = DescriptorPool(database)
    assert call(channel, pool, SERVICE, "ServerLive", {}) == {"live": True}
    assert call(channel, pool, "grpc.health.v1.Health", "Check", {"service": SERVICE}) == {"status": "SERVING"}
    numbers = {"contents": {"int_contents": [1] * 16}, "datatype": "INT32", "shape": [1, 16]}
    inputs = [{"name": name, **numbers} for name in ("INPUT0", "INPUT1")]
    answer = call(channel, pool, SERVICE, "ModelInfer", {"model_name": "simple", "inputs": inputs})
    assert [output["name"] for output in answer["outputs"]] == ["OUTPUT0", "OUTPUT1"]
    assert len(answer["rawOutputContents"]) == 2
