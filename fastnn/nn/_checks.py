"""What layers check of the arguments they are made with."""

from __future__ import annotations

import operator
from typing import Any

import fastnn


def size(layer: str, name: str, value: Any, least: int = 0) -> int:
    """An int of at least `least`; TypeError or ValueError that names the layer if not."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{layer}: expected {name} as an int, got {value!r}") from None
    if number < least:
        raise ValueError(f"{layer}: expected {name} of at least {least}, got {number}")
    return number


def probability(layer: str, p: Any) -> float:
    """p as a float from 0 to 1; TypeError or ValueError that names the layer if not."""
    if isinstance(p, bool) or not isinstance(p, int | float):
        raise TypeError(f"{layer}: expected p as a number, got {p!r}")
    if not 0 <= p <= 1:
        raise ValueError(f"{layer}: expected p from 0 to 1, got {p}")
    return float(p)


def floating(layer: str, dtype: Any) -> Any:
    """The dtype of new parameters, float32 for None; TypeError unless it is floating."""
    if dtype is None:
        return fastnn.float32
    found = fastnn.empty(0, dtype=dtype).dtype
    if not found.is_floating_point:
        raise TypeError(f"{layer}: expected float32 or float64, got {found.name}")
    return found


def steps(
    layer: str, name: str, x: Any, dimensions: tuple[int, int], features: int
) -> fastnn.Tensor:
    """x, one or several steps of so many features, with or without a batch."""
    if not isinstance(x, fastnn.Tensor) or x.ndim not in dimensions:
        got = x.shape if isinstance(x, fastnn.Tensor) else type(x).__name__
        few, more = dimensions
        raise ValueError(
            f"{layer}: expected {name} of {few} or {more} dimensions, got {got}"
        )
    if x.shape[-1] != features:
        raise ValueError(
            f"{layer}: expected {name} with {features} features (last dimension), got "
            f"shape {x.shape}"
        )
    return x


def lengths(layer: str, value: Any, batch: int) -> fastnn.Tensor:
    """How many steps each of so many sequences has, as integers (batch,)."""
    found = value if isinstance(value, fastnn.Tensor) else fastnn.tensor(value)
    if found.numel() == 0 and not isinstance(value, fastnn.Tensor):
        found = found.long()
    if found.is_floating_point() or found.dtype is fastnn.bool:
        raise TypeError(
            f"{layer}: expected lengths as integers, got {found.dtype.name}"
        )
    if found.shape != (batch,):
        raise ValueError(
            f"{layer}: expected lengths of shape {(batch,)}, got {found.shape}"
        )
    return found
