"""Rows of truth: bits, logic, tests of elements."""

from __future__ import annotations

import numpy as np

from samples._rows import EXTREMES, ROWS, Hostile, Row, Sample, integers, normal

_a, _b = integers(-9, 9, 4, 3), integers(-9, 9, 3, key=1)
_p, _q = (integers(0, 2, 4, 3, key=k).astype(bool) for k in (1, 2))
for _name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
    ROWS[_name] = Row(
        [
            Sample((_a, _b), rows=(0,)),
            Sample((_p, _q), rows=(0, 1)),
            Sample((_p, _a)),
            Sample((_a.astype(np.uint8), _b.astype(np.int32))),
            Sample((_a, 6)),
            Sample((_p, True)),
        ],
        big=[Sample((integers(0, 99, 130, 257), integers(0, 99, 257)), rows=(0,))],
        hostile=[
            Hostile((normal(3), _b), TypeError, f"{_name}.*float64"),
            Hostile((_a, 1.5), TypeError, f"{_name}.*float"),
            Hostile((_a, integers(0, 3, 4)), ValueError, "broadcast"),
        ],
    )
ROWS["bitwise_not"] = Row(
    [Sample((_a,), rows=(0,)), Sample((_p,)), Sample((_a.astype(np.uint8),))],
    hostile=[Hostile((normal(3),), TypeError, "bitwise_not.*float64")],
)
_odd = np.array([0.0, -0.0, 1.5, np.nan, np.inf])
for _name in ("logical_and", "logical_or", "logical_xor"):
    ROWS[_name] = Row(
        [
            Sample((_odd[:, None], _odd), smooth=False),
            Sample((_p, _a), smooth=False),
            Sample((_a, normal(4, 3)), smooth=False, rows=(0, 1)),
        ],
        hostile=[
            Hostile((_a, 1), TypeError, _name),
            Hostile((_a, integers(0, 3, 4)), ValueError, "broadcast"),
        ],
    )
for _name in ("logical_not", "isnan", "isinf", "isfinite"):
    ROWS[_name] = Row(
        [
            Sample((EXTREMES,), smooth=False),
            Sample((_a,), smooth=False, rows=(0,)),
            Sample((_p,), smooth=False),
            Sample((np.zeros((0, 3)),), smooth=False),
        ],
        hostile=[Hostile(("x",), TypeError, "expected"), Hostile((), TypeError, _name)],
    )
_near = normal(6)
ROWS["isclose"] = Row(
    [
        Sample(
            (_near, _near * (1 + np.array([0, 1e-6, -1e-6, 1e-4, 1, 2e-6]))),
            smooth=False,
        ),
        Sample((_odd[:, None], _odd), smooth=False),
        Sample((_odd[:, None], _odd), {"equal_nan": True}, smooth=False),
        Sample((-_odd, _odd, 0.1, 3.0), smooth=False),
        Sample((_a, _b, 0.0, 2.0), smooth=False),
        Sample((_a, _b, 0.0, 0.0), smooth=False),
    ],
    hostile=[
        Hostile((_a, normal(3)), TypeError, "isclose.*one dtype"),
        Hostile((_a, _b, -1.0), ValueError, "isclose.*tolerances"),
    ],
)
