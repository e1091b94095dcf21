"""Which slots are registered with a GPU, when they are let go of, and what is staged instead."""

import subprocess
import sys
import threading

from hydrofoil import _pins
from hydrofoil._pins import MOVES_MAX, UNDER_WAY_MAX, Pins

SLOT = 0x2000


class Lane:
    def __init__(self):
        self.slots = [(0x10000, SLOT), (0x20000, SLOT)]
        self.returns = None

    def request_slots(self):
        return list(self.slots)

    def on_return(self, call):
        self.returns = call

    def move(self, slot):
        """As the lane does where views are kept: asks, then moves."""
        base, size = self.slots[slot]
        self.returns(base)
        self.slots[slot] = (base + 0x100000, size)


class Gpu:
    def __init__(self, refusal=None):
        self.refusal, self.did = refusal, []

    def register(self, address, byte_size):
        self.did.append(("register", address, byte_size))
        return self.refusal

    def unregister(self, address):
        self.did.append(("unregister", address))

    def send(self, tensor, device):
        self.did.append(("send", tensor))
        return ("sent", tensor), Copy(self, tensor)

    def stage(self, tensor, device):
        self.did.append(("stage", tensor))
        return "staged", tensor


class Copy:
    def __init__(self, gpu, tensor):
        self.gpu, self.tensor = gpu, tensor

    def synchronize(self):
        self.gpu.did.append(("waited", self.tensor))


def a_slot_is_registered_once_and_as_a_whole():
    lane, gpu = Lane(), Gpu()
    pins = Pins(lane, gpu)
    assert pins.send("a", 0x10040, "cuda") == ("sent", "a")
    lane.returns(None)
    assert pins.send("b", 0x11FFF, "cuda") == ("sent", "b")
    assert pins.send("c", 0x20000, "cuda") == ("sent", "c")
    registered = [it for it in gpu.did if it[0] == "register"]
    assert registered == [("register", 0x10000, SLOT), ("register", 0x20000, SLOT)]


def a_slot_goes_back_once_its_copies_have_ended():
    lane, gpu = Lane(), Gpu()
    pins = Pins(lane, gpu)
    pins.send("a", 0x10000, "cuda")
    pins.send("b", 0x10800, "cuda")
    assert ("waited", "a") not in gpu.did
    lane.returns(None)
    assert gpu.did[-2:] == [("waited", "a"), ("waited", "b")]
    lane.returns(None)
    assert gpu.did.count(("waited", "a")) == 1


def memory_outside_of_the_slots_is_staged():
    gpu = Gpu()
    pins = Pins(Lane(), gpu)
    assert pins.send("before", 0xFFFF, "cuda") == ("staged", "before")
    assert pins.send("behind", 0x12000, "cuda") == ("staged", "behind")
    assert gpu.did == [("stage", "before"), ("stage", "behind")]


def a_refusal_is_said_once_and_inputs_are_staged_from_then_on(capfd):
    lane, gpu = Lane(), Gpu("cudaHostRegister: operation not supported")
    pins = Pins(lane, gpu)
    for address in (0x10000, 0x20000, 0x10000):
        assert pins.send("x", address, "cuda") == ("staged", "x")
    assert gpu.did.count(("register", 0x10000, SLOT)) == 1
    said = capfd.readouterr().err
    assert said.count("copies inputs twice") == 1
    assert "operation not supported" in said


def a_slot_that_moves_is_let_go_of_after_its_copies_and_registered_where_it_is_then():
    lane, gpu = Lane(), Gpu()
    pins = Pins(lane, gpu)
    pins.send("a", 0x10000, "cuda")
    lane.move(0)
    assert gpu.did[-2:] == [("waited", "a"), ("unregister", 0x10000)]
    pins.send("b", 0x110000, "cuda")
    assert ("register", 0x110000, SLOT) in gpu.did
    assert pins.send("kept view", 0x10000, "cuda") == ("staged", "kept view")


def a_slot_that_moves_and_was_never_registered_is_none_of_the_gpus_business():
    lane, gpu = Lane(), Gpu()
    pins = Pins(lane, gpu)
    pins.send("a", 0x10000, "cuda")
    lane.move(1)
    assert ("unregister", 0x20000) not in gpu.did
    assert pins.send("b", 0x120000, "cuda") == ("sent", "b")


def slots_that_move_too_often_are_no_longer_registered(capfd):
    lane, gpu = Lane(), Gpu()
    pins = Pins(lane, gpu)
    for _ in range(MOVES_MAX):
        assert pins.send("x", lane.slots[0][0], "cuda") == ("sent", "x")
        lane.move(0)
    assert pins.send("x", lane.slots[0][0], "cuda") == ("staged", "x")
    assert capfd.readouterr().err.count("x.copy()") == 1


def copies_under_way_are_bounded():
    lane, gpu = Lane(), Gpu()
    pins = Pins(lane, gpu)
    for number in range(UNDER_WAY_MAX + 1):
        pins.send(number, 0x10000, "cuda")
    assert gpu.did.count(("waited", 0)) == 1
    assert ("waited", UNDER_WAY_MAX) not in gpu.did


def nothing_stays_registered_after_a_release():
    lane, gpu = Lane(), Gpu()
    pins = Pins(lane, gpu)
    pins.send("a", 0x10000, "cuda")
    pins.send("b", 0x20000, "cuda")
    pins.release()
    assert {it for it in gpu.did if it[0] == "unregister"} == {
        ("unregister", 0x10000),
        ("unregister", 0x20000),
    }


def only_the_thread_that_serves_has_pins(monkeypatch):
    monkeypatch.setattr(_pins, "_lane", None)
    monkeypatch.setattr(_pins, "_pins", None)
    assert _pins.pins(Gpu()) is None
    _pins.bind(Lane())
    assert _pins.pins(Gpu()) is _pins.pins(Gpu())
    elsewhere = []
    thread = threading.Thread(target=lambda: elsewhere.append(_pins.pins(Gpu())))
    thread.start()
    thread.join()
    assert elsewhere == [None]


def importing_hydrofoil_does_not_import_pytorch():
    check = "import sys, hydrofoil; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
