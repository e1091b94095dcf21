"""PyTriton: its own `@batch` decorator and dynamic batcher."""

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from models import FEATURES, Model
from settings import BATCH_MAX, DELAY_MS, MODEL, PORT, SPARE_PORTS

OUTPUTS = {"noop": 1, "linear": 10, "mlp": 10}
model = Model(MODEL)


@batch
def infer(x):
    y = model(x)
    return {"y": y if y.ndim == 2 else y[:, None]}


if __name__ == "__main__":
    batcher = DynamicBatcher(max_queue_delay_microseconds=1000 * int(DELAY_MS or 0))
    grpc, metrics = SPARE_PORTS[:2]
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=PORT,
        grpc_address="127.0.0.1",
        grpc_port=grpc,
        metrics_port=metrics,
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name=MODEL,
            infer_func=infer,
            inputs=[Tensor(name="x", dtype=np.float32, shape=(FEATURES,))],
            outputs=[Tensor(name="y", dtype=np.float32, shape=(OUTPUTS[MODEL],))],
            config=ModelConfig(max_batch_size=BATCH_MAX, batcher=batcher),
        )
        triton.serve()
