"""Rows of patches."""

from __future__ import annotations

from typing import Any

import numpy as np

from samples._rows import ROWS, Hostile, Row, Sample, integers, normal

# kernel, stride, padding, dilation
_WINDOWS: list[tuple[Any, tuple[Any, ...]]] = [
    ((2, 3, 5, 6), ((3, 3), (1, 1), (1, 1), (1, 1))),
    ((2, 2, 6, 5), ((2, 3), (2, 2), (0, 2), (1, 1))),
    ((3, 6, 7), ((2, 2), (3, 1), (3, 0), (2, 3))),
    ((1, 2, 4, 4), ((1, 1), (2, 3), (0, 0), (1, 1))),
    ((0, 2, 4, 4), ((2, 2), (1, 1), (0, 0), (1, 1))),
    ((1, 1, 1), ((3, 3), (1, 1), (1, 1), (1, 1))),
]
_BIG = ((3, 4, 40, 41), ((3, 3), (1, 1), (1, 1), (1, 1)))
_BIG_STRIDES = ((3, 8, 40, 41), ((3, 3), (2, 2), (1, 1), (1, 1)))


def _places(shape: Any, attrs: Any) -> tuple[int, ...]:
    """Shape of the patches."""
    *lead, c, h, w = shape
    kernel, *rest = attrs
    count = [
        (n + 2 * p - (k - 1) * d - 1) // s + 1
        for n, k, s, p, d in zip((h, w), kernel, *rest, strict=True)
    ]
    return (*lead, c * kernel[0] * kernel[1], count[0] * count[1])


def _sample(name: str, shape: Any, attrs: Any) -> Sample:
    rows = (0,) if len(shape) == 4 else None
    if name == "unfold":
        return Sample((normal(*shape), *attrs), rows=rows)
    return Sample((normal(*_places(shape, attrs)), shape[-2:], *attrs), rows=rows)


_one = ((1, 1), (1, 1), (0, 0), (1, 1))
for _name in ("unfold", "fold"):
    ROWS[_name] = Row(
        [_sample(_name, *case) for case in _WINDOWS],
        big=[_sample(_name, *_BIG), _sample(_name, *_BIG_STRIDES)],
        rtol={"float32": 1e-6, "float64": 2e-15},
        scale=lambda x, *_: np.abs(x).max(initial=0) * 10,
    )
ROWS["unfold"].hostile = [
    Hostile((normal(4, 4), *_one), ValueError, "unfold: expected x of at least 3"),
    Hostile((normal(1, 4, 4), (5, 1), *_one[1:]), ValueError, "windows of 5"),
    Hostile((normal(1, 4, 4), (0, 1), *_one[1:]), ValueError, "at least 1"),
    Hostile((normal(1, 4, 4), (1, 1), (1,), *_one[2:]), ValueError, "two dimensions"),
    Hostile((np.zeros((1, 0, 4)), *_one), ValueError, "unfold: expected sizes"),
    Hostile((integers(0, 3, 1, 4, 4), *_one), TypeError, "unfold: expected x"),
]
ROWS["fold"].hostile = [
    Hostile((normal(4), (2, 2), *_one), ValueError, "fold: expected x of at least 2"),
    Hostile((normal(2, 5), (2, 2), *_one), ValueError, "fold: expected x of shape"),
    Hostile((normal(3, 1), (2, 2), (2, 2), *_one[1:]), ValueError, r"c \* 4, 1"),
    Hostile((normal(1, 4), (2,), *_one), ValueError, "fold: expected output_size"),
    Hostile((integers(0, 3, 1, 4), (2, 2), *_one), TypeError, "fold: expected x"),
]
