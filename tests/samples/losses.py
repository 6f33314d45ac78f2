"""Rows of softmax, cross entropy and losses."""

from __future__ import annotations

from typing import Any

import numpy as np

from samples._rows import (
    EXTREMES,
    ROWS,
    Hostile,
    Row,
    Sample,
    apart,
    integers,
    normal,
    positive,
)

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
for _name in ("softmax_backward", "log_softmax_backward"):
    ROWS[_name] = Row(
        [
            Sample((normal(3, 5), normal(3, 5, key=1)), rows=(0, 1)),
            Sample((normal(1), normal(1, key=1))),
            Sample((normal(0, 3), normal(0, 3))),
            Sample((normal(3, 0), normal(3, 0))),
            Sample((normal(2, 3, 17), normal(2, 3, 17, key=1)), rows=(0, 1)),
            Sample((normal(2, 1000), normal(2, 1000, key=1)), smooth=False),
        ],
        big=[Sample((normal(130, 300), normal(130, 300, key=1)), rows=(0, 1))],
        hostile=[
            Hostile(
                (normal(3, 5), normal(5)), ValueError, f"{_name}: expected gy of y's"
            ),
            Hostile((normal(3, 5), normal(3, 4)), ValueError, "gy of y's"),
            Hostile((normal(), normal()), ValueError, "gy of y's"),
            Hostile((integers(0, 3, 3), normal(3)), TypeError, _name),
            Hostile((normal(3), integers(0, 3, 3)), TypeError, f"{_name}.*one dtype"),
        ],
        rtol={"float32": 1e-5, "float64": 1e-13},
        scale=lambda gy, y: np.abs(gy).sum(-1, keepdims=True) * np.exp(np.abs(y)) + 1,
    )
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

ROWS["softmin"] = Row(
    [
        Sample((normal(3, 5),), rows=(0,)),
        Sample((normal(2, 3, 4), 1)),
        Sample((normal(2, 3, 4),), {"dim": -2}),
        Sample((normal(4),)),
    ],
    hostile=[
        Hostile((normal(2, 3, 4),), ValueError, "softmax: expected dim"),
        Hostile((integers(0, 3, 2, 3),), TypeError, "softmax"),
        Hostile(([1.0],), TypeError, "softmin"),
    ],
    rtol={"float32": 1e-5, "float64": 2e-14},
)

# ---- negative log-likelihood -------------------------------------------------------------

_logp = -positive(4, 5)
ROWS["nll"] = Row(
    [
        Sample((_logp, _labels, None)),
        Sample((_logp, _labels, None, 0)),
        Sample((_logp, _labels, None, 2)),
        Sample((_logp, _labels, _w, 1)),
        Sample((_logp, _labels, _w, 0, 4)),
        Sample((_logp, _labels.astype(np.int32), _w, 1, 0)),
        Sample((normal(0, 5), np.zeros(0, np.int64), None, 2)),
        Sample(
            (
                np.array([[-np.inf, 0.0], [np.nan, -1.0], [np.inf, 3e38]]),
                np.array([0, 0, 1]),
                None,
                0,
            ),
            smooth=False,
        ),
    ],
    big=[
        Sample((normal(30000, 3), integers(0, 3, 30000), None)),
        Sample((normal(30000, 3), integers(0, 3, 30000), positive(3), 1, 1)),
    ],
    hostile=[
        Hostile((_logp, np.array([1, 0, 5, 2])), IndexError, "0 to 4.*5 at position 2"),
        Hostile((_logp, np.array([1, 0, -1, 2])), IndexError, "-1 at position 2"),
        Hostile((_logp, _labels[:3]), ValueError, "target of shape"),
        Hostile((_logp, normal(4)), TypeError, "target"),
        Hostile((_logp, _labels, _w[:3]), ValueError, "weight of shape"),
        Hostile((_logp, _labels, None, 7), ValueError, "reduction"),
        Hostile((integers(0, 3, 4, 5), _labels), TypeError, "nll"),
        Hostile((normal(4, 0), _labels), ValueError, "one class"),
    ],
)


