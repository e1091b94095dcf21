"""A client of `in_place.py` whose tensors lie in memory that it passed: python shared_region.py HTTP SOCKET."""

import json
import sys
import urllib.error
import urllib.request

import numpy as np

import hydrofoil as foil


def ask(address, inputs, outputs):
    body = json.dumps({"inputs": inputs, "outputs": outputs}).encode()
    with urllib.request.urlopen(f"http://{address}/v2/models/in_place/infer", body) as answer:
        return json.load(answer)["outputs"]


def refusal(act, *arguments):
    try:
        act(*arguments)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["error"]
    except foil.RegionError as error:
        return str(error)
    raise AssertionError("it was not refused")


def main(address, socket):
    with foil.SharedRegion(socket, 4096) as region:
        x = region.array(np.float32, (3, 2), offset=64)
        y = region.array(np.float32, (3, 2), offset=1024)
        x[:] = np.array([[0.5, 1], [0.25, 2], [0, 3]], np.float32)
        inputs = [{"name": "x", "shape": [3, 2], "datatype": "FP32", "parameters": region.parameters(x)}]
        outputs = [{"name": "y", "parameters": region.parameters(y)}]
        [answer] = ask(address, inputs, outputs)
        assert answer == {"name": "y", "datatype": "FP32", "shape": [3, 2]}, answer
        assert np.array_equal(y, x * 2), y
        # Whoever clears the regions that have keys leaves this one alone.
        everything = f"http://{address}/v2/systemsharedmemory/unregister"
        urllib.request.urlopen(urllib.request.Request(everything, method="POST")).close()
        ask(address, inputs, outputs)
        taken = refusal(foil.SharedRegion, socket, 4096, region.name)
        assert "name already" in taken, taken
        try:
            region.place(x[:, 0])
        except ValueError:
            pass
        else:
            raise AssertionError("a place without a gap was told for an array with gaps")
    status, reason = refusal(ask, address, inputs, outputs)
    assert status == 400 and "no shared memory region" in reason, reason
    assert np.array_equal(y, x * 2), "views outlive the region"


if __name__ == "__main__":
    main(*sys.argv[1:])
