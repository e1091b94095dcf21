"""Answers in parts: numbers up to a count, one at a time."""

import pathlib
import time

import hydrofoil as foil


@foil.model(batch_timeout="5s")
class Parts:
    """``pause_ms`` lies between two parts. What became of the last stream is in the file that ``note`` names."""

    def predict(
        self, count: foil.i64[1], pause_ms: foil.i64[1], note: foil.str[1]
    ) -> {"number": foil.i64[1], "text": foil.str[1]}:
        told = "closed"
        try:
            for number in range(int(count[0])):
                if number == 100_000:
                    raise ValueError("a hundred thousand is too many")
                yield {"number": [number], "text": [f"no. {number}"]}
                time.sleep(int(pause_ms[0]) / 1000)
            told = "done"
        finally:
            if note[0]:
                pathlib.Path(note[0]).write_text(told)
