"""Rows of ops on lists of tensors."""

from __future__ import annotations

import math

import numpy as np

from samples._rows import EXTREMES, ROWS, Hostile, Row, Sample, integers, normal

SHAPES = [(3, 5), (7,), (), (0, 4), (2, 1, 300)]
BIG = [(130, 300), (3,), (17001,), (257, 2, 9)]


def lists(shapes: list[tuple[int, ...]], key: object = 0) -> list[object]:
    return [normal(*s, key=(key, i)) for i, s in enumerate(shapes)]


_wrong = [
    Hostile((normal(3),), TypeError, "sequence"),
    Hostile(([1.0],), TypeError, "xs as tensors"),
    Hostile((), TypeError, "inputs"),
]
_integers = Hostile(([normal(2), integers(0, 3, 3)],), TypeError, "float.*got int64")

ROWS["total_norm"] = Row(
    [
        *(Sample((lists(SHAPES), p)) for p in (2.0, 1.0, math.inf, 3.0, 0.5, 1.5)),
        Sample(([],)),
        Sample(([normal(0), normal(2, 0)], 1.0)),
        Sample(([normal(256), normal(257), normal(1)],)),
        *(Sample(([EXTREMES], p)) for p in (2.0, 1.0, math.inf, 3.0)),
        *(Sample(([np.array([1.0, -np.inf]), normal(3)], p)) for p in (1.0, 2.0, 3.0)),
        Sample(([np.array([1e18, 1e18]), np.full(500, 1e-30)],)),
        Sample(([np.full(999, -1e-30)],)),
    ],
    big=[Sample((lists(BIG), p)) for p in (2.0, 1.0, math.inf, 3.0)],
    hostile=[
        *_wrong,
        _integers,
        *(
            Hostile(([normal(2)], p), ValueError, "total_norm: expected p above 0")
            for p in (0.0, -1.0, -math.inf, math.nan)
        ),
    ],
    rtol={"float32": 1e-7, "float64": 1e-14},
)
ROWS["scale_"] = Row(
    [
        *(Sample((np.array(f), lists(SHAPES))) for f in (0.3, 1.0, 0.0, math.nan)),
        Sample((np.array(0.5), [])),
        Sample((np.array(-2.0), [EXTREMES, normal(0)])),
    ],
    big=[Sample((np.array(0.3), lists(BIG)))],
    hostile=[
        Hostile((normal(1), [normal(3)]), ValueError, r"factor of shape \(\)"),
        Hostile((np.array(2), [normal(3)]), TypeError, "float factor, got int64"),
        Hostile((np.array(2.0), [integers(0, 2, 3)]), TypeError, "float tensors"),
        Hostile((2.0, [normal(3)]), TypeError, "factor as tensors, got float"),
        Hostile((np.array(2.0), normal(3)), TypeError, "sequence"),
    ],
)
ROWS["all_finite"] = Row(
    [
        Sample((lists(SHAPES),)),
        Sample(([],)),
        Sample(([integers(0, 9, 5), np.array([True]), normal(3)],)),
        Sample(([normal(3), EXTREMES],)),
        Sample(([np.array([1e38, -1e38, 1e-45, 0.0])],)),
        *(
            Sample(([normal(70), np.array([*[0.5] * i, bad, *[0.5] * (67 - i)])],))
            for bad in (np.nan, np.inf, -np.inf)
            for i in (0, 16, 33, 63, 67)
        ),
    ],
    big=[
        Sample((lists(BIG),)),
        Sample(([*lists(BIG), np.array([np.inf]), normal(40000)],)),
    ],
    hostile=list(_wrong),
)
