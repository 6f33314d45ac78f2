"""Tensors from nothing, from Python data, from NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn import _core
from fastnn._core import device as _Device
from fastnn._core import float32, install, tensor_from
from fastnn.ops._registry import Tensor, op, public
from fastnn.ops.views import sizes

_copy_ = op("copy_")


def on(device: Any) -> None:
    """RuntimeError unless device is None or the CPU."""
    if device is not None:
        _Device(str(device))


@public()
def tensor(
    data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A leaf holding a copy of data.

    Parameters: data : number, nested sequence, NumPy array or tensor. dtype : by default
        float32 for Python floats, int64 for integers, bool for booleans, an array's own.
    Raises: TypeError or ValueError for what is not a rectangular block of numbers.
    Example:
        >>> fastnn.tensor([[1, 2], [3, 4]])
        tensor([[1, 2],
                [3, 4]])
    """
    on(device)
    return tensor_from(data, dtype, True).requires_grad_(requires_grad)


@public()
def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """data as a tensor, sharing its memory where dtype and layout allow. As tensor."""
    on(device)
    return tensor_from(data, dtype, False)


def _filled(
    name: str, shape: Any, value: float, dtype: Any, device: Any, requires_grad: bool
) -> Tensor:
    on(device)
    x = _core.empty(shape, float32 if dtype is None else dtype, name)
    return _copy_(x, value).requires_grad_(requires_grad)


@public()
def zeros(
    *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Zeros of shape size; float32 unless dtype says otherwise."""
    return _filled("zeros", sizes(size), 0, dtype, device, requires_grad)


@public()
def ones(
    *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Ones of shape size; float32 unless dtype says otherwise."""
    return _filled("ones", sizes(size), 1, dtype, device, requires_grad)


@public()
def empty(
    *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Memory of shape size that is not initialised; float32 unless dtype says otherwise."""
    on(device)
    x = _core.empty(sizes(size), float32 if dtype is None else dtype)
    return x.requires_grad_(requires_grad)


@public()
def full(
    size: Any,
    fill_value: float,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """fill_value everywhere; its own type (float32, int64, bool) unless dtype is given."""
    if dtype is None:
        dtype = tensor_from(fill_value, None, False).dtype
    return _filled("full", sizes((size,)), fill_value, dtype, device, requires_grad)


@public()
def zeros_like(
    input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Zeros of input's shape, and dtype unless given."""
    return _filled(
        "zeros_like",
        input.shape,
        0,
        input.dtype if dtype is None else dtype,
        device,
        requires_grad,
    )


@public()
def ones_like(
    input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Ones of input's shape, and dtype unless given."""
    return _filled(
        "ones_like",
        input.shape,
        1,
        input.dtype if dtype is None else dtype,
        device,
        requires_grad,
    )


@public()
def empty_like(
    input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Uninitialised memory of input's shape, and dtype unless given."""
    on(device)
    x = _core.empty(input.shape, input.dtype if dtype is None else dtype)
    return x.requires_grad_(requires_grad)


@public()
def full_like(
    input: Tensor,
    fill_value: float,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """fill_value in input's shape, and dtype unless given."""
    return _filled(
        "full_like",
        input.shape,
        fill_value,
        input.dtype if dtype is None else dtype,
        device,
        requires_grad,
    )


@public()
def arange(
    start: float,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, ... below end; int64 for integers, else float32.

    Raises: ValueError for a step of 0 or an end that is never reached.
    """
    if end is None:
        start, end = 0, start
    if step == 0 or not all(math.isfinite(v) for v in (start, end, step)):
        raise ValueError(
            f"arange: expected finite bounds and a step other than 0, got "
            f"{start}, {end}, {step}"
        )
    if (end - start) * step < 0:
        raise ValueError(
            f"arange: expected end beyond start, got {start}, {end}, {step}"
        )
    integers = all(isinstance(v, (int, np.integer)) for v in (start, end, step))
    count = max(0, math.ceil((end - start) / step))
    values = start + np.arange(count) * step
    on(device)
    return tensor_from(
        values, dtype or (_core.int64 if integers else float32), True
    ).requires_grad_(requires_grad)


@public()
def linspace(
    start: float,
    end: float,
    steps: int,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """steps numbers, evenly from start to end, both included; float32 unless given."""
    on(device)
    return tensor_from(
        np.linspace(start, end, steps), dtype or float32, True
    ).requires_grad_(requires_grad)


@public()
def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Ones on the diagonal of an (n, m) matrix of zeros; float32 unless given."""
    on(device)
    return tensor_from(np.eye(n, m), dtype or float32, True).requires_grad_(
        requires_grad
    )


@public()
def is_tensor(obj: Any) -> bool:
    """Whether obj is a Tensor (bool)."""
    return isinstance(obj, Tensor)


@public()
def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype is float32 or float64 (bool)."""
    return input.is_floating_point()


@public(method=True, function=False)
def tolist(self: Tensor) -> Any:
    """Nested lists of Python numbers."""
    return self.numpy(force=True).tolist()


def _render(self: Tensor) -> str:
    """tensor([...], dtype=..., requires_grad or grad_fn), as PyTorch prints it."""
    array = self.numpy(force=True)
    text = np.array2string(
        array, separator=", ", precision=4, threshold=1000, prefix="tensor("
    )
    if self.numel() == 0:
        text = f"[], size={self.shape}" if self.ndim != 1 else "[]"
    notes = []
    default = self.dtype in (_core.float32, _core.int64, _core.bool)
    if not default or (self.numel() == 0 and self.dtype is not float32):
        notes.append(f"dtype={self.dtype!r}")
    if self.grad_fn is not None:
        notes.append(f"grad_fn={self.grad_fn!r}")
    elif self.requires_grad:
        notes.append("requires_grad=True")
    return f"tensor({', '.join([text, *notes])})"


install("repr", _render)