def _nll_backward_args(
    t: Any, w: Any, classes: int, reduction: int, ignore: int = -100
) -> Any:
    counted = t != ignore
    factor = np.ones(classes) if w is None else w
    norm = np.where(counted, factor[np.where(counted, t, 0)], 0).sum()
    gy = normal(len(t), key=5) if reduction == 0 else normal(key=5)
    return gy, t, w, np.array(norm), classes, reduction, ignore


ROWS["nll_backward"] = Row(
    [
        Sample(_nll_backward_args(_labels, None, 5, 1)),
        Sample(_nll_backward_args(_labels, None, 5, 2, 1)),
        Sample(_nll_backward_args(_labels, None, 5, 0)),
        Sample(_nll_backward_args(np.zeros(0, np.int64), None, 5, 2)),
    ],
    big=[Sample(_nll_backward_args(integers(0, 50, 3000), None, 50, 1, 7))],
    hostile=[
        Hostile(
            (normal(), np.array([9, 0]), None, np.array(1.0), 5),
            IndexError,
            "nll_backward.*position 0",
        ),
        Hostile(
            (normal(3), _labels, None, np.array(1.0), 5, 0), ValueError, "nll_backward"
        ),
        Hostile(
            (normal(), _labels, normal(3), np.array(1.0), 5), ValueError, "nll_backward"
        ),
        Hostile(
            (normal(), _labels, None, np.array(1.0), -2), ValueError, "nll_backward"
        ),
    ],
    float64=(3,),
)

# ---- of an input and a target of one shape -----------------------------------------------


def _arrays(*values: Any) -> list[Any]:
    return [np.asarray(v) for v in values]


def _elementwise(
    name: str, x: Any, y: Any, *numbers: float, extremes: Any = None
) -> None:
    """Rows of a loss of each element and of its gradient."""
    shapes = [(3, 5), (7,), (), (0, 4), (2, 1, 17)]
    for row, gy in ((name, ()), (f"{name}_backward", (normal,))):
        ROWS[row] = Row(
            [
                Sample(
                    (
                        *(
                            np.asarray(a)
                            for a in (*(g(*s, key=5) for g in gy), x(*s), y(*s, key=1))
                        ),
                        *numbers,
                    ),
                    rows=tuple(range(len(gy) + 2)) if len(s) == 2 else None,
                )
                for s in shapes
            ]
            + [Sample((*(g(3, 5) for g in gy), x(3, 5), y(5, key=1), *numbers))],
            big=[
                Sample(
                    (
                        *(g(130, 257) for g in gy),
                        x(130, 257),
                        y(130, 257, key=1),
                        *numbers,
                    ),
                    rows=tuple(range(len(gy) + 2)),
                )
            ],
            hostile=[
                Hostile(
                    (*(normal(2, 3) for _ in gy), normal(2, 3), normal(4), *numbers),
                    ValueError,
                    "broadcast",
                ),
                Hostile(
                    (
                        *(integers(0, 3, 3) for _ in gy),
                        integers(0, 3, 3),
                        normal(3),
                        *numbers,
                    ),
                    TypeError,
                    row,
                ),
            ],
            scale=lambda *a: 1.0,
        )
    if extremes is not None:
        ROWS[name].samples.append(
            Sample((*extremes, *numbers), smooth=False, note="extremes")
        )


def _unit(*shape: int, key: Any = 0) -> Any:
    return np.asarray((positive(*shape, key=key) - 0.1) / 3)


_pairs = (EXTREMES[:, None], EXTREMES[None, :])
_elementwise("squared_error", normal, normal, extremes=_pairs)
_elementwise("huber", apart, normal, 0.6, extremes=_pairs)
_elementwise("binary_cross_entropy", _unit, _unit)
_elementwise("bce_with_logits", normal, _unit, 1.0)
for _name in ("squared_error", "huber"):
    ROWS[_name].scale = None
    ROWS[_name].rtol = {"float32": 2e-6, "float64": 1e-14}
