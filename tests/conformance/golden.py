"""Records what a server answers to `cases.py`, and compares two records field by field.

    python golden.py record SERVER      foil or triton; writes golden/SERVER.json
    python golden.py differences        what Hydrofoil answers otherwise than Triton, by case and field
"""

import http.client
import json
import sys
from pathlib import Path

import cases
import grpc
import servers
from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass
from tritonclient.grpc import service_pb2

HERE = Path(__file__).resolve().parent
GOLDEN = HERE / "golden"
#: Of an answer's headers, those that the protocol gives a meaning.
HEADERS = ["content-type", "inference-header-content-length"]
TIMEOUT_S = 30


def ask(address: str, case: cases.Http) -> dict:
    """The answer as plain values: status, headers, JSON, and bytes behind the JSON as hexadecimal digits."""
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT_S)
    try:
        connection.request(case.method, case.path, case.bytes(), case.headers)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    headers = {name: response.headers[name] for name in HEADERS if name in response.headers}
    return {"status": response.status, "headers": headers, **content(body, headers)}


def content(body: bytes, headers: dict[str, str]) -> dict:
    length = int(headers.get("inference-header-content-length", len(body)))
    head, tail = body[:length], body[length:]
    try:
        said = {"json": json.loads(head)} if head else {}
    except ValueError:
        said = {"text": head.decode(errors="replace")}
    return {**said, "bytes": tail.hex()} if tail else said


def call(address: str, case: cases.Grpc) -> dict:
    """The answer in protobuf's JSON form, or its status."""
    about = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name[case.method]
    message = json_format.ParseDict(case.message, GetMessageClass(about.input_type)())
    with grpc.insecure_channel(address) as channel:
        path = f"/{about.containing_service.full_name}/{case.method}"
        answer = GetMessageClass(about.output_type).FromString
        unary = channel.unary_unary(path, lambda it: it.SerializeToString(), answer)
        try:
            return {"answer": json_format.MessageToDict(unary(message, timeout=TIMEOUT_S))}
        except grpc.RpcError as error:
            return {"code": error.code().name, "error": error.details()}


def record(server: servers.Server) -> dict:
    over_http = {f"http: {case.name}": ask(server.http, case) for case in cases.HTTP}
    return over_http | {f"grpc: {case.name}": call(server.grpc, case) for case in cases.GRPC}


def differences(ours: object, theirs: object, path: str = "") -> dict[str, tuple[object, object]]:
    """Every field in which two answers differ, by its path; `None` where one side lacks it."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found = {}
        for key in sorted({*ours, *theirs}):
            found |= differences(ours.get(key), theirs.get(key), f"{path}.{key}" if path else key)
        return found
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        found = {}
        for at, (mine, other) in enumerate(zip(ours, theirs)):
            found |= differences(mine, other, f"{path}[{at}]")
        return found
    return {} if ours == theirs else {path: (ours, theirs)}


def load(name: str) -> dict:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def save(name: str, answers: dict) -> None:
    GOLDEN.mkdir(exist_ok=True)
    (GOLDEN / f"{name}.json").write_text(json.dumps(answers, indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    match sys.argv[1:]:
        case ["record", "triton"]:
            with servers.triton() as server:
                save("triton", record(server))
        case ["record", "foil"]:
            with servers.foil("--client-shm") as server:
                save("foil", record(server))
        case ["differences"]:
            ours, theirs = load("foil"), load("triton")
            for name in ours:
                for path, (mine, other) in differences(ours[name], theirs[name]).items():
                    print(f"{name} | {path} | {mine!r} | {other!r}")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
