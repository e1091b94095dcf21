"""The same tensors for every client of the package, sync or not, HTTP or gRPC."""

import numpy as np

ROW = np.arange(16, dtype=np.int32).reshape(1, 16)
ONES = np.ones((1, 16), dtype=np.int32)


def simple(client, rows=1):
    """Inputs of the model `simple` for the module `client`."""
    return [filled(client, "INPUT0", np.repeat(ROW, rows, 0)), filled(client, "INPUT1", np.repeat(ONES, rows, 0))]


def filled(client, name, array, datatype=None):
    from tritonclient.utils import np_to_triton_dtype

    given = client.InferInput(name, list(array.shape), datatype or np_to_triton_dtype(array.dtype))
    given.set_data_from_numpy(array)
    return given


def check_simple(result, rows=1):
    assert np.array_equal(result.as_numpy("OUTPUT0"), np.repeat(ROW + ONES, rows, 0))
    assert np.array_equal(result.as_numpy("OUTPUT1"), np.repeat(ROW - ONES, rows, 0))
