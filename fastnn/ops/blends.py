"""Three tensors in one line: lerp, addcmul, addcdiv; and numbers for what is none."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.ops._checks import expect_tensors
from fastnn.ops._registry import Tensor, op, public, reference
from fastnn.ops.copies import in_place
from fastnn.ops.elementwise import Operand

_add, _sub, _mul, _div = op("add"), op("sub"), op("mul"), op("div")
_where, _lt, _eq, _abs = op("where"), op("lt"), op("eq"), op("abs")
_ne, _copy = op("ne"), op("copy")


@public(method=True, composite=True)
def lerp(input: Tensor, end: Tensor, weight: Operand) -> Tensor:
    """input + weight (end - input): input for weight 0, end for weight 1, both exactly.

    Parameters: input, end : float Tensors of one dtype. weight : Tensor of that dtype, or
        number. All broadcast.
    Returns: broadcast shape; fresh.
    Gradient: gy (1 - weight); gy weight; gy (end - input).
    Raises: TypeError for integers or dtypes that differ.
    Example:
        >>> fastnn.lerp(fastnn.tensor([0.0, 10.0]), fastnn.tensor([1.0, 20.0]), 0.5)
        tensor([ 0.5, 15. ])
    """
    expect_tensors("lerp", input=input, end=end)
    operands = [input, end] + ([weight] if isinstance(weight, Tensor) else [])
    kinds = [x.dtype.name for x in operands]
    if not input.is_floating_point() or len(set(kinds)) > 1:
        raise TypeError(
            f"lerp: expected input, end and weight of one float dtype, got {kinds}"
        )
    way = _sub(end, input)
    if isinstance(weight, Tensor):
        near = _add(input, _mul(weight, way))
        far = _sub(end, _mul(_sub(1, weight), way))
        return _where(_lt(_abs(weight), 0.5), near, far)
    if abs(weight) < 0.5:
        return _add(input, _mul(way, weight))
    return _sub(end, _mul(way, 1 - weight))


def _scaled(name: str, value: float, *operands: Tensor) -> None:
    """TypeError for a value that integers cannot hold."""
    whole = not any(x.is_floating_point() for x in operands)
    if isinstance(value, float) and whole:
        raise TypeError(
            f"{name}: expected value as an integer for integer tensors, got {value}"
        )


@public(method=True, composite=True)
def addcmul(
    input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1
) -> Tensor:
    """input + value tensor1 tensor2.

    Parameters: input, tensor1, tensor2 : Tensors (shapes broadcast). value : number.
    Returns: broadcast shape, promoted dtype; fresh.
    Gradient: gy; value gy tensor2; value gy tensor1.
    Raises: TypeError for a fraction as the value of integers.
    Example:
        >>> x = fastnn.tensor([1.0, 2.0])
        >>> fastnn.addcmul(x, x, x, value=0.5)
        tensor([1.5, 4. ])
    """
    expect_tensors("addcmul", input=input, tensor1=tensor1, tensor2=tensor2)
    _scaled("addcmul", value, input, tensor1, tensor2)
    product = _mul(tensor1, tensor2)
    if not product.is_floating_point() and input.is_floating_point():
        product = product.to(input.dtype)  # before a fraction meets it
    return _add(input, product if value == 1 else _mul(product, value))


@public(method=True, composite=True)
def addcdiv(
    input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1
) -> Tensor:
    """input + value tensor1 / tensor2.

    Parameters: as addcmul; tensor1 or tensor2 must be of a float dtype.
    Returns: broadcast shape, promoted dtype; fresh.
    Gradient: gy; value gy / tensor2; -value gy tensor1 / tensor2^2.
    Raises: TypeError for a quotient of integers.
    Example:
        >>> x = fastnn.tensor([1.0, 2.0])
        >>> fastnn.addcdiv(x, x, fastnn.tensor([2.0, 4.0]), value=-1)
        tensor([0.5, 1.5])
    """
    expect_tensors("addcdiv", input=input, tensor1=tensor1, tensor2=tensor2)
    if not tensor1.is_floating_point() and not tensor2.is_floating_point():
        raise TypeError(
            "addcdiv: expected tensor1 or tensor2 of a float dtype, got "
            f"{tensor1.dtype.name} and {tensor2.dtype.name} (hint: .float())"
        )
    quotient = _div(tensor1, tensor2)
    return _add(input, quotient if value == 1 else _mul(quotient, value))


@public(method=True, composite=True)
def nan_to_num(
    input: Tensor,
    nan: float | None = 0.0,
    posinf: float | None = None,
    neginf: float | None = None,
) -> Tensor:
    """input with numbers in the place of NaN and the infinities.

    Parameters: nan : number, 0 for None. posinf, neginf : numbers; None takes the largest
        and the least finite number of the dtype.
    Returns: input's shape and dtype; fresh. Integers stay as they are.
    Gradient: gy, 0 where replaced.
    Example:
        >>> fastnn.nan_to_num(fastnn.tensor([float("nan"), 1.0]))
        tensor([0., 1.])
    """
    expect_tensors("nan_to_num", input=input)
    if not input.is_floating_point():
        return _copy(input)
    most = float(np.finfo(input.dtype.numpy).max)
    y = _where(_ne(input, input), 0.0 if nan is None else nan, input)
    y = _where(_eq(input, float("inf")), most if posinf is None else posinf, y)
    return _where(_eq(input, -float("inf")), -most if neginf is None else neginf, y)


for _function in (lerp, addcmul, addcdiv, nan_to_num):
    in_place(_function)


@reference("lerp")
def _(x: Any, end: Any, weight: Any) -> Any:
    return x + weight * (end - x)


@reference("addcmul")
def _(x: Any, a: Any, b: Any, *, value: float = 1) -> Any:
    return x + value * a * b


@reference("addcdiv")
def _(x: Any, a: Any, b: Any, *, value: float = 1) -> Any:
    return x + value * a / b


@reference("nan_to_num")
def _(x: Any, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    return np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)
