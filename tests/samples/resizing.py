"""Rows of resizing."""

from __future__ import annotations

from typing import Any

import numpy as np

from samples._rows import EXTREMES, ROWS, Hostile, Row, Sample, integers, normal

# size, mode, aligned, scales
_CASES: list[tuple[Any, tuple[Any, ...]]] = [
    ((2, 3, 4, 5), ((8, 10), 0)),
    ((2, 3, 4, 5), ((8, 10), 1)),
    ((2, 3, 4, 5), ((8, 10), 1, True)),
    ((1, 2, 4, 5), ((7, 3), 0)),
    ((1, 2, 4, 5), ((7, 3), 1)),
    ((1, 2, 4, 5), ((7, 3), 1, True)),
    ((1, 2, 4, 5), ((7, 3), 2)),
    ((2, 7), ((3,), 1)),
    ((2, 7), ((19,), 2)),
    ((2, 7), ((1,), 1, True)),
    ((1, 3, 4, 5), ((4, 5), 1)),
    ((1, 3, 5, 4), ((7, 6), 0, False, 1.5, 1.6)),
    ((1, 3, 5, 4), ((7, 6), 1, False, 1.5, 1.6)),
    ((0, 3, 4, 5), ((8, 10), 1)),
    ((1, 1, 1, 1), ((3, 2), 1)),
]
_BIG = [
    ((3, 4, 40, 41), ((80, 82), 0)),
    ((3, 4, 40, 41), ((80, 82), 1)),
    ((3, 4, 80, 75), ((41, 50), 1, True)),
]


def _sample(name: str, shape: Any, attrs: Any) -> Sample:
    size, *rest = attrs
    rows = (0,) if len(shape) == 4 and shape[0] else None
    if name == "resize":
        return Sample((normal(*shape), *attrs), rows=rows)
    dims = len(size)
    gy = normal(*shape[:-dims], *size, key=5)
    return Sample((gy, shape[-dims:], *rest), rows=rows)


for _name in ("resize", "resize_backward"):
    ROWS[_name] = Row(
        [_sample(_name, *case) for case in _CASES],
        big=[_sample(_name, *case) for case in _BIG],
        hostile=[
            Hostile((normal(2, 4), (0,), 0), ValueError, f"{_name}: expected sizes of"),
            Hostile((normal(2, 4), (2, -1), 0), ValueError, f"{_name}: expected sizes"),
            Hostile((normal(2, 4), (2,), 3), ValueError, f"{_name}: .*mode 3"),
            Hostile((normal(4), (2, 2), 0), ValueError, f"{_name}: .*2 sizes"),
            Hostile((normal(2, 2, 4), (1, 2, 2), 0), ValueError, f"{_name}: .*3 sizes"),
            Hostile(
                (np.zeros((2, 0)), (2,), 0), ValueError, f"{_name}: expected sizes"
            ),
            Hostile((integers(0, 3, 2, 4), (2,), 1), TypeError, f"{_name}: expected"),
        ],
        # positions are rounded, and with them weights
        rtol={"float32": 2e-6, "float64": 4e-15},
        scale=lambda x, *_: np.abs(x[np.isfinite(x)]).max(initial=0) * 4,
    )
ROWS["resize"].samples += [
    Sample((np.stack([EXTREMES, EXTREMES]), (31,), 0), smooth=False, note="extremes"),
    Sample((integers(0, 9, 2, 5), (8,), 0), smooth=False),
    Sample((integers(0, 9, 2, 5).astype(np.uint8), (8,), 2), smooth=False),
    Sample((integers(0, 2, 2, 3, 5).astype(bool), (2, 8), 0), smooth=False),
]
