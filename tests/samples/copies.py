"""Rows of copies and in-place updates."""

from __future__ import annotations

from samples._rows import ROWS, Hostile, Row, Sample, integers, normal

ROWS["copy"] = Row(
    [
        Sample((normal(3, 4),), rows=(0,)),
        Sample((normal(),)),
        Sample((normal(0, 2),)),
        Sample((normal(3, 4) * 100, 3), smooth=False, note="to int64"),
        Sample((integers(-5, 300, 7), 1), smooth=False, note="to uint8"),
        Sample((integers(0, 2, 7), 0), smooth=False, note="to bool"),
    ],
    big=[Sample((normal(130, 257),), rows=(0,))],
    hostile=[
        Hostile((normal(3), 77), TypeError, "copy"),
        Hostile((normal(3), "float"), TypeError, "copy"),
    ],
)
_inplace_hostile = [
    Hostile((normal(3), normal(2, 3)), ValueError, "broadcast"),
    Hostile((1.0, normal(3)), TypeError, "_"),
]
for _name in ("copy_", "add_", "mul_"):
    ROWS[_name] = Row(
        [
            Sample((normal(3, 4), normal(3, 4, key=1)), rows=(0, 1)),
            Sample((normal(3, 4), normal(4, key=1)), rows=(0,)),
            Sample((normal(3, 4), normal(key=1)), rows=(0,)),
            Sample((normal(0, 4), normal(4, key=1))),
        ],
        big=[Sample((normal(130, 257), normal(130, 1, key=1)), rows=(0, 1))],
        hostile=list(_inplace_hostile),
    )
ROWS["add_"].hostile.append(
    Hostile((integers(0, 3, 3), normal(3)), TypeError, "add_.*int64")
)
