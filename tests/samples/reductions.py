"""Rows of reductions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from samples._rows import EXTREMES, ROWS, Hostile, Row, Sample, apart, integers, normal

_reduction_hostile = [
    Hostile((normal(2, 3), (2,)), IndexError, "dimension from -2 to 1"),
    Hostile((normal(2, 3), (0, 0)), ValueError, "once"),
    Hostile((normal(2, 3), (0, -2)), ValueError, "once"),
    Hostile((normal(2, 3), ("x",)), TypeError, "dims"),
    Hostile((normal(3), (), True, 5), TypeError, "at most"),
]


def reduction(name: str, make: Callable[..., Any], *, smooth: bool = True) -> None:
    """A row for a reduction."""
    ROWS[name] = Row(
        [
            Sample((make(4, 5),), smooth=smooth),
            Sample((make(4, 5), (1,)), rows=(0,), smooth=smooth),
            Sample((make(4, 5), (0,), True), smooth=smooth),
            Sample((make(2, 3, 4), (0, 2)), smooth=smooth),
            Sample((make(2, 3, 4, 2), (-1, 1), True), rows=(0,), smooth=smooth),
            Sample((make(),), smooth=smooth),
            Sample((make(), (-1,)), smooth=smooth),
            Sample((make(1),), smooth=smooth),
            Sample((make(3, 1000), (1,)), rows=(0,), smooth=False),
            Sample((make(1000, 3), (0,)), smooth=False),
        ],
        big=[
            Sample((make(130, 700), (1,)), rows=(0,)),
            Sample((make(700, 130), (0,))),
            Sample((make(99, 1000),)),
            Sample((make(5, 70, 3, 90), (0, 2))),
            Sample((make(5, 3, 600), (0, 2))),
            Sample((make(12, 3, 30, 30), (0, 2, 3))),
        ],
        hostile=list(_reduction_hostile),
        rtol={"float32": 1e-6, "float64": 1e-14},
    )


def _absolute_sum(x: Any, dims: Any = (), keepdim: bool = False) -> Any:
    return np.sum(
        np.abs(x), axis=tuple(dims) if np.ndim(x) and dims else None, keepdims=keepdim
    )


def _absolute_mean(x: Any, dims: Any = (), keepdim: bool = False) -> Any:
    return np.mean(
        np.abs(x), axis=tuple(dims) if np.ndim(x) and dims else None, keepdims=keepdim
    )


reduction("sum", normal)
reduction("mean", normal)
ROWS["sum"].scale, ROWS["mean"].scale = _absolute_sum, _absolute_mean
ROWS["sum"].samples += [
    Sample((np.zeros((0, 3)),)),
    Sample((np.zeros((0, 3)), (0,))),
    Sample((np.zeros((0, 3)), (1,))),
    Sample((integers(-9, 9, 4, 5), (0,)), smooth=False),
    Sample((integers(0, 2, 300).astype(bool),), smooth=False),
    Sample((np.array([np.inf, 1.0, np.nan, -np.inf]),), smooth=False),
]
ROWS["mean"].hostile.append(Hostile((integers(0, 3, 3),), TypeError, "mean.*int64"))
for _name in ("amax", "amin"):
    reduction(_name, apart)
    ROWS[_name].samples += [
        Sample((integers(-9, 9, 4, 5), (0,)), smooth=False),
        Sample((EXTREMES,), smooth=False),
        Sample((np.array([-np.inf, -np.inf]),), smooth=False),
        Sample((np.zeros((0, 3)), (1,))),
    ]
    ROWS[_name].hostile.append(Hostile((normal(0, 3), (0,)), ValueError, "one element"))
for _name in ("sum", "amax", "amin"):
    for _dtype in (np.int64, np.int32, np.uint8, bool):
        _many = integers(0, 2 if _dtype is bool else 200, 7, 300, 3).astype(_dtype)
        ROWS[_name].samples += [
            Sample((_many, dims), smooth=False) for dims in ((0,), (1,), (2,), (0, 2))
        ]
    ROWS[_name].samples.append(
        Sample((integers(-(2**62), 2**62, 300, 200), (0,)), smooth=False)
    )
    ROWS[_name].big.append(Sample((integers(-99, 99, 500, 300), (0,)), smooth=False))
    ROWS[_name].big.append(Sample((integers(-99, 99, 500, 300), (1,)), smooth=False))
for _name in ("argmax", "argmin"):
    ROWS[_name] = Row(
        [
            Sample((apart(4, 5),)),
            Sample((apart(4, 5), (1,)), rows=(0,)),
            Sample((apart(4, 5), (0,), True)),
            Sample((integers(-2, 3, 4, 50), (1,))),
            Sample((EXTREMES,)),
            Sample((np.ones(5),)),
            Sample((apart(2, 600), (1,))),
        ],
        big=[Sample((apart(50, 700), (1,)), rows=(0,))],
        hostile=[
            Hostile((normal(0, 3), (0,)), ValueError, "one element"),
            Hostile((normal(2, 3), (0, 1)), ValueError, "one dimension"),
            Hostile((normal(2, 3), (5,)), IndexError, "dimension"),
        ],
    )
