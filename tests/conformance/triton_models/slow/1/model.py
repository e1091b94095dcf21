"""The same model for the other server."""

import triton_python_backend_utils as pb_utils


def inputs(request, *names):
    return [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in names]


def response(**outputs):
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in outputs.items()])


import time


class TritonPythonModel:
    def answer(self, request):
        (delay_ms,) = inputs(request, "DELAY_MS")
        time.sleep(int(delay_ms[0, 0]) / 1000)
        return response(OUTPUT=delay_ms)

    def execute(self, requests):
        return [self.answer(request) for request in requests]
