"""The same model for the other server."""

import triton_python_backend_utils as pb_utils


def inputs(request, *names):
    return [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in names]


def response(**outputs):
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in outputs.items()])


class TritonPythonModel:
    def execute(self, requests):
        return [response(OUTPUT=inputs(request, "INPUT")[0]) for request in requests]
