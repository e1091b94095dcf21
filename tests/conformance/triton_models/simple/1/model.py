"""The same model for the other server."""

import triton_python_backend_utils as pb_utils


def inputs(request, *names):
    return [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in names]


def response(**outputs):
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in outputs.items()])


class TritonPythonModel:
    def answer(self, request):
        a, b = inputs(request, "INPUT0", "INPUT1")
        return response(OUTPUT0=a + b, OUTPUT1=a - b)

    def execute(self, requests):
        return [self.answer(request) for request in requests]
