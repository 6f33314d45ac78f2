"""What a row of samples is, and makers of inputs.

Arrays are NumPy; float arrays are float64 here and narrowed by the tests. Where an op's
first input is generator state, `state` stands for it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import fastnn


@dataclass
class Sample:
    """One call: op(*args, **kwargs)."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    smooth: bool = True  # finite differences make sense here
    rows: tuple[int, ...] | None = None  # inputs that share a batch dimension 0
    note: str = ""


@dataclass
class Hostile:
    """A call that must raise `error`, its message matching `match`."""

    args: tuple[Any, ...]
    error: type[Exception] | tuple[type[Exception], ...]
    match: str
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass
class Row:
    """What the tests know of one op."""

    samples: list[Sample]
    big: list[Sample] = field(default_factory=list)  # enough work for several threads
    hostile: list[Hostile] = field(default_factory=list)
    rtol: dict[str, float] = field(
        default_factory=lambda: {"float32": 3e-6, "float64": 1e-13}
    )
    # |error| <= rtol * scale, scale = |result| unless the op is a sum of products
    scale: Callable[..., Any] | None = None
    float64: tuple[int, ...] = ()  # inputs that are float64 whatever the dtype


ROWS: dict[str, Row] = {}


def _random(*key: Any) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(key).encode()))


def normal(*shape: int, key: Any = 0) -> Any:
    """Normal numbers, the same on every run."""
    return _random("normal", shape, key).standard_normal(shape)


def positive(*shape: int, key: Any = 0) -> Any:
    """Numbers in [0.2, 3)."""
    return _random("positive", shape, key).uniform(0.2, 3, shape)


def integers(low: int, high: int, *shape: int, key: Any = 0) -> Any:
    """int64 in [low, high)."""
    return _random("integers", shape, key).integers(low, high, shape)


def apart(*shape: int, key: Any = 0) -> Any:
    """Numbers at least 0.05 from each other and from 0, in random order."""
    n = int(np.prod(shape))
    values = (np.arange(n) - n // 2 + 0.5) * 0.11
    return _random("apart", shape, key).permutation(values).reshape(shape)


def state() -> fastnn.Tensor:
    """Fresh generator state."""
    return fastnn.tensor([20240607, 3], dtype=fastnn.int64)


EXTREMES = np.array(
    [
        0.0,
        -0.0,
        1.0,
        -1.0,
        np.inf,
        -np.inf,
        np.nan,
        1e-40,
        -1e-40,
        1e-310,
        3e38,
        -3e38,
        88.0,
        -88.0,
        -103.5,
        700.0,
        -740.0,
        0.5,
        -0.5,
        1e-8,
    ]
)

BROADCAST_ERROR = Hostile((normal(2, 3), normal(4)), ValueError, "broadcast")


def unary(
    name: str,
    make: Callable[..., Any] = normal,
    *,
    error: Any = None,
    rtol: dict[str, float] | None = None,
) -> None:
    """A row for an elementwise op of one input."""
    row = Row(
        [
            Sample((make(7),), rows=(0,)),
            Sample((make(3, 5),), rows=(0,)),
            Sample((make(),)),
            Sample((make(0, 4),)),
            Sample((make(1, 1, 17),)),
            Sample((EXTREMES,), smooth=False, note="extremes"),
        ],
        big=[Sample((make(130, 257),), rows=(0,))],
        hostile=[Hostile(("x",), TypeError, name), Hostile((), TypeError, name)],
    )
    if error is not None:
        row.hostile.append(Hostile((integers(0, 2, 3).astype(bool),), error, name))
    if rtol:
        row.rtol = rtol
    ROWS[name] = row


def binary(
    name: str,
    a: Callable[..., Any] = normal,
    b: Callable[..., Any] = normal,
    *,
    smooth_extremes: bool = False,
    shapes: bool = True,
) -> None:
    """A row for an elementwise op of two inputs."""
    row = Row(
        [
            Sample((a(3, 5), b(3, 5, key=1)), rows=(0, 1)),
            Sample((a(3, 5), b(5, key=1)), rows=(0,)),
            Sample((a(4, 1), b(1, 3, key=1))),
            Sample((a(), b(2, 3, key=1))),
            Sample((a(0, 3), b(3, key=1))),
            Sample((a(2, 1, 3), b(2, 1, key=1))),
            Sample(
                (EXTREMES[:, None], EXTREMES[None, :]), smooth=False, note="extremes"
            ),
        ],
        big=[
            Sample((a(130, 257), b(257, key=1)), rows=(0,)),
            Sample((a(41, 3, 300), b(41, 1, 300, key=1)), rows=(0, 1)),
        ],
        hostile=[
            BROADCAST_ERROR,
            Hostile((normal(3),), TypeError, name),
            Hostile((normal(3), [1, 2, 3]), TypeError, name),
        ],
    )
    ROWS[name] = row
