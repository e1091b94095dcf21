"""MLServer, in its own process: inference workers are off, as one core has nothing for a second to do."""

import json
import os
import sys
from pathlib import Path

from settings import BATCH_MAX, DELAY_MS, FOLDER, MODEL, PORT, SPARE_PORTS

if __name__ == "__main__":
    grpc, metrics = SPARE_PORTS[:2]
    server = {
        "host": "127.0.0.1",
        "http_port": PORT,
        "grpc_port": grpc,
        "metrics_port": metrics,
        "parallel_workers": 0,
        "debug": False,
    }
    model = {"name": MODEL, "implementation": "mlserver_model.Served"}
    if BATCH_MAX > 1:
        model["max_batch_size"] = BATCH_MAX
        model["max_batch_time"] = int(DELAY_MS or 1) / 1000
    folder = Path(FOLDER)
    (folder / "settings.json").write_text(json.dumps(server))
    (folder / "model-settings.json").write_text(json.dumps(model))
    program = str(Path(sys.executable).with_name("mlserver"))
    path = os.pathsep.join([str(Path(__file__).resolve().parent), os.environ.get("PYTHONPATH", "")])
    os.execve(program, [program, "start", FOLDER], {**os.environ, "PYTHONPATH": path})