ROWS["binary_cross_entropy"].samples.append(
    Sample(
        (np.array([0.0, 1.0, 0.0, 1.0, 0.0, 1e-40]), np.array([0.0, 1, 1, 0, 0.5, 1])),
        smooth=False,
        note="the ends",
    )
)
ROWS["binary_cross_entropy"].hostile += [
    Hostile((np.array([0.5, bad]), np.array([1.0, 0.0])), ValueError, words)
    for bad, words in (
        (-0.25, "expected input from 0 to 1, got values from -0.25 to 0.5"),
        (1.5, "got values from 0.5 to 1.5 .*with_logits"),
        (np.nan, "got values from nan to nan"),
    )
]
ROWS["bce_with_logits"].scale = None  # right to the last digits in both tails
ROWS["bce_with_logits"].samples += [
    Sample((normal(3, 5) * 60, integers(0, 2, 3, 5).astype(float), 1.0), smooth=False),
    Sample((normal(3, 5), _unit(3, 5), positive(5, key=3))),
    Sample((normal(3, 5), _unit(3, 5), positive(3, 1, key=3))),
    Sample(
        (EXTREMES[:, None], np.array([0.0, 0.5, 1.0]), 1.5),
        smooth=False,
        note="extremes",
    ),
]
ROWS["bce_with_logits_backward"].samples.append(
    Sample((normal(3, 5, key=5), normal(3, 5), _unit(3, 5), positive(5, key=3)))
)


def _loss(
    name: str,
    x: Any,
    y: Any,
    *options: dict[str, Any],
    hostile: tuple[Hostile, ...] = (),
) -> None:
    """A row of a public loss, over its reductions and options."""
    samples = []
    for option in ({}, *options):
        for reduction in ("mean", "sum", "none"):
            samples.append(
                Sample(
                    (x(3, 4), y(3, 4, key=1)),
                    {"reduction": reduction, **option},
                    rows=(0, 1) if reduction == "none" else None,
                )
            )
    samples += [
        Sample((np.asarray(x()), np.asarray(y(key=1)))),
        Sample((x(0, 3), y(0, 3)), {"reduction": "sum"}),
        Sample((x(5), y(5, key=1)), {"reduction": "mean"}),
    ]
    ROWS[name] = Row(
        samples,
        big=[Sample((x(130, 300), y(130, 300, key=1)))],
        hostile=[
            Hostile((normal(3, 1), normal(3)), ValueError, f"{name}: .*equal.*reshape"),
            Hostile((normal(3, 2), normal(2)), ValueError, f"{name}: .*equal.*expand"),
            Hostile(
                (normal(3), normal(3)),
                ValueError,
                f"{name}: expected reduction",
                {"reduction": "max"},
            ),
            Hostile((normal(3), [1.0, 2.0, 3.0]), TypeError, f"{name}.*from_numpy"),
            Hostile((integers(0, 3, 3), normal(3)), TypeError, f"{name}.*input.float"),
            *hostile,
        ],
        rtol={"float32": 3e-6, "float64": 1e-13},
        scale=lambda *a, **k: 1 + np.abs(a[0]).sum() * (k.get("reduction") == "sum"),
    )


_loss("mse_loss", normal, normal)
_loss("l1_loss", apart, normal)
_loss(
    "huber_loss",
    apart,
    normal,
    {"delta": 0.3},
    {"delta": 3.0},
    hostile=(
        Hostile((normal(3), normal(3)), ValueError, "delta above 0", {"delta": 0.0}),
        Hostile((normal(3), normal(3)), ValueError, "delta above 0", {"delta": np.nan}),
        Hostile((normal(3), normal(3)), TypeError, "delta as a number", {"delta": "1"}),
    ),
)
_loss(
    "smooth_l1_loss",
    apart,
    normal,
    {"beta": 0.3},
    {"beta": 3.0},
    {"beta": 0.0},
    hostile=(
        Hostile((normal(3), normal(3)), ValueError, "beta from 0", {"beta": -1.0}),
    ),
)
_loss("binary_cross_entropy_with_logits", normal, _unit)
_loss(
    "kl_div",
    lambda *s, key=0: np.asarray(-positive(*s, key=key)),
    _unit,
    {"log_target": True},
)
ROWS["kl_div"].samples += [
    Sample((-positive(3, 4), _unit(3, 4)), {"reduction": "batchmean"}),
    Sample((-positive(4), np.array([0.0, 0.5, 0.0, 1.0])), smooth=False),
]
