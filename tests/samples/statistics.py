"""Rows of spread, size and running sums."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from samples._rows import ROWS, Hostile, Row, Sample, apart, integers, normal

_float_only = Hostile((integers(0, 5, 3),), TypeError, "float32 or float64")
for _name in ("var", "std", "var_mean", "std_mean"):
    ROWS[_name] = Row(
        [
            Sample((normal(4, 5),)),
            Sample((normal(4, 5), 1), rows=(0,)),
            Sample((normal(4, 5), 0), {"keepdim": True}),
            Sample((normal(2, 3, 4), (0, -1)), {"correction": 0}),
            Sample((normal(2, 3, 4), 1), {"correction": 2, "keepdim": True}),
            Sample((normal(3, 600), 1), {"correction": 0}, smooth=False),
            Sample((normal(6) + 1e4,), {"correction": 0}, smooth=False),
        ],
        big=[Sample((normal(130, 257), 1), rows=(0,))],
        hostile=[
            Hostile(_float_only.args, TypeError, f"{_name}: expected a tensor"),
            Hostile((normal(2, 3), 2), IndexError, "dimension"),
            Hostile((normal(3), None, True), TypeError, "both", {"correction": 1}),
        ],
        # the mean's rounding: |mean|^2 beside the variance
        rtol={"float32": 2e-6, "float64": 1e-14},
        scale=lambda x, *a, **k: np.abs(x).max() ** 2 + np.abs(x).max(),
    )
for _name in ("var", "var_mean"):
    ROWS[_name].samples.append(Sample((normal(5), 0), {"correction": 5}, smooth=False))


def _norm_scale(x: Any, p: Any = 2, dim: Any = None, keepdim: bool = False) -> Any:
    return np.maximum(np.abs(x).sum(), 1)


ROWS["norm"] = Row(
    [
        Sample((apart(4, 5),)),
        Sample((apart(4, 5), 2, 1), rows=(0,)),
        Sample((apart(4, 5), 1, 0, True)),
        Sample((apart(4, 5) + 0.02, math.inf, 1)),
        Sample((apart(4, 5) + 0.02, -math.inf)),
        Sample((apart(4, 5), 3, (0, 1))),
        Sample((apart(4, 5), 0.5, 1)),
        Sample((np.array([0.0, 2.0, 0.0]), 0), smooth=False),
        Sample((np.array([0.0, 2.0, 0.0]), 3), smooth=False),
        Sample((np.zeros(3),), smooth=False),
        Sample((np.zeros((2, 0)),), smooth=False),
    ],
    big=[Sample((normal(130, 257), 2, 1), rows=(0,))],
    hostile=[
        Hostile(_float_only.args, TypeError, "norm: expected a tensor"),
        Hostile((normal(3), "nuc"), ValueError, "norm.*fro"),
        Hostile((normal(3), math.nan), ValueError, "norm"),
        Hostile((normal(3), 2, 1), IndexError, "dimension"),
        Hostile((np.zeros((0, 2)), math.inf, 0), ValueError, "one element"),
    ],
    rtol={"float32": 3e-6, "float64": 1e-13},
    scale=_norm_scale,
)
ROWS["cumsum"] = Row(
    [
        Sample((normal(7), 0)),
        Sample((normal(3, 600), 1), rows=(0,), smooth=False),
        Sample((normal(2, 3, 4), -2), rows=(0,)),
        Sample((integers(-9, 9, 4, 3), 0), smooth=False),
        Sample((integers(0, 2, 300).astype(bool), 0), smooth=False),
        Sample((np.array([1e30, -np.inf, 2.0, np.inf]), 0), smooth=False),
        Sample((normal(), 0)),
        Sample((np.zeros((2, 0)), 1)),
    ],
    big=[Sample((normal(300, 130), 1), rows=(0,))],
    hostile=[
        Hostile((normal(2, 3), 2), IndexError, "dimension"),
        Hostile((normal(2, 3),), TypeError, "cumsum"),
    ],
    rtol={"float32": 1e-7, "float64": 1e-14},
    scale=lambda x, dim: np.abs(x).sum() + np.abs(np.cumsum(x, dim).reshape(x.shape)),
)
