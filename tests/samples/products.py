"""Rows of products."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.ops._registry import REFERENCES
from samples._rows import ROWS, Hostile, Row, Sample, integers, normal


def _matmul_scale(a: Any, b: Any) -> Any:
    return np.matmul(np.abs(a), np.abs(b))


def _linear_scale(x: Any, w: Any, b: Any = None, act: int = 0) -> Any:
    return np.abs(x) @ np.abs(w).T + (0 if b is None else np.abs(b))


_tight = {"float32": 5e-7, "float64": 1e-15}
ROWS["matmul"] = Row(
    [
        Sample((normal(3, 4), normal(4, 5))),
        Sample((normal(1, 1), normal(1, 1))),
        Sample((normal(2, 3, 4), normal(2, 4, 5)), rows=(0, 1)),
        Sample((normal(2, 3, 4), normal(4, 2)), rows=(0,)),
        Sample((normal(3, 4), normal(2, 4, 2))),
        Sample((normal(2, 1, 3, 4), normal(3, 4, 2))),
        Sample((normal(3, 0), normal(0, 2))),
        Sample((normal(0, 3), normal(3, 2))),
        Sample((normal(17, 300), normal(300, 33)), smooth=False),
        Sample((normal(1, 513), normal(513, 70)), smooth=False),
    ],
    big=[
        Sample((normal(130, 300), normal(300, 170)), rows=(0,)),
        Sample((normal(9, 40, 50), normal(9, 50, 60)), rows=(0, 1)),
        Sample((normal(70, 3, 40), normal(40, 50)), rows=(0,)),
    ],
    hostile=[
        Hostile((normal(3, 4), normal(3, 4)), ValueError, "matmul.*4 rows"),
        Hostile((normal(4), normal(4, 2)), ValueError, "two dimensions"),
        Hostile((integers(0, 3, 2, 2), integers(0, 3, 2, 2)), TypeError, "matmul"),
        Hostile((normal(2, 3, 4), normal(3, 4, 2)), ValueError, "batch"),
        Hostile(
            (normal(2, 2), normal(2, 2).astype(np.float32)), TypeError, "one dtype"
        ),
    ],
    rtol=_tight,
    scale=_matmul_scale,
)
_linear_hostile = [
    Hostile((normal(8, 5), normal(3, 4), None), ValueError, "linear.*4 features"),
    Hostile(
        (normal(8, 4), normal(4), None), ValueError, r"weight of shape \(out, in\)"
    ),
    Hostile(
        (normal(8, 4), normal(3, 4), normal(4)), ValueError, r"bias of shape \(3,\)"
    ),
    Hostile(
        (normal(8, 4).astype(np.float32), normal(3, 4), None), TypeError, "one dtype"
    ),
    Hostile((integers(0, 2, 8, 4), normal(3, 4), None), TypeError, "linear"),
    Hostile((normal(), normal(3, 4), None), ValueError, "4 features"),
]
ROWS["linear"] = Row(
    [
        Sample((normal(8, 4), normal(3, 4), normal(3)), rows=(0,)),
        Sample((normal(8, 4), normal(3, 4), None), rows=(0,)),
        Sample((normal(4), normal(3, 4), normal(3))),
        Sample((normal(2, 3, 4), normal(5, 4), normal(5)), rows=(0,)),
        Sample((normal(0, 4), normal(3, 4), normal(3))),
        Sample((normal(3, 0), normal(2, 0), normal(2))),
        Sample((normal(3, 4), normal(0, 4), normal(0))),
    ],
    big=[Sample((normal(130, 300), normal(170, 300), normal(170)), rows=(0,))],
    hostile=list(_linear_hostile),
    rtol=_tight,
    scale=_linear_scale,
)
_layer = (normal(8, 4), normal(3, 4), normal(3))
_added = normal(8, 3, key="residual")
ROWS["linear_act"] = Row(
    [
        *(Sample((*_layer, None, act), rows=(0,)) for act in (1, 2, 3)),
        Sample((*_layer, None, 4), rows=(0,), smooth=False),
        *(Sample((*_layer, _added, act), rows=(0, 3)) for act in (0, 1, 2, 3)),
        Sample((*_layer, _added, 4), rows=(0, 3), smooth=False),
        Sample((*_layer[:2], None, _added, 1), rows=(0, 3)),
        Sample((normal(4), normal(3, 4), normal(3), normal(3, key=1), 3)),
        Sample((normal(2, 3, 4), normal(5, 4), normal(5), normal(2, 3, 5), 1)),
        Sample((normal(0, 4), normal(3, 4), normal(3), normal(0, 3), 1)),
        Sample((normal(3, 0), normal(2, 0), normal(2), normal(3, 2), 2)),
    ],
    big=[
        Sample((normal(130, 300), normal(170, 300), normal(170), r, act), rows=rows)
        for act in (1, 2, 3, 4)
        for r, rows in ((None, (0,)), (normal(130, 170), (0, 3)))
    ],
    hostile=[
        *(Hostile((*h.args, None, 1), h.error, h.match) for h in _linear_hostile),
        Hostile((normal(8, 4), normal(3, 4), None, None, 9), ValueError, "activation"),
        *(
            Hostile(
                (*_layer, wrong, 0),
                ValueError,
                r"linear_act: expected residual of shape \(8, 3\), got",
            )
            for wrong in (normal(3), normal(8, 1), normal(1, 8, 3), normal(3, 8))
        ),
        Hostile((*_layer, _added.astype(np.float32), 0), TypeError, "one dtype"),
    ],
    rtol={"float32": 5e-6, "float64": 1e-13},
    scale=lambda x, w, b, r, act: np.maximum(
        _linear_scale(x, w, b) + (0 if r is None else np.abs(r)), 1
    ),
)


ROWS["panels"] = Row(
    [
        Sample((normal(128, 7),)),
        Sample((normal(100, 33),)),
        Sample((normal(3, 4),)),
        Sample((normal(0, 4),)),
        Sample((normal(70, 0),)),
    ],
    big=[Sample((normal(300, 257),))],
    hostile=[
        Hostile(
            (normal(3),), ValueError, r"panels: expected weight of shape \(out, in"
        ),
        Hostile((integers(0, 2, 3, 4),), TypeError, "panels"),
    ],
)


def in_panels(weight: Any) -> Any:
    """(out, in) as linear_panels reads it."""
    return np.ascontiguousarray(REFERENCES["panels"](weight))


def _in_panels(*shape: int) -> Any:
    return in_panels(normal(*shape))


def _panels_scale(x: Any, w: Any, b: Any, r: Any, act: int, out: int) -> Any:
    rows = w.swapaxes(1, 2).reshape(64 * len(w), w.shape[1])[:out]
    return np.maximum(_linear_scale(x, rows, b) + (0 if r is None else np.abs(r)), 1)


_panels = (normal(8, 33), _in_panels(100, 33), normal(100))
ROWS["linear_panels"] = Row(
    [
        *(Sample((*_panels, None, act, 100), rows=(0,)) for act in range(5)),
        Sample((*_panels[:2], None, normal(8, 100), 1, 100), rows=(0, 3)),
        Sample((normal(3, 300), _in_panels(129, 300), None, None, 0, 129), rows=(0,)),
        Sample((normal(33), *_panels[1:], None, 0, 100)),
        Sample((normal(2, 3, 33), *_panels[1:], None, 2, 100), rows=(0,)),
        Sample((normal(0, 33), *_panels[1:], None, 0, 100)),
        Sample((normal(3, 0), _in_panels(64, 0), normal(64), None, 0, 64)),
    ],
    big=[
        Sample(
            (normal(130, 300), _in_panels(270, 300), normal(270), None, 1, 270),
            rows=(0,),
        ),
        Sample(
            (normal(1000, 300), _in_panels(600, 300), None, None, 0, 600), rows=(0,)
        ),
        Sample((normal(2, 1100), _in_panels(600, 1100), None, None, 0, 600), rows=(0,)),
    ],
    hostile=[
        Hostile((*_panels, None, 0, 200), ValueError, "linear_panels: expected .* 200"),
        Hostile((*_panels, None, 0, 64), ValueError, "linear_panels: expected .* 64"),
        Hostile((*_panels, None, 0, -1), ValueError, "linear_panels: expected"),
        Hostile((normal(8, 32), *_panels[1:], None, 0, 100), ValueError, "33 features"),
        Hostile((*_panels, None, 9, 100), ValueError, "activation"),
        Hostile((normal(8, 3), normal(2, 3), None, None, 0, 2), ValueError, "panels"),
    ],
    rtol={"float32": 5e-6, "float64": 1e-13},
    scale=_panels_scale,
)


def _of_shape(name: str, *args: object) -> Hostile:
    return Hostile(args, ValueError, f"{name}: expected")


_product = {"float32": 2e-6, "float64": 1e-14}
ROWS["mv"] = Row(
    [Sample((normal(3, 4), normal(4)), rows=(0,)), Sample((normal(2, 0), normal(0)))],
    hostile=[
        _of_shape("mv", normal(3), normal(3)),
        Hostile((normal(2, 3), normal(4)), ValueError, "matmul"),
        Hostile((normal(2, 3), 1.0), TypeError, "mv: expected vec"),
    ],
    rtol=_product,
    scale=lambda a, b: np.abs(a) @ np.abs(b),
)
ROWS["dot"] = Row(
    [Sample((normal(4), normal(4, key=1))), Sample((normal(0), normal(0)))],
    hostile=[_of_shape("dot", normal(2, 3), normal(3))],
    rtol=_product,
    scale=lambda a, b: np.abs(a) @ np.abs(b),
)
ROWS["outer"] = Row(
    [
        Sample((normal(4), normal(3)), rows=(0,)),
        Sample((integers(0, 9, 4), integers(0, 9, 3)), smooth=False),
    ],
    hostile=[_of_shape("outer", normal(2, 3), normal(3))],
)
ROWS["bmm"] = Row(
    [Sample((normal(2, 3, 4), normal(2, 4, 2)), rows=(0, 1))],
    hostile=[
        _of_shape("bmm", normal(2, 3), normal(3, 2)),
        _of_shape("bmm", normal(2, 3, 4), normal(1, 4, 2)),
    ],
    rtol=_product,
    scale=lambda a, b: np.abs(a) @ np.abs(b),
)
ROWS["addmm"] = Row(
    [
        Sample((normal(3), normal(2, 4), normal(4, 3)), rows=(1,)),
        Sample((normal(2, 3), normal(2, 4), normal(4, 3)), {"beta": 0.5, "alpha": 2}),
        Sample((normal(3), normal(2, 4), normal(4, 3)), {"beta": 0}, smooth=False),
    ],
    hostile=[
        _of_shape("addmm", normal(3), normal(4), normal(4, 3)),
        Hostile((normal(2), normal(2, 4), normal(4, 3)), ValueError, "expand"),
    ],
    rtol=_product,
    scale=lambda x, a, b, **k: np.abs(x) + 2 * np.abs(a) @ np.abs(b),
)
for _name in ("tril", "triu"):
    ROWS[_name] = Row(
        [
            Sample((normal(4, 5),)),
            Sample((normal(2, 4, 3), 1), rows=(0,)),
            Sample((normal(4, 5), -2)),
            Sample((integers(1, 9, 3, 3),), smooth=False),
            Sample((np.full((2, 2), np.nan),), smooth=False),
        ],
        hostile=[_of_shape(_name, normal(3))],
    )
