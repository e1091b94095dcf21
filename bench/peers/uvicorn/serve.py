"""FastAPI on uvicorn with uvloop and httptools, one process; it has no batching."""

import json

import numpy as np
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response

from models import Model
from settings import ENCODING, JSON, MODEL, PORT

app = FastAPI()
model = Model(MODEL)
# What Starlette's own `Request.json` and `JSONResponse` use, or the faster one that FastAPI's documentation names.
loads, dumps = (
    (orjson.loads, orjson.dumps)
    if JSON == "orjson"
    else (json.loads, lambda value: json.dumps(value, separators=(",", ":")).encode())
)


@app.get("/")
async def ready():
    return Response()


if ENCODING == "bin":

    @app.post("/inference")
    async def infer(request: Request):
        row = np.frombuffer(await request.body(), dtype=np.float32)
        return Response(model(row[None])[0].tobytes(), media_type="application/octet-stream")

else:

    @app.post("/inference")
    async def infer(request: Request):
        row = np.asarray(loads(await request.body())["x"], dtype=np.float32)
        body = dumps({"y": model(row[None])[0].tolist()})
        return Response(body, media_type="application/json")


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=PORT, loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )
