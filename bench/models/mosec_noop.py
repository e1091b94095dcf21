"""The same model served by mosec in its best setting (batches of 64, 10 ms), to judge the floor by."""

import numpy as np
from mosec import Server, Worker


class Noop(Worker):
    def deserialize(self, data: bytes) -> np.ndarray:
        return np.frombuffer(data, dtype=np.float32)

    def serialize(self, data: np.float32) -> bytes:
        return data.tobytes()

    def forward(self, data: list[np.ndarray]) -> list[np.float32]:
        return list(np.stack(data).sum(axis=1))


if __name__ == "__main__":
    server = Server()
    server.append_worker(Noop, num=1, max_batch_size=64, max_wait_time=10)
    server.run()
