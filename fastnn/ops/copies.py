"""Copies, conversions and changes in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn._core import bool as bool_
from fastnn._core import (
    device,
    dtype,
    dtype_number,
    float32,
    float64,
    int32,
    int64,
    is_grad_enabled,
    uint8,
)
from fastnn.ops._registry import (
    Gradients,
    Node,
    Tensor,
    gradient,
    op,
    public,
    reference,
)
from fastnn.ops.views import renamed

_copy, _copy_, _add_, _mul_ = op("copy"), op("copy_"), op("add_"), op("mul_")
_div = op("div")


@public(method=True)
def clone(input: Tensor) -> Tensor:
    """A copy in fresh contiguous memory. Gradient: gy."""
    return _copy(input)


@public(method=True, function=False)
def contiguous(self: Tensor) -> Tensor:
    """self if it is contiguous, else a contiguous copy. Gradient: gy."""
    return self if self.is_contiguous() else _copy(self)


@public(method=True, function=False)
def to(
    self: Tensor,
    *args: Any,
    dtype: Any = None,
    device: Any = None,
    other: Tensor | None = None,
    non_blocking: bool = False,
    copy: bool = False,
) -> Tensor:
    """self with another dtype or device; self itself where nothing changes (unless copy).

    As in PyTorch: to(dtype, non_blocking, copy), to(device, dtype, non_blocking, copy), or
    to(other, non_blocking, copy), where other is a tensor whose dtype is meant.

    Parameters: non_blocking : without effect, as on any CPU.
    Gradient: gy, in self's dtype.
    Raises: RuntimeError for a device other than the CPU; TypeError for anything else.
    """
    flags = [copy]
    for k, a in enumerate(args):
        if isinstance(a, bool):
            flags.append(a)
        elif isinstance(a, Tensor) and k == 0:
            other = a
        elif isinstance(a, (str, _Device)) and k == 0:
            device = a
        elif a is not None and k < 2:
            dtype = a
        elif a is not None:
            raise TypeError(f"to: expected a dtype, a device or a tensor, got {a!r}")
    if len(flags) > 3:
        raise TypeError("to: expected non_blocking and copy at most, got more")
    copy = copy or (len(flags) == 3 and flags[2])
    if device is not None:
        _Device(str(device))
    if other is not None:
        dtype = other.dtype
    try:
        code = self.dtype.code if dtype is None else dtype_number(dtype)
    except TypeError as e:
        raise TypeError(f"to: {e}") from None
    if code == self.dtype.code and not copy:
        return self
    return _copy(self, code)


_Device = device


@public(method=True, function=False)
def cpu(self: Tensor) -> Tensor:
    """self: tensors live on the CPU."""
    return self


@public(method=True, function=False)
def cuda(self: Tensor, device: Any = None, non_blocking: bool = False) -> Tensor:
    """Raises RuntimeError: this build has no backend but the CPU."""
    return self.to("cuda")


@public(method="type", function=False)
def type_(self: Tensor, dtype: Any = None) -> Any:
    """The dtype's name, or self converted to dtype."""
    return repr(self.dtype) if dtype is None else self.to(dtype)


def _conversion(name: str, target: dtype) -> None:
    def convert(self: Tensor) -> Tensor:
        return self if self.dtype is target else _copy(self, target.code)

    convert.__name__ = name
    convert.__doc__ = f"self as {target.name}; self itself where it is."
    public(method=True, function=False)(convert)


for _name, _target in {
    "float": float32,
    "double": float64,
    "int": int32,
    "long": int64,
    "byte": uint8,
    "bool": bool_,
}.items():
    _conversion(_name, _target)


# ---- in place ---------------------------------------------------------------------------


def changed(self: Tensor) -> Tensor:
    """What an op that is about to be written back into self may keep for its gradient."""
    return _copy(self) if self.requires_grad and is_grad_enabled() else self


