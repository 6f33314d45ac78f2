"""Rows of arithmetic, comparisons, exponentials, where."""

from __future__ import annotations

import numpy as np

from samples._rows import (
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
ROWS["sub"].hostile.append(
    Hostile((np.ones(2, bool), np.ones(2, bool)), TypeError, "sub.*bool")
)

unary("neg", error=TypeError)
unary("abs", apart)
unary("sign", apart)
unary("sqrt", positive)
unary("exp")
unary("expm1")
unary("log", positive)
unary("log1p", positive)
unary("erf")
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
