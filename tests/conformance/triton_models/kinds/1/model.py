"""The same model for the other server."""

import triton_python_backend_utils as pb_utils


def inputs(request, *names):
    return [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in names]


def response(**outputs):
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in outputs.items()])


NAMES = ["BOOL", "UINT8", "INT64", "FP16", "FP64"]


class TritonPythonModel:
    def answer(self, request):
        arrays = inputs(request, *NAMES)
        return response(**{f"OUT_{name}": array for name, array in zip(NAMES, arrays)})

    def execute(self, requests):
        return [self.answer(request) for request in requests]
