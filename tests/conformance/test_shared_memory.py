"""`tritonclient.utils.shared_memory`, over both protocols."""

import numpy as np
import pytest
import tritonclient.grpc as grpc
import tritonclient.http as http
import tritonclient.utils.shared_memory as shm
from inputs import ONES, ROW
from tritonclient.utils import InferenceServerException

BYTES = 64


@pytest.fixture(params=[http, grpc], ids=["http", "grpc"])
def both(request, server):
    address = server.http if request.param is http else server.grpc
    with request.param.InferenceServerClient(address) as client:
        yield request.param, client
        client.unregister_system_shared_memory()


@pytest.fixture
def regions(both):
    _, client = both
    made = []
    for name in ("in", "out"):
        region = shm.create_shared_memory_region(f"conformance_{name}", f"/conformance_{name}", 2 * BYTES)
        client.register_system_shared_memory(f"conformance_{name}", f"/conformance_{name}", 2 * BYTES)
        made.append(region)
    yield made
    client.unregister_system_shared_memory()
    for region in made:
        shm.destroy_shared_memory_region(region)


def test_tensors_go_both_ways_without_the_wire(both, regions):
    package, client = both
    given, got = regions
    shm.set_shared_memory_region(given, [ROW, ONES])
    inputs = [package.InferInput(name, [1, 16], "INT32") for name in ("INPUT0", "INPUT1")]
    outputs = [package.InferRequestedOutput(name) for name in ("OUTPUT0", "OUTPUT1")]
    for at in range(2):
        inputs[at].set_shared_memory("conformance_in", BYTES, offset=at * BYTES)
        outputs[at].set_shared_memory("conformance_out", BYTES, offset=at * BYTES)
    result = client.infer("simple", inputs, outputs=outputs)
    assert result.get_output("OUTPUT0") is not None
    assert np.array_equal(shm.get_contents_as_numpy(got, np.int32, [1, 16]), ROW + ONES)
    assert np.array_equal(shm.get_contents_as_numpy(got, np.int32, [1, 16], offset=BYTES), ROW - ONES)


def test_regions_are_listed_until_they_are_unregistered(both, regions):
    _, client = both

    def names():
        status = client.get_system_shared_memory_status()
        return {entry["name"] for entry in status} if isinstance(status, list) else set(status.regions)

    assert names() == {"conformance_in", "conformance_out"}
    client.unregister_system_shared_memory("conformance_in")
    assert names() == {"conformance_out"}


def test_what_does_not_fit_is_refused(both, regions):
    package, client = both
    inputs = [package.InferInput(name, [1, 16], "INT32") for name in ("INPUT0", "INPUT1")]
    for given in inputs:
        given.set_shared_memory("conformance_in", BYTES, offset=2 * BYTES - 4)
    with pytest.raises(InferenceServerException):
        client.infer("simple", inputs)
    with pytest.raises(InferenceServerException):
        client.register_system_shared_memory("nothing", "/conformance_nothing", BYTES)
    with pytest.raises(InferenceServerException):
        client.register_system_shared_memory("conformance_in", "/conformance_in", BYTES)
