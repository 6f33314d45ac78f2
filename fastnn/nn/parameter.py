"""Parameter: a tensor that its module trains."""

from __future__ import annotations

from typing import Any

import fastnn
from fastnn._core import Tensor, holds_rows


class Parameter(Tensor):
    """A tensor that, as an attribute of a Module, is one of its parameters.

    Parameters:
        data : Tensor, any shape, float: the values; shared, not copied.
        requires_grad : bool: whether backward() fills .grad.

    Example:
        >>> import fastnn
        >>> p = fastnn.nn.Parameter(fastnn.zeros(2, 3))
        >>> p.requires_grad, tuple(p.shape)
        (True, (2, 3))
    """

    def __init__(self, data: Tensor, requires_grad: bool = True) -> None:
        super().__init__(data)
        self.requires_grad_(requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


def convert(tensor: Tensor, dtype: Any) -> None:
    """Give a leaf, and its gradient, another dtype; it stays the same object."""
    if tensor.dtype is dtype:
        return
    wanted, grad = tensor.requires_grad, tensor.grad
    tensor.grad = None
    tensor.requires_grad_(False).data = tensor.detach().to(dtype)
    tensor.requires_grad_(wanted)
    if grad is not None:
        tensor.grad = grad.detach().to(dtype)


def clear_grad(parameter: Tensor, set_to_none: bool) -> None:
    """Drop a tensor's gradient, or fill it with zeros; one of rows is always dropped."""
    if set_to_none or holds_rows(parameter):
        parameter.grad = None
        return
    grad = parameter.grad
    if grad is not None:
        with fastnn.no_grad():
            grad.detach_().zero_()
