"""Logarithms of base 2 and 10, exact at powers of the base."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._core import float64
from fastnn.ops._checks import expect_tensors
from fastnn.ops._registry import Tensor, op, public, reference
from fastnn.ops.copies import in_place

_log, _pow, _mul, _div, _add = op("log"), op("pow"), op("mul"), op("div"), op("add")
_round, _where, _ge, _abs = op("round"), op("where"), op("ge"), op("abs")
_copy, _clamp_min, _clamp_max = op("copy"), op("clamp_min"), op("clamp_max")


# 1 / log(base), and what rounding it to float64 leaves
SCALES = {
    2.0: (1.4426950408889634, 2.0355273740931033e-17),
    10.0: (0.4342944819032518, 1.098319650216765e-17),
}


def _logarithm(name: str, input: Tensor, base: float) -> Tensor:
    """k + log(input / base^k) / log(base), k the nearest whole logarithm: for a power of
    the base the quotient is 1. In float64; float32 is rounded once, at the end."""
    expect_tensors(name, input=input)
    x = input if input.is_floating_point() else input.float()
    dtype, (scale, rest) = x.dtype, SCALES[base]
    x = x.to(float64)
    if dtype is not float64:
        return _copy(_mul(_log(x), scale), dtype.code)
    k = _mul(_log(x.detach()), scale)
    k = _clamp_max(_clamp_min(_round(k), -300.0), 300.0)  # base^k stays a normal number
    power = _pow(base, _abs(k))
    y = _where(_ge(k, 0), _div(x, power), _mul(x, power))
    y = _log(y)
    return _add(_add(_mul(y, rest), _mul(y, scale)), k)


@public(method=True, composite=True)
def log2(input: Tensor) -> Tensor:
    """Logarithm of base 2, exact at powers of 2; -inf at 0, NaN below.

    Returns: input's shape and dtype, float32 for integers; fresh. float64 is within 2 units
        in the last place.
    Gradient: gy / (input log(2)).
    Example:
        >>> fastnn.log2(fastnn.tensor([8.0, 0.5]))
        tensor([ 3., -1.])
    """
    return _logarithm("log2", input, 2.0)


@public(method=True, composite=True)
def log10(input: Tensor) -> Tensor:
    """Logarithm of base 10, exact at powers of 10. As log2. Gradient: gy / (input log(10)).

    Example:
        >>> fastnn.log10(fastnn.tensor([1000.0]))
        tensor([3.])
    """
    return _logarithm("log10", input, 10.0)


for _function in (log2, log10):
    in_place(_function)


@reference("log2")
def _(x: Any) -> Any:
    return np.log2(x)


@reference("log10")
def _(x: Any) -> Any:
    return np.log10(x)
