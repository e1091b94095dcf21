"""`to_torch` with the PyTorch that is installed, and a CUDA that is not."""

import types

import numpy as np
import pytest

import hydrofoil as foil
from hydrofoil import _torch
from hydrofoil._torch import Cuda

torch = pytest.importorskip("torch")


def a_tensor_on_the_cpu_is_a_view_of_its_array():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensor = foil.to_torch(x, "cpu")
    tensor[0, 0] = 7
    assert x[0, 0] == 7
    assert tensor.shape == (2, 3)


def an_array_that_may_not_be_written_is_copied():
    x = np.zeros(3, np.int64)
    x.flags.writeable = False
    tensor = foil.to_torch(x, "cpu")
    tensor += 1
    assert x.tolist() == [0, 0, 0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def without_a_gpu_the_device_is_the_cpu():
    assert foil.to_torch(np.zeros(3)).device.type == "cpu"


@pytest.mark.parametrize("dtype", "?,u1,i1,i2,i4,i8,f2,f4,f8,u2,u4,u8".split(","))
def every_number_of_the_lane_has_a_tensor(dtype):
    x = np.array([0, 1], dtype)
    assert np.array_equal(foil.to_torch(x, "cpu").numpy(), x)


def texts_have_no_tensor():
    with pytest.raises((BufferError, TypeError)):
        foil.to_torch(np.array(["a"], np.object_), "cpu")


class FakeTorch:
    """PyTorch's names for what `Cuda` uses."""

    def __init__(self, error=0):
        self.error, self.did = error, []
        runtime = types.SimpleNamespace(
            cudaHostRegister=self.register,
            cudaHostUnregister=self.unregister,
            cudaGetErrorString=lambda error: f"error {int(error)}",
        )
        self.cuda = types.SimpleNamespace(cudart=lambda: runtime)

    def register(self, address, byte_size, flags):
        self.did.append(("register", address, byte_size, flags))
        return self.error

    def unregister(self, address):
        self.did.append(("unregister", address))
        return self.error

    def ones(self, *shape, device):
        self.did.append(("launch", device))
        raise RuntimeError("the error before")


def a_range_is_registered_for_every_device():
    fake = FakeTorch()
    assert Cuda(fake).register(0x1000, 0x2000) is None
    assert fake.did == [("register", 0x1000, 0x2000, 1)]


def a_refusal_is_told_and_not_left_for_the_models_next_launch():
    fake = FakeTorch(801)
    assert Cuda(fake).register(0x1000, 0x2000) == "cudaHostRegister: error 801"
    assert fake.did[-1] == ("launch", "cuda")


def a_range_that_stays_registered_is_an_error():
    with pytest.raises(RuntimeError, match="error 1"):
        Cuda(FakeTorch(1)).unregister(0x1000)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def a_tensor_on_the_gpu_has_the_values_of_its_array():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensor = foil.to_torch(x)
    assert tensor.device.type == "cuda"
    assert np.array_equal(tensor.cpu().numpy(), x)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def memory_that_is_mapped_by_hand_can_be_registered_and_let_go_of():
    import mmap

    memory = mmap.mmap(-1, 1 << 20)
    x = np.frombuffer(memory, np.float32)
    cuda = Cuda(torch)
    address = x.__array_interface__["data"][0]
    assert cuda.register(address, x.nbytes) is None
    sent, copy = cuda.send(torch.from_dlpack(x), torch.device("cuda"))
    copy.synchronize()
    assert not sent.any()
    cuda.unregister(address)


def a_gpu_is_asked_for_through_the_lane_of_this_thread(monkeypatch):
    asked = []

    class Pins:
        def send(self, tensor, address, device):
            asked.append((address, device.type))
            return tensor

    monkeypatch.setattr(_torch, "_cuda", object())
    monkeypatch.setattr(_torch, "pins", lambda cuda: Pins())
    x = np.zeros(3, np.float32)
    foil.to_torch(x, "cuda")
    assert asked == [(x.ctypes.data, "cuda")]
