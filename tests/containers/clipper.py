"""A container as programs for Clipper are: it dials in, says what it runs, and answers batches (its RPC, version 3).

Written from the wire format, with ZeroMQ's own library. Each output is a JSON text that says who answered, in a batch of
how many, and what it saw. On stdout: a line for each thing that happened.
"""

import argparse
import json
import os
import struct
import time

import zmq

RPC_VERSION = 3
NEW_CONTAINER, CONTENT, HEARTBEAT = 0, 1, 2
REQUEST_METADATA = 1
TYPES = {"bytes": (0, "b"), "integers": (1, "i"), "floats": (2, "f"), "doubles": (3, "d"), "strings": (4, None)}
IDLE_MS = 5000


def word(value):
    return struct.pack("<I", value)


def long_words(values):
    return struct.pack(f"<{len(values)}Q", *values)


class Container:
    def __init__(self, options):
        self.options = options
        self.code, self.element = TYPES[options.input_type]
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.connect(f"tcp://127.0.0.1:{options.port}")

    def run(self):
        self.heartbeat()
        while True:
            if not self.socket.poll(self.options.idle_ms):
                if not self.options.mute:
                    self.heartbeat()
                continue
            self.hear(self.socket.recv_multipart())

    def hear(self, frames):
        delimiter, version, kind, *rest = frames
        assert delimiter == b"" and version == word(RPC_VERSION), frames
        if kind == word(HEARTBEAT):
            (what,) = struct.unpack("<I", rest[0])
            say("asked" if what == REQUEST_METADATA else "kept")
            if what == REQUEST_METADATA:
                self.introduce()
            return
        assert kind == word(CONTENT), frames
        message, request, header_bytes, header, *inputs = rest
        assert request == word(0), "a prediction"
        assert struct.unpack("<Q", header_bytes)[0] == len(header)
        code, count, *sizes = struct.unpack(f"<{len(header) // 8}Q", header)
        assert code == self.code and count == len(inputs) and sizes == [len(it) for it in inputs], frames
        say(f"batch {count}")
        while self.options.hold and os.path.exists(self.options.hold):
            time.sleep(0.005)
        self.answer(message, [self.output(it, count) for it in inputs])

    def output(self, raw, count):
        if self.element is None:
            seen = raw.decode()
        else:
            seen = list(struct.unpack(f"<{len(raw) // struct.calcsize(self.element)}{self.element}", raw))
        return json.dumps({"by": self.options.tag, "rows": count, "saw": seen}).encode()

    def answer(self, message, outputs):
        outputs += [b"one more"] * self.options.extra
        header = long_words([len(outputs)] + [len(it) for it in outputs])
        self.send(word(CONTENT), message, long_words([len(header)]), header, *outputs)

    def introduce(self):
        options = self.options
        name, version = options.name.encode(), options.version.encode()
        self.send(word(NEW_CONTAINER), name, version, str(self.code).encode(), word(options.rpc_version))

    def heartbeat(self):
        self.send(word(HEARTBEAT))

    def send(self, *frames):
        self.socket.send_multipart([b"", *frames])


def say(text):
    print(text, flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", default="seen")
    parser.add_argument("--version", default="1")
    parser.add_argument("--input-type", default="doubles", choices=TYPES)
    parser.add_argument("--tag", default="a", help="who answered, in each output")
    parser.add_argument("--hold", help="a batch is not answered while this file exists")
    parser.add_argument("--extra", type=int, default=0, help="outputs too many")
    parser.add_argument("--rpc-version", type=int, default=RPC_VERSION)
    parser.add_argument("--mute", action="store_true", help="send no heartbeats but the first")
    parser.add_argument("--idle-ms", type=int, default=IDLE_MS, help="silence before a heartbeat")
    Container(parser.parse_args()).run()


if __name__ == "__main__":
    main()
