"""Answers in parts: numbers, one at a time, each once the test has let go of the one before."""

import pathlib
import time

import hydrofoil as foil


@foil.model(batch_timeout="20s")
class Parts:
    """With a ``gate``, a directory, part n+1 waits for a file ``n`` there, and how it ended is written to ``ended``."""

    def predict(
        self, count: foil.i64[1], fails_at: foil.i64[1], chars: foil.i64[1], gate: foil.str[1]
    ) -> {"number": foil.i64[1], "text": foil.str[1]}:
        directory = pathlib.Path(gate[0]) if gate[0] else None
        if directory:
            with (directory / "begun").open("a") as begun:
                begun.write("begun\n")
        ended = "closed"
        try:
            for number in range(int(count[0])):
                if number == fails_at[0]:
                    ended = "failed"
                    raise ValueError(f"no part {number}")
                yield {"number": [number], "text": ["x" * int(chars[0])]}
                while directory and not chars[0] and not (directory / str(number)).exists():
                    time.sleep(0.01)
            ended = "done"
        finally:
            if directory:
                (directory / "ended").write_text(ended)
