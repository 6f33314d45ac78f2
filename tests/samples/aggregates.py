"""Rows of prod, logsumexp, count_nonzero, median and unique."""

from __future__ import annotations

import math

import numpy as np

from samples._rows import EXTREMES, ROWS, Hostile, Row, Sample, apart, integers, normal

_beyond = Hostile((normal(2, 3), 2), IndexError, "dimension")
_word = ("x", 0)
_holes = np.array([[0.0, 2.0, 3.0], [0.0, 0.0, 4.0], [1.5, -2.0, 0.5]])
ROWS["prod"] = Row(
    [
        Sample((normal(4, 5),)),
        Sample((normal(4, 5), 1), rows=(0,)),
        Sample((normal(4, 5), -2, True)),
        Sample((_holes, 1)),
        Sample((_holes, 0)),
        Sample((normal(),)),
        Sample((normal(), 0)),
        Sample((np.zeros((2, 0)), 1)),
        Sample((np.zeros((0,)),)),
        Sample((integers(-3, 4, 3, 5), 1), smooth=False),
        Sample((integers(0, 2, 5).astype(bool),), smooth=False),
        Sample((np.array([math.inf, 2.0, -1.0]),), smooth=False),
    ],
    big=[Sample((normal(130, 257) * 1.5, 1), rows=(0,))],
    hostile=[_beyond, Hostile(_word, TypeError, "prod")],
)
ROWS["logsumexp"] = Row(
    [
        Sample((normal(4, 5), 1), rows=(0,)),
        Sample((normal(4, 5) * 100, 0, True)),
        Sample((normal(2, 3, 4), (0, -1))),
        Sample((np.array([[-math.inf, -math.inf], [1.0, math.inf]]), 1), smooth=False),
        Sample((np.zeros((2, 0)), 1), smooth=False),
        Sample((normal(), 0)),
        Sample((EXTREMES, 0), smooth=False),
    ],
    big=[Sample((normal(130, 257), 1), rows=(0,))],
    hostile=[_beyond, Hostile(_word, TypeError, "logsumexp")],
    scale=lambda x, dim, keepdim=False: np.nanmax(np.abs(x), initial=1),
)
ROWS["logsumexp"].samples[5] = Sample((normal(1), 0))
ROWS["count_nonzero"] = Row(
    [
        Sample((_holes,), smooth=False),
        Sample((_holes, 1), smooth=False, rows=(0,)),
        Sample((integers(0, 2, 2, 3, 4), (0, 2)), smooth=False),
        Sample((EXTREMES > 0,), smooth=False),
        Sample((EXTREMES * (np.abs(EXTREMES) > 1e-30),), smooth=False),
        Sample((np.zeros((0, 2)), 0), smooth=False),
    ],
    hostile=[_beyond, Hostile(_word, TypeError, "count_nonzero")],
)
_tied = integers(-2, 3, 3, 40)
ROWS["median"] = Row(
    [
        Sample((apart(4, 5),)),
        Sample((apart(4, 5), 1), rows=(0,)),
        Sample((apart(4, 5), 0, True)),
        Sample((apart(2, 3, 4), -2)),
        Sample((_tied, 1), smooth=False),
        Sample((_tied.astype(np.uint8),), smooth=False),
        Sample((np.array([[1.0, np.nan, 0.0], [3.0, 1.0, 2.0]]), 1), smooth=False),
        Sample((EXTREMES,), smooth=False),
        Sample((np.array([math.inf, -math.inf]), 0), smooth=False),
    ],
    big=[Sample((integers(0, 40, 30, 1000).astype(float), 1), rows=(0,))],
    hostile=[
        _beyond,
        Hostile(_word, TypeError, "median"),
        Hostile((EXTREMES > 0,), TypeError, "median: expected numbers, got bool"),
        Hostile((np.zeros((2, 0)), 1), ValueError, "median: expected elements"),
    ],
)
ROWS["unique"] = Row(
    [
        Sample((_tied, True, True, True), smooth=False),
        Sample((_tied.astype(float), True, False, True), smooth=False),
        Sample((np.array([np.nan, 1.0, np.nan, 0.0]),), smooth=False),
        Sample((integers(0, 2, 7, 3), True, True, True, 0), smooth=False),
        Sample((integers(0, 2, 3, 7), True, True, False, 1), smooth=False),
        Sample((_tied > 0,), smooth=False),
        Sample((np.zeros(0),), smooth=False),
    ],
    hostile=[
        Hostile((*_word[:1],), TypeError, "unique"),
        Hostile((normal(2), True, False, False, 1), IndexError, "unique"),
        Hostile((np.zeros((2, 0)), True, False, False, 0), ValueError, "unique"),
    ],
)
