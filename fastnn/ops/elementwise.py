"""Elementwise ops: arithmetic, comparisons, exponentials.

Shapes broadcast and dtypes promote as in PyTorch; a Python number takes the tensor's dtype.
Every function takes tensors of any strides and returns a fresh tensor, or writes `out`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias, overload

import numpy as np

from fastnn.ops._checks import expect_tensors
from fastnn.ops._registry import (
    Gradients,
    Node,
    Tensor,
    gradient,
    no_gradient,
    op,
    public,
    reference,
)
from fastnn.ops.copies import in_place

Operand: TypeAlias = "Tensor | float | int"

_add, _sub, _mul, _div, _pow = op("add"), op("sub"), op("mul"), op("div"), op("pow")
_maximum, _minimum, _where = op("maximum"), op("minimum"), op("where")
_neg, _abs, _sign, _sqrt, _exp = op("neg"), op("abs"), op("sign"), op("sqrt"), op("exp")
_log, _erf = op("log"), op("erf")
_expm1, _log1p = op("expm1"), op("log1p")
_clamp_min, _clamp_max = op("clamp_min"), op("clamp_max")
_eq, _ne, _lt, _le, _gt, _ge = (op(n) for n in ("eq", "ne", "lt", "le", "gt", "ge"))
_expand, _copy = op("expand"), op("copy")

# ---- arithmetic -------------------------------------------------------------------------


@public(method=True)
def add(
    input: Operand, other: Operand, *, alpha: float = 1, out: Tensor | None = None
) -> Tensor:
    """input + alpha * other.

    Parameters: input, other : Tensor or number (shapes broadcast). alpha : number.
        out : Tensor of the result's shape and dtype, written.
    Returns: broadcast shape, promoted dtype; fresh, or out.
    Gradient: gy; alpha gy.
    Raises: ValueError for shapes that do not broadcast.
    Example:
        >>> fastnn.add(fastnn.tensor([1.0, 2.0]), 10)
        tensor([11., 12.])
    """
    if alpha != 1:
        other = _mul(other, alpha)
    return _add(input, other) if out is None else _add.into(out, input, other)


@public(method=True)
def sub(
    input: Operand, other: Operand, *, alpha: float = 1, out: Tensor | None = None
) -> Tensor:
    """input - alpha * other. As add; TypeError for bool. Gradient: gy; -alpha gy."""
    if alpha != 1:
        other = _mul(other, alpha)
    return _sub(input, other) if out is None else _sub.into(out, input, other)


@public(method=True)
def mul(input: Operand, other: Operand, *, out: Tensor | None = None) -> Tensor:
    """input * other. As add. Gradient: gy other; gy input."""
    return _mul(input, other) if out is None else _mul.into(out, input, other)


@public(method=True)
def div(
    input: Operand,
    other: Operand,
    *,
    rounding_mode: str | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """input / other; integers give float32. Gradient: gy / other; -gy input / other^2.

    Parameters: rounding_mode : None; "floor", as floor_divide; "trunc", towards 0. Both keep
        integers, and their gradient is 0.
    """
    if rounding_mode is not None:
        y = _whole_quotient(input, other, rounding_mode)
        return y if out is None else op("copy_")(out, y)
    return _div(input, other) if out is None else _div.into(out, input, other)


def _whole_quotient(a: Operand, b: Operand, rounding_mode: str) -> Tensor:
    if rounding_mode not in ("floor", "trunc"):
        raise ValueError(
            f'div: expected rounding_mode None, "floor" or "trunc", got {rounding_mode!r}'
        )
    floored = op("floor_divide")(a, b)
    if rounding_mode == "floor":
        return floored
    if floored.is_floating_point():
        return op("trunc")(_div(a, b))
    exact = _eq(_mul(floored, b), a)  # else a quotient below 0 lies above the floor
    return _add(floored, _mul(_lt(floored, 0), _eq(exact, 0)))


@public(method=True)
def pow(input: Operand, exponent: Operand, *, out: Tensor | None = None) -> Tensor:
    """input ** exponent, with the special values of C99.

    Parameters: input, exponent : Tensor or number (shapes broadcast).
    Returns: broadcast shape, promoted dtype; fresh, or out. Integers wrap.
    Gradient: gy exponent input^(exponent - 1), 0 where exponent is 0;
        gy y log(input), 0 where input is 0 and exponent is not negative.
    """
    if out is None and isinstance(input, Tensor):
        return input**exponent  # where a square is found
    return _pow(input, exponent) if out is None else _pow.into(out, input, exponent)


@public(method=True)
def maximum(input: Operand, other: Operand, *, out: Tensor | None = None) -> Tensor:
    """The larger of both; NaN if either is. Gradient: to the larger, half each at a tie."""
    return _maximum(input, other) if out is None else _maximum.into(out, input, other)


@public(method=True)
def minimum(input: Operand, other: Operand, *, out: Tensor | None = None) -> Tensor:
    """The smaller of both; NaN if either is. Gradient: to the smaller, half each at a tie."""
    return _minimum(input, other) if out is None else _minimum.into(out, input, other)


@public(method=True)
def clamp_min(input: Tensor, min: Operand) -> Tensor:
    """The larger of input and min. Gradient: gy where input >= min; gy where below."""
    return _clamp_min(input, min)


@public(method=True)
def clamp_max(input: Tensor, max: Operand) -> Tensor:
    """The smaller of input and max. Gradient: gy where input <= max; gy where above."""
    return _clamp_max(input, max)


@public(method=True, composite=True)
def clamp(
    input: Tensor, min: Operand | None = None, max: Operand | None = None
) -> Tensor:
    """input, but min where below it and max where above; max where min > max.

    Parameters: min, max : Tensor or number (shapes broadcast), or None for no limit.
    Returns: broadcast shape, promoted dtype; fresh. NaN if any of them is.
    Gradient: gy where min <= input <= max, else 0; to a limit where it was taken.
    Raises: ValueError without any limit.
    Example:
        >>> fastnn.clamp(fastnn.tensor([-2.0, 0.5, 3.0]), min=0, max=1)
        tensor([0. , 0.5, 1. ])
    """
    if min is None and max is None:
        raise ValueError("clamp: expected min, max or both, got neither")
    for limit in (
        min,
        max,
    ):  # both limits have a say on the dtype before one is applied
        if isinstance(limit, Tensor) and limit.is_floating_point():
            input = input if input.is_floating_point() else input.to(limit.dtype)
        elif isinstance(limit, float):
            input = input if input.is_floating_point() else input.float()
    if min is not None:
        input = _clamp_min(input, min)
    return input if max is None else _clamp_max(input, max)


@public(method=True)
def clip(
    input: Tensor, min: Operand | None = None, max: Operand | None = None
) -> Tensor:
    """Another name of clamp."""
    return clamp(input, min, max)


@public(method=True, composite=True)
def square(input: Tensor) -> Tensor:
    """input times itself. Gradient: 2 gy input."""
    return pow(input, 2)


@public(method=True, composite=True)
def reciprocal(input: Tensor) -> Tensor:
    """1 / input; integers give float32. Gradient: -gy y^2."""
    return _div(1, input)


@public(method=True, composite=True)
def rsqrt(input: Tensor) -> Tensor:
    """1 / sqrt(input); infinity at 0, NaN below. Gradient: -gy y / (2 input)."""
    return _div(1, _sqrt(input))


@overload
def where(condition: Tensor) -> tuple[Tensor, ...]: ...
@overload
def where(condition: Tensor, input: Operand, other: Operand) -> Tensor: ...


@public(method=True)
def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """input where condition holds, else other; where(condition) alone gives the places,
    as nonzero(as_tuple=True).

    Parameters: condition : bool Tensor. input, other : Tensor or number. All broadcast.
    Returns: broadcast shape, promoted dtype; fresh.
    Gradient: gy where chosen, else 0.
    Raises: TypeError unless condition is bool.
    """
    if input is None and other is None:
        expect_tensors("where", condition=condition)
        return condition.nonzero(as_tuple=True)
    return _where(condition, input, other)


@public(method="where", function=False)
def _where_method(self: Tensor, condition: Tensor, other: Operand) -> Tensor:
    """self where condition, else other. As fastnn.where."""
    return _where(condition, self, other)


@public(method=True)
def neg(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """-input. TypeError for bool. Gradient: -gy."""
    return _neg(input) if out is None else _neg.into(out, input)


@public(method=True)
def abs(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """|input|. Gradient: gy sign(input), 0 at 0."""
    return _abs(input) if out is None else _abs.into(out, input)


@public(method=True)
def sign(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """-1, 0 or 1; NaN for NaN. Gradient: 0."""
    return _sign(input) if out is None else _sign.into(out, input)


@public(method=True)
def sqrt(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Square root, rounded correctly; NaN below 0. Gradient: gy / (2 y)."""
    return _sqrt(input) if out is None else _sqrt.into(out, input)


