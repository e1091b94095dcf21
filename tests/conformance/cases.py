"""The requests whose answers are on record (`golden/`): each is sent as it stands to Hydrofoil and to Triton."""

import base64
import json
import struct
from dataclasses import dataclass, field

import numpy as np

ROW = list(range(16))
ONES = [1] * 16


@dataclass
class Http:
    name: str
    method: str
    path: str
    #: A JSON value, or bytes as they are.
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)

    def bytes(self) -> bytes | None:
        if self.body is None or isinstance(self.body, bytes):
            return self.body
        return json.dumps(self.body).encode()


@dataclass
class Grpc:
    name: str
    method: str
    #: The message in protobuf's JSON form; bytes in base64.
    message: dict = field(default_factory=dict)


def tensor(name, datatype, shape, data=None, **parameters):
    given = {"name": name, "datatype": datatype, "shape": shape}
    if parameters:
        given["parameters"] = parameters
    return given if data is None else {**given, "data": data}


def simple(rows=1, **more):
    inputs = [tensor("INPUT0", "INT32", [rows, 16], ROW * rows), tensor("INPUT1", "INT32", [rows, 16], ONES * rows)]
    return {"inputs": inputs, **more}


def infer(name, model, body, **headers):
    return Http(name, "POST", f"/v2/models/{model}/infer", body, headers)


def binary(name, model, head, *tails):
    head = json.dumps(head).encode()
    length = {"Inference-Header-Content-Length": str(len(head))}
    return Http(name, "POST", f"/v2/models/{model}/infer", head + b"".join(tails), length)


def int32(numbers) -> bytes:
    return np.asarray(numbers, "<i4").tobytes()


