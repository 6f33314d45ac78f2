"""Rows of activations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from samples._rows import (
    BROADCAST_ERROR,
    EXTREMES,
    ROWS,
    Hostile,
    Row,
    Sample,
    apart,
    binary,
    integers,
    normal,
    unary,
)

unary("relu", apart)
unary("sigmoid")
unary("tanh")
unary("gelu", error=TypeError, rtol={"float32": 3e-6, "float64": 1e-12})
unary("gelu_tanh", error=TypeError, rtol={"float32": 2e-5, "float64": 1e-11})
unary("silu", error=TypeError)
for _name in (
    "relu_backward",
    "sigmoid_backward",
    "tanh_backward",
    "gelu_backward",
    "gelu_tanh_backward",
    "silu_backward",
):
    binary(_name, normal, apart)
    ROWS[_name].samples = ROWS[_name].samples[:2] + ROWS[_name].samples[4:5]
    ROWS[_name].rtol = {"float32": 5e-5, "float64": 1e-10}
    ROWS[_name].hostile = [
        BROADCAST_ERROR,
        Hostile((integers(0, 3, 3), normal(3)), TypeError, _name),
    ]


def _with_numbers(
    name: str, *choices: tuple[float, ...], make: Callable[..., Any] = apart
) -> None:
    """Rows for an elementwise op of x and numbers, and for its gradient."""
    shapes = ((7,), (3, 5), (), (0, 4), (1, 1, 17))
    for row, gy in ((name, ()), (f"{name}_backward", (normal,))):
        samples = [
            Sample(
                (
                    *(g(*shape, key=1) for g in gy),
                    make(*shape),
                    *choices[k % len(choices)],
                ),
                rows=tuple(range(len(gy) + 1)) if len(shape) == 2 else None,
            )
            for k, shape in enumerate(shapes)
        ]
        for numbers in choices:
            ones = tuple(np.ones(EXTREMES.shape) for _ in gy)
            samples.append(
                Sample((*ones, EXTREMES, *numbers), smooth=False, note="extremes")
            )
        big = (*(g(130, 257, key=1) for g in gy), make(130, 257), *choices[0])
        ROWS[row] = Row(
            samples,
            big=[Sample(big, rows=tuple(range(len(gy) + 1)))],
            hostile=[
                Hostile((*(normal(3) for _ in gy), integers(0, 3, 3)), TypeError, row),
                Hostile(
                    (integers(0, 3, 3), *(normal(3) for _ in gy), *choices[0]),
                    TypeError,
                    f"{row}.*float32 or float64",
                ),
            ],
        )


_with_numbers("leaky_relu", (0.01,), (-0.5,), (0.0,))
_with_numbers("hardtanh", (-0.3, 0.4), (0.0, 6.0))
_with_numbers("celu", (1.0,), (0.3,), (-2.0,))
_with_numbers("elu", (1.0, 1.0), (0.3, 1.7), (-2.0, 1.0))
_with_numbers(
    "softplus", (1.0, 20.0), (2.0, 0.7), (0.5, math.inf), (-1.0, 20.0), make=normal
)
ROWS["softplus_backward"].rtol = {"float32": 1e-5, "float64": 1e-12}
# the slope may be a tensor
ROWS["leaky_relu"].samples += [
    Sample((apart(3, 5), normal(5, key=1)), rows=(0,)),
    Sample((apart(2, 3, 4), normal(3, 1, key=1))),
    Sample((apart(2, 3), normal(2, 3, key=1)), rows=(0, 1)),
]
ROWS["leaky_relu"].hostile.append(BROADCAST_ERROR)
ROWS["leaky_relu_backward"].samples.append(
    Sample((normal(3, 5), apart(3, 5), normal(5, key=1)), rows=(0, 1))
)

for _name in ("logsigmoid", "selu", "relu6", "hardsigmoid", "hardswish"):
    unary(_name, apart)
    ROWS[_name].hostile = [
        Hostile(("x",), TypeError, "expected"),
        Hostile((), TypeError, _name),
    ]
for _name, _error in (
    ("selu", "elu"),
    ("relu6", "hardtanh"),
    ("logsigmoid", "softplus"),
):
    ROWS[_name].hostile.append(Hostile((integers(0, 3, 3),), TypeError, _error))

unary("mish")
ROWS["mish"].samples.pop()  # extremes: x times a subnormal tanh keeps few digits
ROWS["mish"].hostile = [
    Hostile(("x",), TypeError, "softplus"),  # a composite's errors name the inner op
    Hostile((), TypeError, "mish"),
]

ROWS["prelu"] = Row(
    [
        Sample((apart(4, 3), normal(3, key=1)), rows=(0,)),
        Sample((apart(4, 3), normal(1, key=1)), rows=(0,)),
        Sample((apart(4, 3, 2, 5), normal(3, key=1)), rows=(0,)),
        Sample((apart(7), normal(1, key=1))),
        Sample((apart(), normal(1, key=1))),
        Sample((apart(4, 3), np.array(0.3))),
        Sample((apart(0, 3), normal(3, key=1))),
        Sample((EXTREMES[None], np.array([0.25])), smooth=False, note="extremes"),
    ],
    big=[Sample((apart(130, 257), normal(257, key=1)), rows=(0,))],
    hostile=[
        Hostile((normal(3, 4), normal(3)), ValueError, r"prelu.*\(4,\) or \(1,\)"),
        Hostile((normal(3), normal(3)), ValueError, r"prelu.*\(1,\)"),
        Hostile((normal(3, 4), normal(1, 4)), ValueError, r"prelu"),
        Hostile((normal(3, 4), 0.25), TypeError, "prelu.*weight as a tensor"),
    ],
)
