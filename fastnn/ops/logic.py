"""Truth: logical and bitwise operations, tests of elements, any and all."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn._core import bool as bool_
from fastnn._core import uint8
from fastnn.ops._registry import Tensor, no_gradient, op, public, reference
from fastnn.ops.copies import in_place
from fastnn.ops.elementwise import Operand
from fastnn.ops.reductions import Dims, reduced_dims

_eq, _ne, _lt, _le, _gt = op("eq"), op("ne"), op("lt"), op("le"), op("gt")
_and, _or, _xor = op("bitwise_and"), op("bitwise_or"), op("bitwise_xor")
_not, _where, _abs, _sub = op("bitwise_not"), op("where"), op("abs"), op("sub")
_add, _mul, _sum, _copy = op("add"), op("mul"), op("sum"), op("copy")

# ---- bits ---------------------------------------------------------------------------------


@public(method=True)
def bitwise_and(input: Operand, other: Operand) -> Tensor:
    """input & other, bit by bit; for bool, whether both hold.

    Parameters: input, other : integer or bool, Tensor or number (shapes broadcast).
    Returns: broadcast shape, promoted dtype; fresh. Raises: TypeError for floats.
    Example:
        >>> x = fastnn.tensor([1, 5, 9])
        >>> (x > 2) & (x < 7)
        tensor([False,  True, False])
    """
    return _and(input, other)


@public(method=True)
def bitwise_or(input: Operand, other: Operand) -> Tensor:
    """input | other, bit by bit; for bool, whether one holds. As bitwise_and."""
    return _or(input, other)


@public(method=True)
def bitwise_xor(input: Operand, other: Operand) -> Tensor:
    """input ^ other, bit by bit; for bool, whether just one holds. As bitwise_and."""
    return _xor(input, other)


@public(method=True)
def bitwise_not(input: Tensor) -> Tensor:
    """~input, bit by bit; for bool, whether it does not hold. As bitwise_and."""
    return _not(input)


no_gradient("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not")

# ---- truth of numbers ---------------------------------------------------------------------


def _truth(name: str, x: Any) -> Tensor:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: expected a tensor, got {type(x).__name__}")
    return x if x.dtype is bool_ else _ne(x, 0)


@public(method=True, composite=True)
def logical_not(input: Tensor) -> Tensor:
    """Whether input is 0 (bool). NaN is not 0."""
    return _not(_truth("logical_not", input))


@public(method=True, composite=True)
def logical_and(input: Tensor, other: Tensor) -> Tensor:
    """Whether both are other than 0 (bool, broadcast). NaN is not 0."""
    return _and(_truth("logical_and", input), _truth("logical_and", other))


@public(method=True, composite=True)
def logical_or(input: Tensor, other: Tensor) -> Tensor:
    """Whether one is other than 0 (bool, broadcast). NaN is not 0."""
    return _or(_truth("logical_or", input), _truth("logical_or", other))


@public(method=True, composite=True)
def logical_xor(input: Tensor, other: Tensor) -> Tensor:
    """Whether just one is other than 0 (bool, broadcast). NaN is not 0."""
    return _xor(_truth("logical_xor", input), _truth("logical_xor", other))


for _function in (
    bitwise_and,
    bitwise_or,
    bitwise_xor,
    bitwise_not,
    logical_not,
    logical_and,
    logical_or,
    logical_xor,
):
    in_place(_function)


@public(method=True, composite=True)
def isnan(input: Tensor) -> Tensor:
    """Whether each element is NaN (bool)."""
    return _ne(input, input)


@public(method=True, composite=True)
def isinf(input: Tensor) -> Tensor:
    """Whether each element is infinite, of either sign (bool)."""
    return _eq(_abs(input), math.inf)


@public(method=True, composite=True)
def isfinite(input: Tensor) -> Tensor:
    """Whether each element is neither NaN nor infinite (bool)."""
    return _lt(_abs(input), math.inf)


# ---- any and all --------------------------------------------------------------------------


def _verdict(input: Tensor, y: Tensor) -> Tensor:
    """bool, but uint8 for uint8 (PyTorch's rule)."""
    return _copy(y, uint8.code) if input.dtype is uint8 else y


@public(method=True)
def any(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether some element over dim (int, tuple, or None for all) is other than 0.

    Returns: bool (uint8 for uint8); fresh. False where there is none. NaN is not 0.
    """
    return _verdict(input, _gt(_sum(_ne(input, 0), reduced_dims(dim), keepdim), 0))


@public(method=True)
def all(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether every element over dim is other than 0. As any; True where there is none."""
    return _verdict(input, _eq(_sum(_eq(input, 0), reduced_dims(dim), keepdim), 0))


# ---- equality -----------------------------------------------------------------------------


@public(method=True)
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether both have the same shape and elements (Python's bool). NaN equals nothing."""
    if not isinstance(input, Tensor) or not isinstance(other, Tensor):
        raise TypeError("equal: expected two tensors")
    return input.shape == other.shape and not int(_sum(_ne(input, other)))


@public(method=True, composite=True)
def isclose(
    input: Tensor,
    other: Tensor,
    rtol: float = 1e-05,
    atol: float = 1e-08,
    equal_nan: bool = False,
) -> Tensor:
    """Whether |input - other| <= atol + rtol |other| (bool); equal infinities are close.

    Parameters: input, other : of one dtype, broadcast. rtol, atol : at least 0.
        equal_nan : whether NaN is close to NaN.
    Raises: TypeError for mixed dtypes; ValueError for a negative tolerance.
    """
    if input.dtype is not other.dtype:
        raise TypeError(
            f"isclose: expected one dtype, got {input.dtype.name} and {other.dtype.name}"
        )
    if rtol < 0 or atol < 0:
        raise ValueError(
            f"isclose: expected tolerances of at least 0, got {rtol} and {atol}"
        )
    close = _eq(input, other)
    if equal_nan:
        close = _or(close, _and(_ne(input, input), _ne(other, other)))
    if not input.is_floating_point():
        if rtol == 0 and atol == 0:
            return close
        input, other = input.double(), other.double()
    distance = _abs(_sub(input, other))
    near = _le(distance, _add(_mul(_abs(other), rtol), atol))
    return _or(close, _and(near, _lt(distance, math.inf)))


@public(method=True)
def allclose(
    input: Tensor,
    other: Tensor,
    rtol: float = 1e-05,
    atol: float = 1e-08,
    equal_nan: bool = False,
) -> bool:
    """Whether all elements are close (Python's bool). As isclose."""
    return bool(all(isclose(input, other, rtol, atol, equal_nan)))


reference("bitwise_and")(lambda a, b: np.bitwise_and(a, b))
reference("bitwise_or")(lambda a, b: np.bitwise_or(a, b))
reference("bitwise_xor")(lambda a, b: np.bitwise_xor(a, b))
reference("bitwise_not")(lambda x: np.invert(x))
_IN_NUMPY: dict[str, Callable[..., Any]] = {
    "logical_not": np.logical_not,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
    "isnan": np.isnan,
    "isinf": np.isinf,
    "isfinite": np.isfinite,
    "isclose": np.isclose,
}
for _name, _in_numpy in _IN_NUMPY.items():
    reference(_name)(_in_numpy)
