"""Rows of order."""

from __future__ import annotations

import numpy as np

from samples._rows import EXTREMES, ROWS, Hostile, Row, Sample, apart, integers, normal

_tied = integers(-2, 3, 3, 40)
ROWS["argsort"] = Row(
    [
        Sample((apart(7),)),
        Sample((apart(4, 5), 0)),
        Sample((apart(2, 3, 4), -2, True), rows=(0,)),
        Sample((_tied, 1), rows=(0,)),
        Sample((_tied, 1, True)),
        Sample((_tied.astype(float), 0, True)),
        Sample((EXTREMES,)),
        Sample((EXTREMES, -1, True)),
        Sample((_tied > 0, 1)),
        Sample((_tied.astype(np.uint8), 1, True)),
        Sample((np.array([2**63 - 1, -(2**63), 0]), 0, True)),
        Sample((integers(-9, 9, 3, 600), 1, True, 40), rows=(0,)),
        Sample((integers(-9, 9, 600, 3).astype(float), 0, False, 70)),
        Sample((EXTREMES, 0, True, 2)),
        Sample((_tied, 1, False, 0)),
        Sample((normal(),)),
        Sample((np.zeros((2, 0)),)),
        Sample((np.zeros((0, 2)),)),
    ],
    big=[Sample((integers(0, 40, 30, 1000).astype(float), 1), rows=(0,))],
    hostile=[
        Hostile((normal(2, 3), 2), IndexError, "dimension"),
        Hostile(("x",), TypeError, "argsort"),
        Hostile((normal(2, 3), 1, False, 4), ValueError, "k from 0 to 3, got 4"),
        Hostile((normal(2, 3), 1, False, -2), ValueError, "k from 0"),
    ],
)
ROWS["sort"] = Row(
    [
        Sample((apart(4, 5), 0)),
        Sample((apart(4, 5), -1, True), rows=(0,)),
        Sample((EXTREMES,), smooth=False),
        Sample((_tied,), smooth=False),
        Sample((normal(),)),
    ],
    hostile=[Hostile((normal(2, 3), 2), IndexError, "dimension")],
)
ROWS["topk"] = Row(
    [
        Sample((apart(4, 5), 2), rows=(0,)),
        Sample((apart(4, 5), 3, 0)),
        Sample((apart(4, 5), 3, -2, False)),
        Sample((apart(4, 5), 0)),
        Sample((apart(4, 5), 5)),
        Sample((EXTREMES, 3), smooth=False),
        Sample((_tied, 9), smooth=False),
        Sample((normal(), 1)),
    ],
    hostile=[
        Hostile((normal(2, 3), 4), ValueError, "topk.*0 to 3, got 4"),
        Hostile((normal(2, 3), -1), ValueError, "topk"),
        Hostile((normal(2, 3), 1, 2), IndexError, "topk"),
    ],
)
