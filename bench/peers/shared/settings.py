"""What the benchmark asks of a peer's program, by environment variables."""

import os

MODEL = os.environ["PEER_MODEL"]
ENCODING = os.environ["PEER_ENCODING"]
PORT = int(os.environ["PEER_PORT"])
# Ports and files that a peer wants beside: nobody calls them.
SPARE_PORTS = [int(port) for port in os.environ["PEER_SPARE_PORTS"].split(",")]
FOLDER = os.environ["PEER_FOLDER"]
# 1: batching is off.
BATCH_MAX = int(os.environ["PEER_BATCH_MAX"])
# Empty: the peer's own default.
DELAY_MS = os.environ["PEER_DELAY_MS"]
JSON = os.environ["PEER_JSON"]
# Empty: the peer is not asked over gRPC.
GRPC_PORT = os.environ.get("PEER_GRPC_PORT", "")
