"""Rows of joining and selecting."""

from __future__ import annotations

import numpy as np

from samples._rows import ROWS, Hostile, Row, Sample, integers, normal

ROWS["cat"] = Row(
    [
        Sample(([normal(2, 3), normal(4, 3)], 0)),
        Sample(([normal(2, 3), normal(2, 1)], -1)),
        Sample(([normal(3)],)),
        Sample(([normal(0, 2), normal(3, 2)], 0)),
        Sample(([normal(2, 2, key=k) for k in range(11)], 1)),
        Sample(
            ([integers(0, 9, 3), integers(0, 9, 2).astype(np.uint8)],), smooth=False
        ),
    ],
    big=[Sample(([normal(70, 300), normal(60, 300)], 0))],
    hostile=[
        Hostile(([],), ValueError, "at least one"),
        Hostile(([normal(2, 3), normal(2, 4)], 0), ValueError, "position 1"),
        Hostile(([normal(2), normal(2, 4)], 0), ValueError, "cat"),
        Hostile(([normal(2)], 1), IndexError, "cat"),
        Hostile(([normal()],), ValueError, "dimensions"),
        Hostile((normal(3),), TypeError, "sequence"),
        Hostile(([1, 2],), TypeError, "tensors"),
    ],
)
ROWS["index_select"] = Row(
    [
        Sample((normal(5, 3), np.array([4, 0, 0, -1]), 0)),
        Sample((normal(5, 3), np.array([2, 1]), 1), rows=(0,)),
        Sample((normal(5), np.zeros(0, np.int64), 0)),
        Sample((normal(2, 5, 3), np.array([1, 1], np.int32), -2), rows=(0,)),
    ],
    big=[Sample((normal(300, 130), integers(0, 300, 250), 0))],
    hostile=[
        Hostile((normal(5, 3), np.array([5]), 0), IndexError, "got 5 at position 0"),
        Hostile((normal(5, 3), np.array([0, -6]), 0), IndexError, "-6 at position 1"),
        Hostile((normal(5, 3), np.array([2**40]), 0), IndexError, "index"),
        Hostile(
            (normal(5, 3), np.array([[1]]), 0), ValueError, r"index of shape \(n,\)"
        ),
        Hostile((normal(5, 3), np.array([1.0]), 0), TypeError, "index"),
        Hostile((normal(5, 3), np.array([1]), 2), IndexError, "dimension"),
        Hostile((normal(), np.array([0]), 0), ValueError, "dimensions"),
    ],
)
ROWS["index_add"] = Row(
    [
        Sample((normal(4, 3), np.array([4, 0, 0, 2]), 0, 5)),
        Sample((normal(2, 4), np.array([1, 1, 0, 2]), 1, 3), rows=(0,)),
        Sample((integers(0, 9, 3), np.array([0, 0, 1]), 0, 2), smooth=False),
    ],
    big=[Sample((normal(250, 130), integers(0, 30, 250), 0, 30))],
    hostile=[
        Hostile((normal(4, 3), np.array([0, 1, 2, 9]), 0, 5), IndexError, "position 3"),
        Hostile((normal(4, 3), np.array([0]), 0, 5), ValueError, "one index for each"),
        Hostile((normal(4, 3), np.zeros(4, np.int64), 0, -1), ValueError, "index_add"),
    ],
    rtol={"float32": 2e-6, "float64": 1e-14},
    scale=lambda s, i, d, n: np.abs(s).sum(),
)

ROWS["stack"] = Row(
    [
        Sample(([normal(2, 3), normal(2, 3, key=1)],)),
        Sample(([normal(2, 3), normal(2, 3, key=1)], -1)),
        Sample(([normal()], 0)),
    ],
    hostile=[
        Hostile(([normal(2), normal(3)],), ValueError, "stack.*equal shapes"),
        Hostile(([],), ValueError, "at least one"),
    ],
)
