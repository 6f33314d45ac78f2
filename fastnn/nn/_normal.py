"""The normal distribution turned around: which x has this much of it to its left?

All in float64 and in fastnn's ops, so that a draw has the same bits on every CPU.
"""

from __future__ import annotations

import math

import fastnn
from fastnn._core import Tensor

# erfinv(y) = y p(w) with w = -log(1 - y²), below and from w = 5; error below 4e-7.
# Source: Giles, "Approximating the erfinv function", GPU Computing Gems 2, 2011, listing 4.
_CENTRE = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
    -0.00125372503, -0.00417768164, 0.246640727, 1.50140941,
)  # fmt: skip
_TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
    -0.0076224613, 0.00943887047, 1.00167406, 2.83297682,
)  # fmt: skip


def _polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    y: Tensor = x * coefficients[0] + coefficients[1]
    for c in coefficients[2:]:
        y = y * x + c
    return y


def erfinv(y: Tensor) -> Tensor:
    """x with erf(x) = y.

    Parameters:
        y : Tensor, float64, in (-1, 1).

    Returns: Tensor, float64, y's shape.

    Source: Giles' polynomials, then Newton's method on erf(x) - y, three times.
    """
    w = -fastnn.log((1 - y) * (1 + y))
    tail = _polynomial(_TAIL, fastnn.sqrt(w) - 3)
    x = y * fastnn.where(w < 5, _polynomial(_CENTRE, w - 2.5), tail)
    for _ in range(3):
        slope = fastnn.exp(x * x) * (math.sqrt(math.pi) / 2)  # of the inverse
        x = x - (fastnn.erf(x) - y) * slope
    return x


def _mills(x: Tensor) -> Tensor:
    """(1 - Φ(x)) / φ(x) for x >= 4, to 15 digits.

    Source: Laplace's continued fraction 1/(x + 1/(x + 2/(x + 3/(x + ...)))).
    """
    ratio = x
    for n in range(60, 0, -1):
        ratio = x + n / ratio
    return 1 / ratio


def _far_tail(u: Tensor, low: float, high: float) -> Tensor:
    """truncated() for low >= 4.

    What lies beyond x, Q(x), has few digits as 1 - Φ(x), so h(x) = -log Q(x) is inverted
    in its stead: h is convex with slope 1 / mills(x), and Newton's method comes down from
    the right.
    """

    def h(x: Tensor) -> Tensor:
        return x * x * 0.5 - fastnn.log(_mills(x))

    start = fastnn.tensor([low], dtype=fastnn.float64)
    beyond = 0.0  # Q(high) / Q(low)
    if high < math.inf:
        end = fastnn.tensor([high], dtype=fastnn.float64)
        beyond = fastnn.exp(h(start) - h(end)).item()
    goal = -fastnn.log(1 - u * (1 - beyond))  # h(x) - h(low), at least 0
    x = fastnn.sqrt(goal * 2 + low * low)
    goal = goal + h(start)
    for _ in range(4):
        x = x - (h(x) - goal) * _mills(x)
    return x


def truncated(u: Tensor, low: float, high: float) -> Tensor:
    """The standard normal distribution within [low, high], from uniform numbers.

    Parameters:
        u : Tensor, float64, in [0, 1): shares of the distribution, from low upwards, or
            from high downwards in the left tail.
        low, high : float: low < high; may be infinite.

    Returns: Tensor, float64, u's shape, in [low, high].

    Source: the inverse of (Φ(x) - Φ(low)) / (Φ(high) - Φ(low)); Devroye, "Non-uniform
        random variate generation", 1986, section II.2.
    """
    if low >= 4:
        x = _far_tail(u, low, high)
    elif high <= -4:
        x = -_far_tail(u, -high, -low)
    else:
        ends = fastnn.tensor([low, high], dtype=fastnn.float64) / math.sqrt(2)
        a, b = fastnn.erf(ends).tolist()
        y = u * (b - a) + a
        inside = 1 - 2.0**-53  # the open interval's last number
        y = fastnn.minimum(fastnn.maximum(y, -inside), inside)
        x = erfinv(y) * math.sqrt(2)
    return fastnn.minimum(fastnn.maximum(x, low), high)
