"""Rows of arithmetic, comparisons, exponentials, where."""

from __future__ import annotations

import numpy as np

from samples._rows import (
    EXTREMES,
    ROWS,
    Hostile,
    Row,
    Sample,
    apart,
    binary,
    integers,
    normal,
    positive,
    unary,
)

for _name in ("add", "sub", "mul", "maximum", "minimum"):
    binary(_name, apart, lambda *s, key=0: apart(*s, key=key) + 0.017)
binary("div", normal, positive)
binary("pow", positive, normal)
ROWS["pow"].samples += [
    Sample(
        (normal(9) * 2, np.array([2.0, 3.0, -1.0, 0.0, 1.0, -2.0, 4.0, 5.0, -3.0])),
        smooth=False,
        note="integral exponents",
    ),
]
ROWS["pow"].rtol = {"float32": 3e-6, "float64": 2e-13}
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    binary(
        _name,
        lambda *s, key=0: integers(-2, 3, *s, key=key).astype(float),
        lambda *s, key=0: integers(-2, 3, *s, key=key).astype(float),
    )
for _name in ("add", "sub", "mul", "maximum", "minimum", "eq", "lt", "ge"):
    ROWS[_name].samples += [
        Sample((integers(-9, 9, 4, 3), integers(-9, 9, 3, key=1)), smooth=False),
        Sample(
            (integers(0, 9, 4).astype(np.uint8), integers(-9, 9, 4).astype(np.int32)),
            smooth=False,
        ),
    ]
ROWS["pow"].samples.append(
    Sample((integers(-4, 5, 6), integers(0, 6, 6, key=1)), smooth=False)
)
ROWS["sub"].hostile += [
    Hostile((np.ones(2, bool), np.ones(2, bool)), TypeError, "sub.*bool"),
    Hostile((normal(2), np.ones(2, bool)), TypeError, "sub.*bool.*~x"),
    Hostile((1, np.ones(2, bool)), TypeError, "sub.*bool"),
]
ROWS["pow"].hostile.append(Hostile((integers(1, 5, 3), -1), ValueError, "pow.*-1"))

unary("neg", error=TypeError)
unary("abs", apart)
unary("sign", apart)
unary("sqrt", positive)
unary("exp")
unary("expm1")
unary("log", positive)
unary("log1p", positive)
unary("erf")
for _name in ("clamp_min", "clamp_max"):
    binary(_name, apart, lambda *s, key=0: apart(*s, key=key) + 0.017)
    ROWS[_name].samples.append(
        Sample((integers(-9, 9, 4, 3), integers(-9, 9, 3, key=1)), smooth=False)
    )
ROWS["clamp"] = Row(
    [
        Sample((apart(3, 5), -0.32, 0.41), rows=(0,)),
        Sample((apart(3, 5), apart(5, key=1) - 0.6, apart(3, 1, key=2) + 0.6)),
        Sample((apart(7), None, 0.02)),
        Sample((apart(7),), {"min": 0.02}),
        Sample((apart(7), 0.5, -0.5), note="min above max"),
        Sample((EXTREMES, -1.0, 2.0), smooth=False),
        Sample((integers(-9, 9, 4, 3), -2, 5), smooth=False),
        Sample((np.zeros((0, 3)), 0.0)),
    ],
    big=[Sample((normal(130, 257), -0.5, 0.5), rows=(0,))],
    hostile=[
        Hostile((normal(3),), ValueError, "clamp.*neither"),
        Hostile((normal(3), "x"), TypeError, "clamp_min"),
        Hostile((normal(3), normal(2)), ValueError, "broadcast"),
    ],
)
unary("square")
unary("reciprocal", positive)
unary("rsqrt", positive)
for _name in ("square", "reciprocal", "rsqrt"):
    ROWS[_name].hostile = [
        Hostile(("x",), TypeError, "expected"),
        Hostile((), TypeError, _name),
    ]
_mask = integers(0, 2, 4, 3).astype(bool)
ROWS["where"] = Row(
    [
        Sample((_mask, normal(4, 3), normal(4, 3, key=1)), rows=(0, 1, 2)),
        Sample((_mask, normal(3), normal(4, 1, key=1))),
        Sample((_mask[:, :1], normal(), normal(1, 5, key=1))),
        Sample((_mask, integers(0, 9, 4, 3), integers(0, 9, 3)), smooth=False),
        Sample((np.zeros((0, 2), bool), normal(0, 2), normal(2))),
    ],
    big=[
        Sample(
            (integers(0, 2, 130, 257).astype(bool), normal(130, 257), normal(257)),
            rows=(0, 1),
        )
    ],
    hostile=[
        Hostile((normal(3), normal(3), normal(3)), TypeError, "where.*bool"),
        Hostile((_mask, normal(5), normal(3)), ValueError, "broadcast"),
    ],
)
