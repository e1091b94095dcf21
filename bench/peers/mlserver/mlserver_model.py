"""The model as MLServer's custom runtimes are written."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse

from models import Model


class Served(MLModel):
    async def load(self):
        self.served = Model(self.name)
        return True

    async def predict(self, payload):
        rows = NumpyCodec.decode_input(payload.inputs[0])
        answers = self.served(rows.astype("float32", copy=False))
        if answers.ndim == 1:
            answers = answers[:, None]
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("y", answers)]
        )
