"""mosec: one worker; requests carry raw float32 or JSON, which mosec's own `Worker` reads with `json`."""

import json

import numpy as np
import orjson
from mosec import Server, Worker

from models import Model
from settings import BATCH_MAX, DELAY_MS, ENCODING, JSON, MODEL


class Binary(Worker):
    def __init__(self):
        self.model = Model(MODEL)

    def deserialize(self, data):
        return np.frombuffer(data, dtype=np.float32)

    def serialize(self, data):
        return data.tobytes()

    def forward(self, data):
        # Without batching mosec hands over one row, not a list of one.
        if BATCH_MAX == 1:
            return self.model(data[None])[0]
        return list(self.model(np.stack(data)))


class Json(Binary):
    def deserialize(self, data):
        return np.asarray(json.loads(data)["x"], dtype=np.float32)

    def serialize(self, data):
        return json.dumps({"y": data.tolist()}).encode()


class Orjson(Binary):
    def deserialize(self, data):
        return np.asarray(orjson.loads(data)["x"], dtype=np.float32)

    def serialize(self, data):
        return orjson.dumps({"y": data.tolist()})


if __name__ == "__main__":
    worker = Binary if ENCODING == "bin" else Orjson if JSON == "orjson" else Json
    delay = {"max_wait_time": int(DELAY_MS)} if DELAY_MS else {}
    server = Server()
    server.append_worker(worker, num=1, max_batch_size=BATCH_MAX, **delay)
    server.run()
