"""New tensors of a tensor's kind: new_zeros and the like, type_as."""

from __future__ import annotations

from typing import Any

from fastnn._core import install
from fastnn.ops import creation
from fastnn.ops._checks import expect_tensors
from fastnn.ops._registry import Tensor, public
from fastnn.ops.views import sizes


@public(method=True, function=False)
def new_zeros(
    self: Tensor,
    *size: Any,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Zeros of shape size, of self's dtype unless given. As zeros."""
    how = {"dtype": dtype or self.dtype, "device": device}
    return creation.zeros(sizes(size), requires_grad=requires_grad, **how)


@public(method=True, function=False)
def new_ones(
    self: Tensor,
    *size: Any,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Ones of shape size, of self's dtype unless given. As ones."""
    how = {"dtype": dtype or self.dtype, "device": device}
    return creation.ones(sizes(size), requires_grad=requires_grad, **how)


@public(method=True, function=False)
def new_empty(
    self: Tensor,
    *size: Any,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Memory of shape size that is not initialised, of self's dtype unless given."""
    how = {"dtype": dtype or self.dtype, "device": device}
    return creation.empty(sizes(size), requires_grad=requires_grad, **how)


@public(method=True, function=False)
def new_full(
    self: Tensor,
    size: Any,
    fill_value: float,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """fill_value in shape size, of self's dtype unless given. As full."""
    how = {"dtype": dtype or self.dtype, "device": device}
    return creation.full(size, fill_value, requires_grad=requires_grad, **how)


@public(method=True, function=False)
def new_tensor(
    self: Tensor,
    data: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """A leaf holding a copy of data, of self's dtype unless given. As tensor."""
    how = {"dtype": dtype or self.dtype, "device": device}
    return creation.tensor(data, requires_grad=requires_grad, **how)


@public(method=True, function=False)
def type_as(self: Tensor, other: Tensor) -> Tensor:
    """self in other's dtype; self itself where it has it. Gradient: gy."""
    expect_tensors("type_as", other=other)
    return self.to(other.dtype)


install("is_cuda", property(lambda self: False, doc="Whether it lies on a GPU: False."))