def _kind(x: Tensor) -> int:
    return 2 if x.is_floating_point() else int(x.dtype is not bool_)


def written(self: Tensor, result: Tensor, name: str = "") -> Tensor:
    """self, holding result. Raises: TypeError where result is of a wider kind (float above
    integer above bool) and name says who asks."""
    if name and _kind(result) > _kind(self):
        raise TypeError(
            f"{name}: expected a result that fits {self.dtype.name} in place, got "
            f"{result.dtype.name}"
        )
    return _copy_(self, result)


def in_place(function: Callable[..., Tensor]) -> None:
    """Adds the method name_ beside the function name."""
    name = function.__name__ + "_"

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return written(self, function(changed(self), *args, **kwargs), name)

    method.__name__ = name
    method.__doc__ = f"{function.__name__}, written into self; returns self. As copy_."
    public(method=True, function=False)(method)


@public(method=True, function=False)
def copy_(self: Tensor, source: Tensor | float) -> Tensor:
    """Writes source, broadcast and converted, into self; returns self.

    Gradient: 0 to what self was; gy to source.
    Raises: ValueError for a shape that does not broadcast to self's or read-only memory;
        RuntimeError for a leaf that requires grad, or a view whose change would have to be
        recorded.
    """
    return _copy_(self, source)


@public(method=True, function=False)
def fill_(self: Tensor, value: float) -> Tensor:
    """Sets every element to value; returns self. As copy_."""
    try:
        return _copy_(self, value)
    except (TypeError, ValueError, OverflowError) as e:
        raise renamed(e, "copy_", "fill_") from None


@public(method=True, function=False)
def zero_(self: Tensor) -> Tensor:
    """Sets every element to 0; returns self. As copy_."""
    return _copy_(self, 0)


@public(method=True, function=False)
def add_(self: Tensor, other: Tensor | float, *, alpha: float = 1) -> Tensor:
    """self += alpha * other; returns self. As copy_. Gradient: gy; alpha gy."""
    return _add_(self, other if alpha == 1 else op("mul")(other, alpha))


@public(method=True, function=False)
def sub_(self: Tensor, other: Tensor | float, *, alpha: float = 1) -> Tensor:
    """self -= alpha * other; returns self. As copy_. Gradient: gy; -alpha gy."""
    return _add_(self, -other if alpha == 1 else op("mul")(other, -alpha))


@public(method=True, function=False)
def mul_(self: Tensor, other: Tensor | float) -> Tensor:
    """self *= other; returns self. As copy_. Gradient: gy other; gy times what self was."""
    return _mul_(self, other)


@public(method=True, function=False)
def div_(
    self: Tensor, other: Tensor | float, *, rounding_mode: str | None = None
) -> Tensor:
    """self /= other; returns self. As copy_; self must be float32 or float64, or rounded."""
    if rounding_mode is None:
        return written(self, _div(self, other), "div_")
    return written(self, self.div(other, rounding_mode=rounding_mode), "div_")


@gradient("copy")
def _(node: Node, gy: Tensor) -> Gradients:
    return (gy,)


@gradient("copy_")
def _(node: Node, gy: Tensor) -> Gradients:
    return None, gy


@gradient("add_")
def _(node: Node, gy: Tensor) -> Gradients:
    return gy, gy


@gradient("mul_", saves={"x": "other", "other": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    x, other = node.saved
    mul = op("mul")
    return mul(gy, other) if node.needs(0) else None, mul(gy, x) if node.needs(
        1
    ) else None


@reference("copy")
def _(x: Any, code: int = -1) -> Any:
    from fastnn._core import dtypes

    return np.array(x) if code < 0 else np.array(x).astype(dtypes()[code].numpy)


reference("copy_")(lambda x, source: np.broadcast_to(source, x.shape).astype(x.dtype))
reference("add_")(lambda x, other: (x + other).astype(x.dtype))
reference("mul_")(lambda x, other: (x * other).astype(x.dtype))