def texts(*values: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


BINARY_SIMPLE = {
    "inputs": [
        tensor("INPUT0", "INT32", [1, 16], binary_data_size=64),
        tensor("INPUT1", "INT32", [1, 16], binary_data_size=64),
    ]
}

DESCRIBE = [
    Http("server", "GET", "/v2"),
    Http("server with a slash", "GET", "/v2/"),
    Http("live", "GET", "/v2/health/live"),
    Http("ready", "GET", "/v2/health/ready"),
    Http("model", "GET", "/v2/models/simple"),
    Http("model version", "GET", "/v2/models/simple/versions/1"),
    Http("model of texts", "GET", "/v2/models/text"),
    Http("model of many kinds", "GET", "/v2/models/kinds"),
    Http("model ready", "GET", "/v2/models/simple/ready"),
    Http("model version ready", "GET", "/v2/models/simple/versions/1/ready"),
    Http("config", "GET", "/v2/models/simple/config"),
    Http("config of a decoupled model", "GET", "/v2/models/repeat/config"),
    Http("unknown model", "GET", "/v2/models/nobody"),
    Http("unknown version", "GET", "/v2/models/simple/versions/7"),
    Http("version that is no number", "GET", "/v2/models/simple/versions/first"),
    Http("unknown model ready", "GET", "/v2/models/nobody/ready"),
    Http("unknown path", "GET", "/v3/models"),
    Http("wrong method", "GET", "/v2/models/simple/infer"),
    Http("statistics of nobody", "GET", "/v2/models/nobody/stats"),
    Http("index", "POST", "/v2/repository/index", {}),
    Http("trace settings", "GET", "/v2/trace/setting"),
    Http("log settings", "GET", "/v2/logging"),
    Http("system regions", "GET", "/v2/systemsharedmemory/status"),
    Http("unknown system region", "GET", "/v2/systemsharedmemory/region/none/status"),
    Http("unregister all system regions", "POST", "/v2/systemsharedmemory/unregister"),
    Http("unregister all device regions", "POST", "/v2/cudasharedmemory/unregister"),
]

ASK = [
    infer("json", "simple", simple()),
    infer("json, nested data", "simple", {
        "inputs": [tensor("INPUT0", "INT32", [2, 16], [ROW, ROW]), tensor("INPUT1", "INT32", [2, 16], [ONES, ONES])]
    }),
    infer("id", "simple", simple(id="a question")),
    infer("one output", "simple", simple(outputs=[{"name": "OUTPUT1"}])),
    infer("two rows", "simple", simple(rows=2)),
    infer("full batch", "simple", simple(rows=8)),
    infer("unknown parameters are let pass", "simple", simple(parameters={"mine": 1, "yours": "a", "flag": True})),
    infer("priority", "simple", simple(parameters={"priority": 0})),
    Http("version", "POST", "/v2/models/simple/versions/1/infer", simple()),
    binary("binary in", "simple", BINARY_SIMPLE, int32(ROW), int32(ONES)),
    binary("binary in and out", "simple", {**BINARY_SIMPLE, "parameters": {"binary_data_output": True}}, int32(ROW), int32(ONES)),
    binary("one output binary", "simple", {
        **BINARY_SIMPLE, "outputs": [{"name": "OUTPUT0", "parameters": {"binary_data": True}}, {"name": "OUTPUT1"}],
    }, int32(ROW), int32(ONES)),
    binary("one input binary", "simple", {
        "inputs": [tensor("INPUT0", "INT32", [1, 16], binary_data_size=64), tensor("INPUT1", "INT32", [1, 16], ONES)]
    }, int32(ROW)),
    infer("texts", "text", {"inputs": [tensor("INPUT", "BYTES", [2, 1], ["a", "früh"])]}),
    binary("texts, binary", "text", {
        "inputs": [tensor("INPUT", "BYTES", [2, 1], binary_data_size=15)], "parameters": {"binary_data_output": True},
    }, texts(b"abc", b"\x00\xff\x7f\x80")),
    Http("raw", "POST", "/v2/models/scores/infer", np.asarray([0.5, 0.25, 1, 0], "<f4").tobytes(),
         {"Inference-Header-Content-Length": "0"}),
    infer("classification", "scores", {
        "inputs": [tensor("INPUT", "FP32", [2, 4], [0.1, 0.7, 0.15, 0.05, 4, 3, 2, 1])],
        "outputs": [{"name": "OUTPUT", "parameters": {"classification": 2}}],
    }),
    binary("kinds, binary", "kinds", {
        "inputs": [
            tensor("BOOL", "BOOL", [1, 2], binary_data_size=2), tensor("UINT8", "UINT8", [1, 2], binary_data_size=2),
            tensor("INT64", "INT64", [1, 2], binary_data_size=16), tensor("FP16", "FP16", [1, 2], binary_data_size=4),
            tensor("FP64", "FP64", [1, 2], binary_data_size=16),
        ],
        "parameters": {"binary_data_output": True},
    }, b"\x01\x00", b"\x07\xff", np.asarray([-1, 2**62], "<i8").tobytes(), np.asarray([1, -2], "<f2").tobytes(),
        np.asarray([0.1, -1e300], "<f8").tobytes()),
]

REFUSED = [
    infer("no json", "simple", b"{"),
    infer("empty body", "simple", b""),
    infer("no inputs", "simple", {"id": "x"}),
    infer("missing input", "simple", {"inputs": [tensor("INPUT0", "INT32", [1, 16], ROW)]}),
    infer("unknown input", "simple", {"inputs": [*simple()["inputs"], tensor("INPUT2", "INT32", [1, 16], ROW)]}),
    infer("input twice", "simple", {"inputs": [*simple()["inputs"], tensor("INPUT0", "INT32", [1, 16], ROW)]}),
    infer("unknown output", "simple", simple(outputs=[{"name": "OUTPUT9"}])),
    infer("wrong datatype", "simple", {
        "inputs": [tensor("INPUT0", "INT64", [1, 16], ROW), tensor("INPUT1", "INT64", [1, 16], ONES)]
    }),
    infer("unknown datatype", "simple", {
        "inputs": [tensor("INPUT0", "INT33", [1, 16], ROW), tensor("INPUT1", "INT32", [1, 16], ONES)]
    }),
    infer("wrong shape", "simple", {
        "inputs": [tensor("INPUT0", "INT32", [1, 15], ROW[:15]), tensor("INPUT1", "INT32", [1, 16], ONES)]
    }),
    infer("negative shape", "simple", {
        "inputs": [tensor("INPUT0", "INT32", [-1, 16], ROW), tensor("INPUT1", "INT32", [1, 16], ONES)]
    }),
    infer("too few numbers", "simple", {
        "inputs": [tensor("INPUT0", "INT32", [1, 16], ROW[:3]), tensor("INPUT1", "INT32", [1, 16], ONES)]
    }),
    infer("too many numbers", "simple", {
        "inputs": [tensor("INPUT0", "INT32", [1, 16], [*ROW, 1]), tensor("INPUT1", "INT32", [1, 16], ONES)]
    }),
    infer("text for a number", "simple", {
        "inputs": [tensor("INPUT0", "INT32", [1, 16], ["a"] * 16), tensor("INPUT1", "INT32", [1, 16], ONES)]
    }),
    infer("unlike rows", "simple", {
        "inputs": [tensor("INPUT0", "INT32", [2, 16], ROW * 2), tensor("INPUT1", "INT32", [1, 16], ONES)]
    }),
    infer("more rows than a batch holds", "simple", simple(rows=9)),
    infer("half floats in json", "kinds", {
        "inputs": [
            tensor("BOOL", "BOOL", [1, 1], [True]), tensor("UINT8", "UINT8", [1, 1], [1]),
            tensor("INT64", "INT64", [1, 1], [1]), tensor("FP16", "FP16", [1, 1], [1.0]), tensor("FP64", "FP64", [1, 1], [1.0]),
        ]
    }),
    infer("sequence", "simple", simple(parameters={"sequence_id": 7, "sequence_start": True})),
    infer("model raises", "fails", {"inputs": [tensor("INPUT", "INT32", [1, 1], [1])]}),
    infer("unknown model asked", "nobody", simple()),
    Http("unknown version asked", "POST", "/v2/models/simple/versions/3/infer", simple()),
    infer("decoupled model asked for one answer", "repeat", {"inputs": [tensor("IN", "INT32", [1, 2], [1, 2])]}),
    binary("size beyond the body", "simple", BINARY_SIMPLE, int32(ROW)),
    binary("bytes left over", "simple", BINARY_SIMPLE, int32(ROW), int32(ONES), b"more"),
    binary("size that is not the tensor's", "simple", {
        "inputs": [tensor("INPUT0", "INT32", [1, 16], binary_data_size=60), tensor("INPUT1", "INT32", [1, 16], binary_data_size=64)]
    }, int32(ROW[:15]), int32(ONES)),
    Http("length header beyond the body", "POST", "/v2/models/simple/infer", simple(),
         {"Inference-Header-Content-Length": "100000"}),
    Http("length header that is no number", "POST", "/v2/models/simple/infer", simple(),
         {"Inference-Header-Content-Length": "ten"}),
    infer("region that is not registered", "simple", {
        "inputs": [
            tensor("INPUT0", "INT32", [1, 16], shared_memory_region="none", shared_memory_byte_size=64),
            tensor("INPUT1", "INT32", [1, 16], ONES),
        ]
    }),
]  # fmt: skip

HTTP = [*DESCRIBE, *ASK, *REFUSED]


def in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def ask_simple(raw=True, rows=1, **more):
    inputs = [{"name": name, "datatype": "INT32", "shape": [rows, 16]} for name in ("INPUT0", "INPUT1")]
    contents = [ROW * rows, ONES * rows]
    message = {"modelName": "simple", "inputs": inputs, **more}
    if raw:
        return {**message, "rawInputContents": [in_base64(int32(numbers)) for numbers in contents]}
    for given, numbers in zip(inputs, contents):
        given["contents"] = {"intContents": numbers}
    return message


def scores_asked(parameters):
    data = np.asarray([0.1, 0.7, 0.15, 0.05], "<f4").tobytes()
    return {
        "modelName": "scores",
        "inputs": [{"name": "INPUT", "datatype": "FP32", "shape": [1, 4]}],
        "rawInputContents": [in_base64(data)],
        "outputs": [{"name": "OUTPUT", "parameters": parameters}],
    }


TEXT = {
    "modelName": "text",
    "inputs": [{"name": "INPUT", "datatype": "BYTES", "shape": [2, 1], "contents": {"bytesContents": ["YQ==", "AP8="]}}],
}
UNSHARED = {
    "sharedMemoryRegion": {"stringParam": "none"}, "sharedMemoryByteSize": {"int64Param": 64},
}  # fmt: skip

GRPC = [
    Grpc("live", "ServerLive"),
    Grpc("ready", "ServerReady"),
    Grpc("model ready", "ModelReady", {"name": "simple"}),
    Grpc("unknown model ready", "ModelReady", {"name": "nobody"}),
    Grpc("server", "ServerMetadata"),
    Grpc("model", "ModelMetadata", {"name": "simple"}),
    Grpc("unknown model", "ModelMetadata", {"name": "nobody"}),
    Grpc("version that is no number", "ModelMetadata", {"name": "simple", "version": "first"}),
    Grpc("config", "ModelConfig", {"name": "simple"}),
    Grpc("index", "RepositoryIndex"),
    Grpc("trace settings", "TraceSetting"),
    Grpc("log settings", "LogSettings"),
    Grpc("system regions", "SystemSharedMemoryStatus"),
    Grpc("unknown system region", "SystemSharedMemoryStatus", {"name": "none"}),
    Grpc("unregister all", "SystemSharedMemoryUnregister"),
    Grpc("raw", "ModelInfer", ask_simple()),
    Grpc("typed", "ModelInfer", ask_simple(raw=False)),
    Grpc("two rows and an id", "ModelInfer", ask_simple(rows=2, id="seven")),
    Grpc("version", "ModelInfer", ask_simple(modelVersion="1")),
    Grpc("one output", "ModelInfer", ask_simple(outputs=[{"name": "OUTPUT1"}])),
    Grpc("own parameters", "ModelInfer", ask_simple(parameters={"mine": {"int64Param": 7}, "text": {"stringParam": "a"}})),
    Grpc("texts", "ModelInfer", TEXT),
    Grpc("classification", "ModelInfer", scores_asked({"classification": {"int64Param": 2}})),
    Grpc("typed and raw", "ModelInfer", {**ask_simple(raw=False), "rawInputContents": [in_base64(int32(ROW))]}),
    Grpc("too few raw", "ModelInfer", {**ask_simple(), "rawInputContents": [in_base64(int32(ROW))]}),
    Grpc("raw of a wrong size", "ModelInfer", {**ask_simple(), "rawInputContents": [in_base64(int32(ROW)), "AAAA"]}),
    Grpc("no inputs", "ModelInfer", {"modelName": "simple"}),
    Grpc("unknown input", "ModelInfer", {
        **ask_simple(raw=False),
        "inputs": [{"name": "INPUT9", "datatype": "INT32", "shape": [1, 16], "contents": {"intContents": ROW}}],
    }),
    Grpc("unknown output", "ModelInfer", ask_simple(outputs=[{"name": "OUTPUT9"}])),
    Grpc("more rows than a batch holds", "ModelInfer", ask_simple(rows=9)),
    Grpc("unknown model asked", "ModelInfer", ask_simple(modelName="nobody")),
    Grpc("unknown version asked", "ModelInfer", ask_simple(modelVersion="3")),
    Grpc("model raises", "ModelInfer", {
        "modelName": "fails", "inputs": [{"name": "INPUT", "datatype": "INT32", "shape": [1, 1], "contents": {"intContents": [1]}}],
    }),
    Grpc("decoupled model asked for one answer", "ModelInfer", {
        "modelName": "repeat", "inputs": [{"name": "IN", "datatype": "INT32", "shape": [1, 2], "contents": {"intContents": [1, 2]}}],
    }),
    Grpc("region that is not registered", "ModelInfer", {
        "modelName": "simple",
        "inputs": [{"name": name, "datatype": "INT32", "shape": [1, 16], "parameters": UNSHARED} for name in ("INPUT0", "INPUT1")],
    }),
    Grpc("a device region", "CudaSharedMemoryRegister", {"name": "gpu", "rawHandle": in_base64(b"A" * 64), "byteSize": 64}),
]  # fmt: skip
