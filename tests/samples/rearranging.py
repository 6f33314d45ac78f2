"""Rows of stacks, rolls, repeats and diagonals."""

from __future__ import annotations

import numpy as np

from samples._rows import ROWS, Hostile, Row, Sample, integers, normal

for _name in ("hstack", "vstack"):
    ROWS[_name] = Row(
        [
            Sample(([normal(2, 3), normal(2, 3, key=1)],)),
            Sample(([normal(3), normal(3, key=1)],)),
            Sample(([normal(), normal(key=1)],)),
            Sample(([normal(2, 3, 4)],)),
        ],
        hostile=[
            Hostile(([],), ValueError, "at least one"),
            Hostile((normal(3),), TypeError, f"{_name}: expected a sequence"),
            Hostile(([1, 2],), TypeError, f"{_name}: expected tensors"),
        ],
    )
ROWS["roll"] = Row(
    [
        Sample((normal(4, 5), 3)),
        Sample((normal(4, 5), -7, 1), rows=(0,)),
        Sample((normal(2, 3, 4), (1, 2), (0, -1))),
        Sample((normal(2, 3), (1, 1), (0, 0))),
        Sample((normal(4, 5), 0, 0)),
        Sample((normal(), 2)),
        Sample((np.zeros((0, 3)), 1, 0)),
        Sample((integers(0, 2, 7).astype(bool), 2), smooth=False),
    ],
    big=[Sample((normal(130, 257), 100, 1), rows=(0,))],
    hostile=[
        Hostile((normal(2, 3), 1, 2), IndexError, "roll"),
        Hostile((normal(2, 3), (1, 2)), ValueError, "roll"),
        Hostile((normal(2, 3), (1, 2), 0), ValueError, "roll: expected one dim"),
        Hostile((normal(2, 3), 1.5), TypeError, "roll: expected shifts"),
    ],
)
ROWS["repeat_interleave"] = Row(
    [
        Sample((normal(4, 5), 2)),
        Sample((normal(4, 5), 3, 1), rows=(0,)),
        Sample((normal(4, 5), np.array([0, 2, 1, 3]), 0)),
        Sample((normal(4, 5), np.array([2]), -1)),
        Sample((normal(4, 5), 0, 0)),
        Sample((normal(), 3)),
        Sample((integers(0, 9, 3).astype(np.uint8), 2), smooth=False),
    ],
    big=[Sample((normal(130, 257), 2, 1), rows=(0,))],
    hostile=[
        Hostile((normal(3), -1), ValueError, "repeat_interleave"),
        Hostile((normal(3), 1.5), TypeError, "repeat_interleave: expected repeats"),
        Hostile((normal(3), np.array([0.5])), TypeError, "repeat_interleave"),
        Hostile((normal(3), np.array([1, 2])), ValueError, "repeat_interleave"),
        Hostile((normal(3), 2, 1), IndexError, "repeat_interleave"),
        Hostile((normal(3), 2), ValueError, "output_size 6", {"output_size": 5}),
    ],
)
ROWS["diag"] = Row(
    [
        Sample((normal(4),)),
        Sample((normal(3), 2)),
        Sample((normal(3), -1)),
        Sample((normal(4, 5),)),
        Sample((normal(4, 5), 2)),
        Sample((normal(4, 5), -3)),
        Sample((normal(4, 5), 9)),
        Sample((np.zeros(0), 2)),
        Sample((integers(0, 2, 4).astype(bool),), smooth=False),
    ],
    big=[Sample((normal(300, 257), 3))],
    hostile=[
        Hostile((normal(),), ValueError, "diag: expected 1 or 2"),
        Hostile((normal(2, 2, 2),), ValueError, "diag: expected 1 or 2"),
        Hostile((normal(2), 0.5), TypeError, "diag"),
    ],
)
