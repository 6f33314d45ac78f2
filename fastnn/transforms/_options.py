"""What the transforms check of their options, and the words that they share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn.ops.warping import BILINEAR, BORDER, FILL, NEAREST, REFLECTION, SYMMETRIC

INTERPOLATIONS = {"nearest": NEAREST, "bilinear": BILINEAR}
PADDINGS = {
    "constant": FILL,
    "edge": BORDER,
    "reflect": REFLECTION,
    "symmetric": SYMMETRIC,
}


def word(name: str, argument: str, value: Any, codes: dict[str, int]) -> str:
    """value as one of the words of codes; an enumeration's member by its value."""
    value = getattr(value, "value", value)
    if value not in codes:
        words = ", ".join(repr(w) for w in codes)
        raise ValueError(f"{name}: expected {argument} of {words}, got {value!r}")
    return str(value)


def number(
    name: str,
    argument: str,
    value: Any,
    least: float = -math.inf,
    most: float = math.inf,
) -> float:
    """value as a finite float from least to most."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{name}: expected {argument} as a number, got {value!r}")
    if not (least <= value <= most and math.isfinite(value)):
        limits = f" from {least:g} to {most:g}" if most < math.inf else ""
        limits = limits or (f" of at least {least:g}" if least > -math.inf else "")
        raise ValueError(f"{name}: expected {argument}{limits}, got {value}")
    return float(value)


def numbers(
    name: str,
    argument: str,
    value: Any,
    count: int,
    least: float = -math.inf,
    most: float = math.inf,
) -> tuple[float, ...]:
    """value as a tuple of `count` numbers."""
    if (
        isinstance(value, str)
        or not isinstance(value, Sequence | np.ndarray)
        or len(value) != count
    ):
        raise TypeError(
            f"{name}: expected {argument} as {count} numbers, got {value!r}"
        )
    return tuple(number(name, argument, v, least, most) for v in value)


def interval(
    name: str,
    argument: str,
    value: Any,
    least: float = -math.inf,
    most: float = math.inf,
) -> tuple[float, float]:
    """value as (low, high), low no more than high."""
    low, high = numbers(name, argument, value, 2, least, most)
    if low > high:
        raise ValueError(
            f"{name}: expected {argument} as (low, high), got ({low:g}, {high:g})"
        )
    return low, high


def around(name: str, argument: str, value: Any) -> tuple[float, float]:
    """A number v as (-v, v), or an interval as it is."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        width = number(name, argument, value, 0)
        return -width, width
    return interval(name, argument, value)


def pair(name: str, argument: str, value: Any, least: int) -> tuple[int, int]:
    """An integer for both, or two of them."""
    parts = (value, value) if isinstance(value, int | np.integer) else value
    if not isinstance(parts, Sequence) or isinstance(parts, str):
        raise TypeError(
            f"{name}: expected {argument} as one or two integers, got {value!r}"
        )
    if len(parts) == 1:
        parts = (parts[0], parts[0])
    whole = all(
        isinstance(p, int | np.integer) and not isinstance(p, bool) for p in parts
    )
    if len(parts) != 2 or not whole:
        raise TypeError(
            f"{name}: expected {argument} as one or two integers, got {value!r}"
        )
    if min(parts) < least:
        raise ValueError(
            f"{name}: expected {argument} of at least {least}, got {value}"
        )
    return int(parts[0]), int(parts[1])


def borders(name: str, value: Any) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of one, two or four integers."""
    parts = (value,) if isinstance(value, int | np.integer) else value
    good = isinstance(parts, Sequence) and len(parts) in (1, 2, 4)
    if not good or not all(
        isinstance(p, int | np.integer) and not isinstance(p, bool) for p in parts
    ):
        raise TypeError(
            f"{name}: expected padding as one, two or four integers, got {value!r}"
        )
    if min(parts) < 0:
        raise ValueError(f"{name}: expected padding of at least 0, got {value}")
    left, top, right, bottom = (
        tuple(parts) * (4 // len(parts)) if len(parts) < 4 else parts
    )
    return int(left), int(top), int(right), int(bottom)
