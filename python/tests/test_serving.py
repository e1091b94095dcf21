"""Which failures are the model's, and which end the process."""

import pytest

import hydrofoil as foil
from hydrofoil.container import serve


class Lane:
    """A lane whose batches go as ``script`` says: what the model raised, or an error of the lane."""

    rows = 2

    def __init__(self, *script):
        self.script = list(script)
        self.answers = []

    def serve(self, call, convert):
        step = self.script.pop(0)
        self.broken = getattr(step, "is_the_lanes", False)
        if self.broken:
            raise step
        return step

    def fail(self, kind, message, row):
        assert not self.broken, "a broken lane is asked nothing"
        self.answers.append((kind, message, row))

    def finish(self):
        self.answers.append("finished")


def what_a_model_raises_fails_its_batch_alone():
    lane = Lane(ValueError("no"), foil.InputError("bad row", 1), None)
    serve(lane, lane.serve, None, None)
    failures = [("raised", "ValueError: no", None), ("input_refused", "bad row", 1)]
    assert lane.answers == [failures[0], "finished", failures[1], "finished"]


def a_fault_of_the_lane_ends_the_process_and_answers_nothing():
    fault = RuntimeError("the lane broke")
    fault.is_the_lanes = True
    lane = Lane(fault)
    with pytest.raises(RuntimeError, match="the lane broke"):
        serve(lane, lane.serve, None, None)
    assert lane.answers == []
