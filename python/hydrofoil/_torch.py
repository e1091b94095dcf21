"""From the lane to PyTorch. PyTorch is imported by those models alone that ask for it here."""

from typing import TYPE_CHECKING, Any

import numpy as np

from hydrofoil._pins import Copy, pins

if TYPE_CHECKING:
    import torch

# cudaHostRegisterPortable: for every device of the process.
_PORTABLE = 1

_cuda: "Cuda | None" = None


def to_torch(x: np.ndarray, device: "str | torch.device | None" = None) -> "torch.Tensor":
    """An input of ``predict`` as a tensor on ``device``: where None, the GPU if PyTorch sees one, else the CPU.

    On the CPU the tensor is a view of ``x``. To a GPU, inputs go straight from the memory that the engine wrote, which
    the first call registers with CUDA. The copy is queued on PyTorch's current stream without waiting, ahead of what the model
    queues there next, and has ended before the engine writes there again. Where CUDA can't register that memory, and in threads other
    than the one that runs ``predict``, inputs are copied to pinned memory first.
    """
    import torch

    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(device)
    # A tensor may be written to: where the array may not, it gets one of its own.
    tensor = torch.from_dlpack(x if x.flags.writeable else x.copy())
    if device.type != "cuda" or not tensor.numel():
        return tensor.to(device)
    global _cuda
    if _cuda is None:
        _cuda = Cuda(torch)
    lane = pins(_cuda)
    return _cuda.stage(tensor, device) if lane is None else lane.send(tensor, tensor.data_ptr(), device)


class Cuda:
    """What is asked of CUDA, through the PyTorch that is given."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._runtime = torch.cuda.cudart()

    def register(self, address: int, byte_size: int) -> str | None:
        error = self._runtime.cudaHostRegister(address, byte_size, _PORTABLE)
        if int(error) == 0:
            return None
        self._forget_error()
        return f"cudaHostRegister: {self._runtime.cudaGetErrorString(error)}"

    def unregister(self, address: int) -> None:
        error = self._runtime.cudaHostUnregister(address)
        if int(error) != 0:
            # The driver would go on reading pages that the lane gives away.
            raise RuntimeError(f"cudaHostUnregister: {self._runtime.cudaGetErrorString(error)}")

    def send(self, tensor: Any, device: Any) -> tuple[Any, Copy]:
        sent = tensor.to(device, non_blocking=True)
        ended = self._torch.cuda.Event()
        ended.record(self._torch.cuda.current_stream(sent.device))
        return sent, ended

    def stage(self, tensor: Any, device: Any) -> Any:
        try:
            # PyTorch keeps the pinned copy until it has arrived.
            return tensor.pin_memory().to(device, non_blocking=True)
        except RuntimeError:
            # No memory can be pinned: the driver copies while it is waited for.
            return tensor.to(device)

    def _forget_error(self) -> None:
        """CUDA keeps the last error, and PyTorch would raise it from the model's next launch."""
        try:
            self._torch.ones(1, device="cuda").add_(1)
        except RuntimeError:
            return
