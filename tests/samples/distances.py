"""Rows of normalize, cosine_similarity and pairwise_distance."""

from __future__ import annotations

import math

import numpy as np

from samples._rows import ROWS, Hostile, Row, Sample, integers, normal

_whole = integers(0, 5, 2, 3)
ROWS["normalize"] = Row(
    [
        Sample((normal(4, 5),), rows=(0,)),
        Sample((normal(4, 5), 1, 0)),
        Sample((normal(4, 5), 3.0, -1)),
        Sample((normal(4, 5), math.inf, 1)),
        Sample((normal(2, 3, 4), 2, (1, 2))),
        Sample((np.zeros((2, 3)),), smooth=False),
    ],
    big=[Sample((normal(130, 257),), rows=(0,))],
    hostile=[
        Hostile((_whole,), TypeError, "normalize"),
        Hostile((normal(3),), IndexError, "dimension"),
        Hostile(("x",), TypeError, "normalize"),
    ],
    rtol={"float32": 4e-6, "float64": 1e-13},
)
_pair = (normal(4, 5), normal(4, 5, key=1))
for _name in ("cosine_similarity", "pairwise_distance"):
    ROWS[_name] = Row(
        [
            Sample(_pair, rows=(0, 1)),
            Sample((normal(3, 1, 5), normal(4, 5))),
            Sample((np.zeros((2, 3)), normal(2, 3)), smooth=False),
        ],
        big=[Sample((normal(130, 257), normal(130, 257, key=1)), rows=(0, 1))],
        hostile=[
            Hostile((normal(2, 3), normal(2, 4)), ValueError, "broadcast"),
            Hostile(("x", normal(2)), TypeError, f"{_name}: expected x1"),
        ],
        rtol={"float32": 4e-6, "float64": 1e-13},
    )
ROWS["cosine_similarity"].samples.append(Sample((*_pair, 0)))
ROWS["cosine_similarity"].scale = lambda *a: 1
ROWS["cosine_similarity"].hostile.append(
    Hostile((_whole, _whole), TypeError, "cosine_similarity.*float dtype")
)
ROWS["pairwise_distance"].samples.append(Sample((*_pair, 1.0, 0.0, True)))
