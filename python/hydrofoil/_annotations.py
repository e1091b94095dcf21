"""Declared tensors: ``foil.f32["n", 64]``.

A dtype subscripted with dimensions makes a :class:`Tensor`. ``"n"`` is the batch dimension, an
integer a fixed one, any other name a variable one. A bare dtype is a scalar.
"""

import builtins
from dataclasses import dataclass

import numpy as np

from hydrofoil._errors import ModelError

BATCH = "n"
# The lane's header carries at most this many dimensions.
RANK_MAX = 8

Dim = int | builtins.str


@dataclass(frozen=True, slots=True)
class DType:
    """An element type. ``foil.f32["n", 64]`` declares a tensor of it."""

    name: builtins.str
    numpy: np.dtype

    def __getitem__(self, dims: Dim | tuple[Dim, ...]) -> "Tensor":
        dims = dims if isinstance(dims, tuple) else (dims,)
        for dim in dims:
            _check_dim(self, dim)
        if len(dims) > RANK_MAX:
            raise ModelError(f"{self!r} has {len(dims)} dimensions, use at most {RANK_MAX}")
        if BATCH in dims[1:]:
            raise ModelError(f'the batch dimension "{BATCH}" must come first in {self!r}[…], once')
        return Tensor(self, dims)

    def __repr__(self) -> builtins.str:
        return f"foil.{self.name}"

    def __call__(self, *_args, **_kwargs):
        raise TypeError(f"{self!r} declares a tensor and converts nothing; use numpy to convert")


@dataclass(frozen=True, slots=True)
class Tensor:
    """A dtype with dimensions, as an annotation declares it."""

    dtype: DType
    dims: tuple[Dim, ...]

    @property
    def batched(self) -> builtins.bool:
        return self.dims[:1] == (BATCH,)

    def with_batch(self) -> "Tensor":
        return self if self.batched else Tensor(self.dtype, (BATCH, *self.dims))

    def __repr__(self) -> builtins.str:
        if not self.dims:
            return repr(self.dtype)
        return f"{self.dtype!r}[{', '.join(_show(dim) for dim in self.dims)}]"


def _show(dim: Dim) -> builtins.str:
    return f'"{dim}"' if isinstance(dim, builtins.str) else repr(dim)


def _check_dim(dtype: DType, dim: object) -> None:
    fixed = isinstance(dim, int) and not isinstance(dim, builtins.bool) and 0 <= dim < 2**63
    if fixed or (isinstance(dim, builtins.str) and dim):
        return
    raise ModelError(
        f'{dim!r} is no dimension of {dtype!r}: use "n" for the batch, an integer from 0, or a name'
    )


def tensor_of(annotation: object) -> Tensor | None:
    """The tensor an annotation means, or None when it means none."""
    if isinstance(annotation, DType):
        return Tensor(annotation, ())
    return annotation if isinstance(annotation, Tensor) else None


def _dtype(name: builtins.str, numpy: object) -> DType:
    return DType(name, np.dtype(numpy))


bool = _dtype("bool", np.bool_)
u8 = _dtype("u8", np.uint8)
u16 = _dtype("u16", np.uint16)
u32 = _dtype("u32", np.uint32)
u64 = _dtype("u64", np.uint64)
i8 = _dtype("i8", np.int8)
i16 = _dtype("i16", np.int16)
i32 = _dtype("i32", np.int32)
i64 = _dtype("i64", np.int64)
f16 = _dtype("f16", np.float16)
f32 = _dtype("f32", np.float32)
f64 = _dtype("f64", np.float64)
bytes = _dtype("bytes", np.object_)
str = _dtype("str", np.object_)
