"""Rows of softmax and losses."""

from __future__ import annotations

from typing import Any

import numpy as np

from samples._rows import ROWS, Hostile, Row, Sample, integers, normal, positive

for _name in ("softmax", "log_softmax"):
    ROWS[_name] = Row(
        [
            Sample((normal(3, 5),), rows=(0,)),
            Sample((normal(1),)),
            Sample((normal(0, 3),)),
            Sample((normal(2, 3, 17) * 30,), rows=(0,), smooth=False),
            Sample((normal(2, 1000) + 1e4,), rows=(0,), smooth=False),
        ],
        big=[Sample((normal(130, 300),), rows=(0,))],
        hostile=[
            Hostile((normal(),), ValueError, "dimensions"),
            Hostile((integers(0, 3, 2, 3),), TypeError, _name),
        ],
        rtol={"float32": 2e-6, "float64": 1e-14},
        scale=None if _name == "softmax" else lambda x: np.abs(x).max(initial=1) + 10,
    )
ROWS["softmax"].rtol = {"float32": 1e-5, "float64": 2e-14}
_labels = np.array([1, 0, 4, 2])
_x = normal(4, 5)
_w = positive(5)
ROWS["cross_entropy"] = Row(
    [
        Sample((_x, _labels, None)),
        Sample((_x, _labels, None, 0)),
        Sample((_x, _labels, None, 2)),
        Sample((_x, _labels, _w, 1)),
        Sample((_x, _labels, _w, 0, 4, 0.1)),
        Sample((_x, _labels, _w, 1, 0, 0.3)),
        Sample((_x, _labels.astype(np.uint8), None, 1, -100, 1.0)),
        Sample((normal(0, 5), np.zeros(0, np.int64), None, 2)),
        Sample((_x * 50 + 1000, _labels, None, 0), smooth=False),
    ],
    big=[
        Sample((normal(300, 200), integers(0, 200, 300), None)),
        Sample((normal(300, 200), integers(0, 200, 300), positive(200), 1, -1, 0.1)),
    ],
    hostile=[
        Hostile(
            (_x, np.array([1, 0, 5, 2]), None), IndexError, "0 to 4.*5 at position 2"
        ),
        Hostile((_x, np.array([1, 0, -1, 2]), None), IndexError, "-1 at position 2"),
        Hostile((_x, _labels[:3], None), ValueError, "target of shape"),
        Hostile((_x, normal(4), None), TypeError, "target"),
        Hostile((_x, _labels, _w[:3]), ValueError, "weight of shape"),
        Hostile((_x, _labels, None, 1, -100, 1.5), ValueError, "label_smoothing"),
        Hostile((_x, _labels, None, 7), ValueError, "reduction"),
        Hostile((integers(0, 3, 4, 5), _labels, None), TypeError, "cross_entropy"),
        Hostile((normal(4, 0), _labels, None), ValueError, "one class"),
    ],
    rtol={"float32": 3e-6, "float64": 1e-13},
    scale=lambda x, *_: np.abs(x).max(initial=1) + 10,
)


def _backward_args(
    x: Any, t: Any, w: Any, reduction: int, ignore: int, eps: float
) -> Any:
    from fastnn.ops._registry import REFERENCES

    loss, lse, norm = REFERENCES["cross_entropy"](x, t, w, reduction, ignore, eps)
    gy = normal(*np.shape(loss), key=5)
    return gy, x, t, w, lse, np.array(norm), reduction, ignore, eps


ROWS["cross_entropy_backward"] = Row(
    [
        Sample(_backward_args(_x, _labels, None, 1, -100, 0.0)),
        Sample(_backward_args(_x, _labels, _w, 0, 4, 0.1)),
        Sample(_backward_args(_x, _labels, None, 2, 1, 0.2)),
        Sample(_backward_args(_x * 30 + 500, _labels, None, 1, -100, 0.0)),
    ],
    big=[
        Sample(
            _backward_args(
                normal(300, 200), integers(0, 200, 300), positive(200), 1, -1, 0.1
            )
        )
    ],
    hostile=[
        Hostile(
            (normal(3), _x, _labels, None, normal(4), np.array(1.0)),
            ValueError,
            "gy, lse and norm",
        ),
        Hostile(
            (np.array(1.0), _x, np.array([9, 0, 0, 0]), None, normal(4), np.array(1.0)),
            IndexError,
            "position 0",
        ),
    ],
    rtol={"float32": 1e-5, "float64": 1e-13},
    scale=lambda gy, *_: np.abs(gy).max(initial=1),
    float64=(4, 5),
)

ROWS["mse_loss"] = Row(
    [
        Sample((normal(3, 4), normal(3, 4, key=1))),
        Sample((normal(3, 4), normal(3, 4, key=1)), {"reduction": "sum"}),
        Sample((normal(3, 4), normal(3, 4, key=1)), {"reduction": "none"}, rows=(0, 1)),
    ],
    big=[Sample((normal(130, 300), normal(130, 300, key=1)))],
    hostile=[
        Hostile((normal(3, 1), normal(3)), ValueError, "mse_loss.*equal shapes"),
        Hostile((normal(3), normal(3)), ValueError, "reduction", {"reduction": "max"}),
    ],
    rtol={"float32": 3e-6, "float64": 1e-14},
)
