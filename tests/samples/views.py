"""Rows of views."""

from __future__ import annotations

from samples._rows import ROWS, Hostile, Row, Sample, integers, normal

ROWS["reshape"] = Row(
    [
        Sample((normal(4, 6), (2, 12))),
        Sample((normal(4, 6), (-1, 3))),
        Sample((normal(1), ())),
        Sample((normal(0, 3), (3, 0))),
        Sample((normal(6), (2, 1, 3))),
    ],
    hostile=[
        Hostile((normal(4, 6), (5, 5)), ValueError, "reshape.*24"),
        Hostile((normal(4, 6), (-1, -1)), ValueError, "-1"),
        Hostile((normal(4, 6), (-1, 0)), ValueError, "reshape"),
        Hostile((normal(4), (2**62, 2**62)), ValueError, "reshape"),
        Hostile((normal(4), (1,) * 9), ValueError, "at most 8"),
        Hostile((normal(4), (2.5, 2)), TypeError, "integer"),
    ],
)
ROWS["permute"] = Row(
    [
        Sample((normal(2, 3, 4), (2, 0, 1))),
        Sample((normal(2, 3), (-1, 0))),
        Sample((normal(), ())),
    ],
    hostile=[
        Hostile((normal(2, 3), (0, 0)), ValueError, "once"),
        Hostile((normal(2, 3), (0,)), ValueError, "2 dimensions"),
        Hostile((normal(2, 3), (0, 2)), IndexError, "permute"),
    ],
)
ROWS["expand"] = Row(
    [
        Sample((normal(3, 1), (3, 4))),
        Sample((normal(3), (2, -1))),
        Sample((normal(), (2, 2))),
        Sample((normal(1, 3), (0, 3))),
    ],
    hostile=[
        Hostile((normal(3), (4,)), ValueError, "expand"),
        Hostile((normal(2, 3), (3,)), ValueError, "expand"),
        Hostile((normal(3), (-1, 3)), ValueError, "expand"),
        Hostile((normal(1), (2**40, 2**40)), MemoryError, "expand"),
    ],
)
ROWS["slice"] = Row(
    [
        Sample((normal(7, 3), 0, 1, 6, 2)),
        Sample((normal(7, 3), 1, 0, 2, 1)),
        Sample((normal(7, 3), 0, 6, -1, -2)),
        Sample((normal(5), 0, 3, 3, 1)),
        Sample((normal(5), 0, 0, 99, 1)),
        Sample((normal(5), -1, 0, 4, 3)),
    ],
    hostile=[
        Hostile((normal(3), 0, 0, 2, 0), ValueError, "step"),
        Hostile((normal(3), 1, 0, 2, 1), IndexError, "slice"),
        Hostile((normal(), 0, 0, 1, 1), IndexError, "slice"),
        Hostile((normal(3), 0, 2**70, 1), TypeError, "start"),
    ],
)
ROWS["unslice"] = Row(
    [
        Sample((normal(3, 2), 7, 0, 1, 2)),
        Sample((normal(3, 2), 2, 1, 0, 1)),
        Sample((normal(3), 7, 0, 6, -2)),
        Sample((normal(0, 2), 4, 0, 0, 1)),
    ],
    big=[Sample((normal(300, 130), 601, 0, 1, 2))],
    hostile=[
        Hostile((normal(3), 4, 0, 2, 1), ValueError, "unslice"),
        Hostile((normal(3), 4, 0, -1, 1), ValueError, "unslice"),
        Hostile((normal(3), -4, 0, 0, 1), ValueError, "unslice"),
        Hostile((normal(3), 4, 0, 0, 2**62), ValueError, "unslice"),
    ],
)
ROWS["tile"] = Row(
    [
        Sample((normal(2, 3), (2, 1, 3))),
        Sample((normal(2, 3), (4,))),
        Sample((normal(2, 3), (1, 1))),
        Sample((normal(2, 3), (2, 0))),
        Sample((normal(), (3, 2))),
        Sample((integers(0, 9, 3), (2,)), smooth=False),
    ],
    hostile=[Hostile((normal(3), (-1,)), ValueError, "tile.*at least 0")],
)
ROWS["flip"] = Row(
    [
        Sample((normal(2, 3), (0,))),
        Sample((normal(2, 3), (-1, 0))),
        Sample((normal(2, 3), ())),
        Sample((normal(0, 3), (0, 1))),
    ],
    hostile=[Hostile((normal(3), (1,)), IndexError, "flip: expected a dimension")],
)
