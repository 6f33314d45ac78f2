"""Rows of rounding and of division that rounds down."""

from __future__ import annotations

import numpy as np

from samples._rows import (
    ROWS,
    Hostile,
    Sample,
    apart,
    binary,
    integers,
    positive,
    unary,
)

_halves = np.concatenate(
    [np.arange(-4, 4, 0.25), [2.0**22 + 0.5, 2.0**23 + 1, -(2.0**51) - 0.5]]
)
for _name in ("floor", "ceil", "trunc", "round"):
    unary(_name, lambda *s: np.asarray(apart(*s) + 0.013), error=TypeError)
    ROWS[_name].samples += [
        Sample((_halves,), smooth=False),
        Sample(
            (np.concatenate([_halves + 1e-7, np.nextafter(_halves, 0)]),), smooth=False
        ),
        Sample((integers(-9, 9, 5),), smooth=False),
    ]
for _name in ("floor_divide", "remainder"):
    binary(_name, lambda *s, key=0: np.asarray(apart(*s, key=key) + 0.013), positive)
    # NumPy's quotients by infinity and of huge numbers are not PyTorch's; test_torch.py
    ROWS[_name].samples = [s for s in ROWS[_name].samples if s.note != "extremes"]
    ROWS[_name].samples += [
        Sample((integers(-9, 9, 40), integers(1, 5, 40)), smooth=False),
        Sample((integers(-9, 9, 40), integers(-5, 0, 40)), smooth=False),
        Sample(
            (integers(0, 9, 7).astype(np.uint8), integers(-5, 0, 7).astype(np.int32)),
            smooth=False,
        ),
        Sample(
            (np.array([-(2**63), 2**63 - 1, -7]), np.array([-1, -1, -1])), smooth=False
        ),
        Sample((_halves, np.float64(-0.75).reshape(1)), smooth=False),
        Sample((np.array([0.0, -0.0, -1.0, 6.0, -6.0]), np.array([2.0])), smooth=False),
    ]
    ROWS[_name].hostile += [
        Hostile(
            (integers(1, 9, 3), np.array([1, 2, 0])), ValueError, f"{_name}.*position 2"
        ),
        Hostile((integers(1, 9, 3), 0), ValueError, f"{_name}.*other than 0"),
        Hostile((np.ones(2, bool), np.ones(2, bool)), TypeError, f"{_name}.*bool"),
    ]
