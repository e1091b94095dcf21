"""The same model for the other server."""

import triton_python_backend_utils as pb_utils


def inputs(request, *names):
    return [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in names]


def response(**outputs):
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in outputs.items()])


class TritonPythonModel:
    def stream(self, request):
        (numbers,) = inputs(request, "IN")
        sender = request.get_response_sender()
        for at in range(numbers.shape[1]):
            sender.send(response(OUT=numbers[:, at : at + 1]))
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def execute(self, requests):
        for request in requests:
            self.stream(request)