@public(method=True)
def exp(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """e^input, within 2 units in the last place. Integers give float32. Gradient: gy y."""
    return _exp(input) if out is None else _exp.into(out, input)


@public(method=True)
def log(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Natural logarithm; -inf at 0, NaN below. Gradient: gy / input."""
    return _log(input) if out is None else _log.into(out, input)


@public(method=True)
def expm1(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """e^input - 1, exact to 2 units in the last place near 0 too. Gradient: gy (y + 1)."""
    return _expm1(input) if out is None else _expm1.into(out, input)


@public(method=True)
def log1p(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """log(1 + input), exact to 2 units in the last place near 0 too; -inf at -1, NaN below.

    Gradient: gy / (1 + input).
    """
    return _log1p(input) if out is None else _log1p.into(out, input)


@public(method=True)
def erf(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Error function, 2/sqrt(pi) int_0^x exp(-t^2) dt. Gradient: gy 2/sqrt(pi) exp(-x^2)."""
    return _erf(input) if out is None else _erf.into(out, input)


@gradient("add")
def _(node: Node, gy: Tensor) -> Gradients:
    return gy, gy


@gradient("sub")
def _(node: Node, gy: Tensor) -> Gradients:
    return gy, _neg(gy) if node.needs(1) else None


@gradient("mul", saves={"a": "b", "b": "a"})
def _(node: Node, gy: Tensor) -> Gradients:
    a, b = node.saved
    return _mul(gy, b) if node.needs(0) else None, _mul(gy, a) if node.needs(
        1
    ) else None


@gradient("div", saves={"b": "a b", "y": "b"})
def _(node: Node, gy: Tensor) -> Gradients:
    b, y = node.saved
    ga = _div(gy, b)
    return ga, _neg(_mul(ga, y)) if node.needs(1) else None


@gradient("pow", saves={"a": "a b", "b": "a b", "y": "b"})
def _(node: Node, gy: Tensor) -> Gradients:
    a, b, y = node.saved
    ga = gb = None
    if node.needs(0):
        # a number stays Python's: two numbers would meet in float32
        less = _sub(b, 1) if isinstance(b, Tensor) else b - 1
        slope = _mul(b, _pow(a, less))
        ga = _mul(gy, _where(_eq(b, 0), 0.0, slope))
    if node.needs(1):
        flat = _mul(_eq(a, 0), _ge(b, 0))
        gb = _mul(gy, _where(flat, 0.0, _mul(y, _log(a))))
    return ga, gb


def _share(node: Node, gy: Tensor, wins: Any) -> Gradients:
    """gy to the operand that wins, half each where they are equal."""
    a, b = node.saved
    tie, half = _eq(a, b), _mul(gy, 0.5)
    return (
        _where(tie, half, _where(wins(a, b), gy, 0.0)) if node.needs(0) else None,
        _where(tie, half, _where(wins(b, a), gy, 0.0)) if node.needs(1) else None,
    )


@gradient("maximum", saves={"a": "a b", "b": "a b"})
def _(node: Node, gy: Tensor) -> Gradients:
    return _share(node, gy, _gt)


@gradient("minimum", saves={"a": "a b", "b": "a b"})
def _(node: Node, gy: Tensor) -> Gradients:
    return _share(node, gy, _lt)


@gradient("clamp_min", saves={"x": "x min", "min": "x min"})
def _(node: Node, gy: Tensor) -> Gradients:
    x, low = node.saved
    below = _lt(x, low)
    return _where(below, 0.0, gy), _where(below, gy, 0.0) if node.needs(1) else None


@gradient("clamp_max", saves={"x": "x max", "max": "x max"})
def _(node: Node, gy: Tensor) -> Gradients:
    x, high = node.saved
    above = _gt(x, high)
    return _where(above, 0.0, gy), _where(above, gy, 0.0) if node.needs(1) else None


@gradient("where", saves={"condition": "a b"})
def _(node: Node, gy: Tensor) -> Gradients:
    (condition,) = node.saved
    return (
        None,
        _where(condition, gy, 0.0) if node.needs(1) else None,
        _where(condition, 0.0, gy) if node.needs(2) else None,
    )


@gradient("neg")
def _(node: Node, gy: Tensor) -> Gradients:
    return (_neg(gy),)


@gradient("abs", saves={"x": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    return (_mul(gy, _sign(node.saved[0])),)


@gradient("sign")
def _(node: Node, gy: Tensor) -> Gradients:
    return (_expand(_copy(0.0, gy.dtype.code), gy.shape),)


@gradient("sqrt", saves={"y": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    return (_div(gy, _mul(node.saved[0], 2)),)


@gradient("exp", saves={"y": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    return (_mul(gy, node.saved[0]),)


@gradient("log", saves={"x": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    return (_div(gy, node.saved[0]),)


@gradient("expm1", saves={"y": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    return (_mul(gy, _add(node.saved[0], 1)),)


@gradient("log1p", saves={"x": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    return (_div(gy, _add(node.saved[0], 1)),)


@gradient("erf", saves={"x": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    (x,) = node.saved
    return (_mul(gy, _mul(_exp(_neg(_mul(x, x))), 2 / math.sqrt(math.pi))),)


# ---- comparisons ------------------------------------------------------------------------


@public(method=True)
def eq(input: Operand, other: Operand) -> Tensor:
    """input == other, elementwise (bool). False for NaN."""
    return _eq(input, other)


@public(method=True)
def ne(input: Operand, other: Operand) -> Tensor:
    """input != other, elementwise (bool). True for NaN."""
    return _ne(input, other)


@public(method=True)
def lt(input: Operand, other: Operand) -> Tensor:
    """input < other, elementwise (bool). False for NaN."""
    return _lt(input, other)


@public(method=True)
def le(input: Operand, other: Operand) -> Tensor:
    """input <= other, elementwise (bool). False for NaN."""
    return _le(input, other)


@public(method=True)
def gt(input: Operand, other: Operand) -> Tensor:
    """input > other, elementwise (bool). False for NaN."""
    return _gt(input, other)


@public(method=True)
def ge(input: Operand, other: Operand) -> Tensor:
    """input >= other, elementwise (bool). False for NaN."""
    return _ge(input, other)


for _function in (
    pow,
    neg,
    abs,
    sign,
    sqrt,
    exp,
    expm1,
    log,
    log1p,
    clamp_min,
    clamp_max,
    clamp,
    clip,
    square,
    reciprocal,
    rsqrt,
):
    in_place(_function)

no_gradient("eq", "ne", "lt", "le", "gt", "ge")

# ---- references --------------------------------------------------------------------------

_IN_NUMPY: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "pow": np.power,
    "maximum": lambda a, b: np.maximum(a, b),
    "minimum": lambda a, b: np.minimum(a, b),
    "clamp_min": lambda x, low: np.maximum(x, low),
    "clamp_max": lambda x, high: np.minimum(x, high),
    "where": lambda c, a, b: np.where(c, a, b),
    "square": lambda x: x * x,
    "reciprocal": lambda x: 1 / x,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "neg": np.negative,
    "abs": np.abs,
    "sign": np.sign,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "erf": np.vectorize(math.erf, otypes=[float]),
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}
for _name, _in_numpy in _IN_NUMPY.items():
    reference(_name)(_in_numpy)


@reference("clamp")
def _(x: Any, min: Any = None, max: Any = None) -> Any:
    x = x if min is None else np.maximum(x, min)
    return x if max is None else np.minimum(x, max)
