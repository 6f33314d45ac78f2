"""Rows of lerp, addcmul, addcdiv and nan_to_num."""

from __future__ import annotations

import numpy as np

from samples._rows import (
    EXTREMES,
    ROWS,
    Hostile,
    Row,
    Sample,
    integers,
    normal,
    positive,
)

_three = (normal(4, 5), normal(4, 5, key=1), positive(4, 5))
_wide = (normal(4, 1), normal(5, key=1), positive(3, 1, 1))
_big = (normal(130, 257), normal(130, 257, key=1), positive(130, 257))
_no_tensor = (normal(3), 2.0, normal(3))
_apart = (normal(3), normal(4), normal(3))

ROWS["lerp"] = Row(
    [
        Sample((normal(4, 5), normal(4, 5, key=1), 0.25), rows=(0, 1)),
        Sample((normal(4, 5), normal(5, key=1), 0.75)),
        Sample((normal(4, 5), normal(4, 5, key=1), -1.5)),
        Sample((*_three[:2], positive(4, 5) / 3 + 0.1), smooth=False),
        Sample((normal(4, 1), normal(5, key=1), np.array(0.7))),
        Sample((np.zeros((0, 3)), normal(3), 1.0)),
    ],
    big=[Sample((*_big[:2], 0.3), rows=(0, 1))],
    hostile=[
        Hostile(
            (integers(0, 5, 3), integers(0, 5, 3), 1), TypeError, "lerp.*one float"
        ),
        Hostile((normal(3), integers(0, 5, 3), 1), TypeError, "lerp.*one float"),
        Hostile(_no_tensor, TypeError, "lerp: expected end"),
        Hostile((normal(3), normal(4), 0.5), ValueError, "broadcast"),
    ],
    scale=lambda x, end, w: (np.abs(x) + np.abs(end)) * (1 + np.abs(w)),
)
for _name in ("addcmul", "addcdiv"):
    ROWS[_name] = Row(
        [
            Sample(_three, rows=(0, 1, 2)),
            Sample(_three, {"value": -0.5}),
            Sample(_wide, {"value": 2}),
            Sample((normal(0, 3), normal(3), positive(3))),
        ],
        big=[Sample(_big, {"value": 0.1}, rows=(0, 1, 2))],
        hostile=[
            Hostile(_no_tensor, TypeError, f"{_name}: expected tensor1"),
            Hostile(_apart, ValueError, "broadcast"),
        ],
        scale=lambda x, a, b, value=1: np.abs(x) + np.abs(value * a) * (b + 1 / b),
    )
_whole = (integers(0, 5, 3), integers(0, 5, 3, key=1), integers(1, 5, 3))
ROWS["addcmul"].samples.append(Sample(_whole, {"value": 3}, smooth=False))
ROWS["addcmul"].hostile.append(
    Hostile(_whole, TypeError, "addcmul: expected value as an integer", {"value": 0.5})
)
ROWS["addcdiv"].hostile.append(Hostile(_whole, TypeError, "addcdiv.*float dtype"))
ROWS["nan_to_num"] = Row(
    [
        Sample((normal(4, 5),), rows=(0,)),
        Sample((EXTREMES, 1.0, 2.0, -3.0), smooth=False),
        Sample((np.array([np.nan, 1.0]), 7.0), smooth=False),
        Sample((integers(0, 5, 3),), smooth=False),
        Sample((np.zeros((0, 2)),)),
    ],
    big=[Sample((normal(130, 257),), rows=(0,))],
    hostile=[Hostile(("x",), TypeError, "nan_to_num")],
)
