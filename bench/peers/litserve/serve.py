"""LitServe: one worker; its requests are JSON, so binary rows travel as base64 in it."""

import base64

import litserve
import numpy as np

from models import Model
from settings import BATCH_MAX, DELAY_MS, ENCODING, MODEL, PORT


class Api(litserve.LitAPI):
    def setup(self, device):
        self.model = Model(MODEL)

    def decode_request(self, request):
        if ENCODING == "bin":
            return np.frombuffer(base64.b64decode(request["x"]), dtype=np.float32)
        return np.asarray(request["x"], dtype=np.float32)

    def batch(self, inputs):
        return np.stack(inputs)

    def predict(self, x):
        return self.model(x) if BATCH_MAX > 1 else self.model(x[None])[0]

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        if ENCODING == "bin":
            return {"y": base64.b64encode(output.tobytes()).decode()}
        return {"y": output.tolist()}


if __name__ == "__main__":
    batching = {"max_batch_size": BATCH_MAX} if BATCH_MAX > 1 else {}
    if DELAY_MS:
        batching["batch_timeout"] = int(DELAY_MS) / 1000
    server = litserve.LitServer(Api(api_path="/inference", **batching), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=PORT, num_api_servers=1, generate_client_file=False, log_level="warning"
    )
