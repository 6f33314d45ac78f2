"""Whole numbers: floor, ceil, round, trunc, and division that rounds down."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.ops._registry import (
    Gradients,
    Node,
    Tensor,
    gradient,
    op,
    public,
    reference,
)
from fastnn.ops.copies import in_place
from fastnn.ops.elementwise import Operand

_floor, _ceil, _trunc, _round = op("floor"), op("ceil"), op("trunc"), op("round")
_floor_divide, _remainder = op("floor_divide"), op("remainder")
_mul, _div, _neg = op("mul"), op("div"), op("neg")
_expand, _copy = op("expand"), op("copy")


@public(method=True)
def floor(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The largest whole number not above input; integers stay. Gradient: 0."""
    return _floor(input) if out is None else _floor.into(out, input)


@public(method=True)
def ceil(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The smallest whole number not below input; integers stay. Gradient: 0."""
    return _ceil(input) if out is None else _ceil.into(out, input)


@public(method=True)
def trunc(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """input without its fraction, towards 0; integers stay. Gradient: 0."""
    return _trunc(input) if out is None else _trunc.into(out, input)


@public(method=True)
def round(input: Tensor, *, decimals: int = 0, out: Tensor | None = None) -> Tensor:
    """The nearest whole number, halves to the even one; integers stay. Gradient: 0.

    Parameters: decimals : digits to keep behind the point; below 0, before it.
    Example:
        >>> fastnn.round(fastnn.tensor([0.5, 1.5, -2.5]))
        tensor([ 0.,  2., -2.])
    """
    if decimals == 0:
        return _round(input) if out is None else _round.into(out, input)
    power = 10.0 ** builtin_abs(decimals)
    up, down = (_mul, _div) if decimals > 0 else (_div, _mul)
    y = down(_round(up(input, power)), power)
    return y if out is None else op("copy_")(out, y)


builtin_abs = abs


@public(method=True)
def floor_divide(
    input: Operand, other: Operand, *, out: Tensor | None = None
) -> Tensor:
    """input // other: the quotient rounded down, as Python has it.

    Parameters: input, other : Tensor or number (shapes broadcast).
    Returns: broadcast shape, promoted dtype; fresh, or out. Division of floats by 0 gives
        infinity or NaN.
    Gradient: 0.
    Raises: ValueError for integers divided by 0; TypeError for bool.
    Example:
        >>> fastnn.tensor([7, -7]) // 2
        tensor([ 3, -4])
    """
    if out is None:
        return _floor_divide(input, other)
    return _floor_divide.into(out, input, other)


@public(method=True)
def remainder(input: Operand, other: Operand, *, out: Tensor | None = None) -> Tensor:
    """input % other = input - (input // other) other, with other's sign, as Python has it.

    Exact for floats. As floor_divide. Gradient: gy; -gy (input // other).
    Example:
        >>> fastnn.tensor([7, -7]) % 3
        tensor([1, 2])
    """
    if out is None:
        return _remainder(input, other)
    return _remainder.into(out, input, other)


for _function in (floor, ceil, trunc, round, floor_divide, remainder):
    in_place(_function)


def _zeros(gy: Tensor) -> Tensor:
    return _expand(_copy(0.0, gy.dtype.code), gy.shape)


@gradient("floor")
@gradient("ceil")
@gradient("trunc")
@gradient("round")
def _(node: Node, gy: Tensor) -> Gradients:
    return (_zeros(gy),)


@gradient("floor_divide")
def _(node: Node, gy: Tensor) -> Gradients:
    return _zeros(gy), _zeros(gy)


@gradient("remainder", saves={"a": "b", "b": "b"})
def _(node: Node, gy: Tensor) -> Gradients:
    a, b = node.saved
    return gy, _neg(_mul(gy, _floor_divide(a, b))) if node.needs(1) else None


reference("floor")(lambda x: np.floor(x).astype(x.dtype))
reference("ceil")(lambda x: np.ceil(x).astype(x.dtype))
reference("trunc")(lambda x: np.trunc(x).astype(x.dtype))
reference("round")(lambda x: np.round(x))


@reference("floor_divide")
def _(a: Any, b: Any) -> Any:
    return np.floor_divide(a, b)


@reference("remainder")
def _(a: Any, b: Any) -> Any:
    return np.remainder(a, b)
