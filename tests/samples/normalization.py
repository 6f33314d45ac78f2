"""Rows of batch, layer, group and instance norm."""

from __future__ import annotations

from typing import Any

import numpy as np

from samples._rows import ROWS, Hostile, Row, Sample, apart, integers, normal, positive


def _parameters(c: int) -> tuple[Any, Any]:
    return positive(c), normal(c, key=2)


def _wild(*shape: int) -> Any:
    x = normal(*shape).copy()
    x[0, 0] = np.inf
    x[-1, -1] = np.nan
    return x


def _far_first(*shape: int) -> Any:
    x = normal(*shape).copy()
    x[:, :16] = 300
    return x


def _largest(x: Any, *_rest: Any) -> Any:
    """About the largest y; rounding x itself costs what its mean costs."""
    with np.errstate(all="ignore"):
        largest = np.abs(x[np.isfinite(x)]).max(initial=1)
        spread = np.std(x, (0, *range(2, x.ndim))) if x.size else np.ones(1)
        ratio = largest / np.where(spread > 0, spread, largest).min(initial=1)
    return 30 * max(1, ratio if np.isfinite(ratio) else 1)


_none4 = (None,) * 4
ROWS["batch_norm"] = Row(
    [
        Sample((normal(4, 3), *_parameters(3))),
        Sample((normal(2, 3, 4), *_parameters(3))),
        Sample((normal(5, 2, 3, 3),)),
        Sample((normal(3, 2, 2, 2), positive(2), None)),
        Sample((normal(3, 2, 2), None, normal(2), normal(3, 2, 2, key=4))),
        Sample((normal(3, 20), *_parameters(20), normal(3, 20, key=4), *(None,) * 3)),
        Sample(
            (normal(7, 2, 19), *_parameters(2), None, normal(2, key=5), positive(2)),
            smooth=False,
        ),
        Sample(
            (
                normal(4, 3),
                *_parameters(3),
                None,
                normal(3, key=5),
                positive(3),
                np.array(3),
                1e-3,
                -1.0,
            ),
            smooth=False,
        ),
        Sample((apart(4, 3), *_parameters(3), *_none4, 1e-5, 0.1, 1)),
        Sample((apart(3, 2, 3), *_parameters(2), *_none4, 1e-5, 0.1, 1)),
        Sample(
            (
                apart(3, 2, 3),
                *_parameters(2),
                normal(3, 2, 3, key=4),
                *(None,) * 3,
                1e-5,
                0.1,
                1,
            )
        ),
        Sample((normal(3, 2, 17) * 1e-3 + 1e3, *_parameters(2)), smooth=False),
        Sample((np.full((3, 2, 5), 7.0), *_parameters(2)), smooth=False),
        Sample((normal(0, 3), *_parameters(3))),
        Sample((normal(3, 0, 2), None, None)),
        Sample((_wild(3, 2, 5), *_parameters(2)), smooth=False),
        Sample((_wild(5, 3), *_parameters(3)), smooth=False),
    ],
    big=[
        Sample((normal(3, 70, 50, 7), *_parameters(70))),
        Sample((normal(3, 2, 200, 201), *_parameters(2), None, normal(2), positive(2))),
        Sample((normal(700, 70), *_parameters(70), *_none4, 1e-5, 0.1, 1)),
    ],
    hostile=[
        Hostile((normal(3),), ValueError, "batch_norm: expected input of shape"),
        Hostile((integers(0, 3, 4, 3),), TypeError, "batch_norm"),
        Hostile((normal(4, 3), normal(2)), ValueError, r"weight of shape \(3,\)"),
        Hostile((normal(4, 3), None, normal(3, 1)), ValueError, "bias of shape"),
        Hostile((normal(4, 3), None, None, normal(3)), ValueError, "residual of shape"),
        Hostile((normal(1, 3),), ValueError, "more than 1 value per channel"),
        Hostile((normal(1, 3, 1, 1),), ValueError, "more than 1 value per channel"),
        Hostile((normal(4, 3), integers(0, 3, 3)), TypeError, "one dtype"),
        Hostile((normal(4, 3), *(None,) * 5, normal(1)), TypeError, "int64"),
        Hostile((normal(4, 3), *(None,) * 6, 1e-5, -1.0), ValueError, "batches"),
        Hostile((normal(4, 3), *(None,) * 6, 1e-5, 0.1, 2), ValueError, "act 0"),
    ],
    rtol={"float32": 1e-6, "float64": 1e-13},
    scale=_largest,
)


def _backward(x: Any, w: Any, b: Any, y: Any = None, act: int = 0, keep: bool = False):
    dims = (0, *range(2, x.ndim))
    gy = normal(*x.shape, key=7)
    mean = x.mean(dims) if x.size else np.zeros(x.shape[1])
    rstd = 1 / np.sqrt((x.var(dims) if x.size else np.zeros(x.shape[1])) + 1e-5)
    return gy, x, w, b, mean, rstd, y, act, keep


ROWS["batch_norm_backward"] = Row(
    [
        Sample(_backward(normal(4, 3), positive(3), None)),
        Sample(_backward(normal(3, 2, 3), positive(2), None)),
        Sample(_backward(normal(3, 2, 2, 2), None, None)),
        Sample(_backward(apart(4, 3), *_parameters(3), None, 1)),
        Sample(_backward(apart(3, 2, 3), *_parameters(2), None, 1)),
        Sample(_backward(normal(3, 2, 19), *_parameters(2), apart(3, 2, 19), 1, True)),
        Sample(_backward(normal(4, 17), positive(17), None, apart(4, 17), 1, True)),
        Sample(_backward(normal(3, 2, 3), positive(2), None, None, 0, True)),
        Sample(_backward(normal(0, 3), positive(3), None)),
        Sample(_backward(normal(3, 2, 70) + 100, positive(2), None), smooth=False),
    ],
    big=[
        Sample(_backward(normal(3, 70, 50, 7), *_parameters(70), None, 1)),
        Sample(_backward(normal(3, 2, 200, 201), positive(2), None)),
        Sample(
            _backward(
                normal(700, 70), *_parameters(70), normal(700, 70, key=1), 1, True
            )
        ),
    ],
    hostile=[
        Hostile(
            (normal(4, 3), normal(4, 2), None, None, normal(3), normal(3)),
            ValueError,
            "x of shape",
        ),
        Hostile(
            (normal(4, 3), normal(4, 3), None, None, normal(2), normal(3)),
            ValueError,
            "mean of shape",
        ),
        Hostile(
            (normal(4, 3), normal(4, 3), None, None, normal(3), integers(0, 2, 3)),
            TypeError,
            "rstd of dtype float64",
        ),
        Hostile(
            (normal(4, 3), normal(4, 3), None, None, normal(3), normal(3), None, 3),
            ValueError,
            "act 0",
        ),
    ],
    rtol={"float32": 1e-6, "float64": 1e-13},
    scale=lambda gy, x, *a: (
        30 * np.sqrt(max(x.size, 1)) * max(1, np.abs(x).max(initial=1))
    ),
    float64=(4, 5),
)

ROWS["scale_shift"] = Row(
    [
        Sample((normal(4, 3), *_parameters(3)), rows=(0,)),
        Sample((normal(2, 3, 4), *_parameters(3)), rows=(0,)),
        Sample((normal(2, 3, 2, 9), *_parameters(3), normal(2, 3, 2, 9, key=1))),
        Sample((normal(2, 3, 19), *_parameters(3), normal(2, 3, 19, key=1), 1)),
        Sample((normal(2, 3), *_parameters(3), None, 1)),
        Sample((normal(0, 3, 2), *_parameters(3))),
        Sample((_wild(3, 2, 5), *_parameters(2), None, 1), smooth=False),
    ],
    big=[
        Sample((normal(3, 70, 50, 7), *_parameters(70)), rows=(0,)),
        Sample((normal(700, 70), *_parameters(70), None, 1), rows=(0,)),
    ],
    hostile=[
        Hostile((normal(3), normal(3), normal(3)), ValueError, "input of shape"),
        Hostile((normal(4, 3), normal(2), normal(3)), ValueError, "scale of shape"),
        Hostile((normal(4, 3), normal(3), normal(3, 1)), ValueError, "shift of shape"),
        Hostile((integers(0, 3, 4, 3), normal(3), normal(3)), TypeError, "scale_shift"),
    ],
    rtol={"float32": 3e-7, "float64": 1e-15},
    scale=lambda x, *a: 20 * np.abs(x[np.isfinite(x)]).max(initial=1),
)

ROWS["layer_norm"] = Row(
    [
        Sample((normal(3, 5), *_parameters(5)), rows=(0,)),
        Sample((normal(2, 3, 4), positive(3, 4), normal(3, 4), 2), rows=(0,)),
        Sample((normal(9), None, normal(9, key=1))),
        Sample((normal(3, 17), positive(17), None, 1, 1e-3), rows=(0,)),
        Sample((normal(2, 3, 40), None, None), rows=(0,)),
        Sample((normal(0, 3), *_parameters(3))),
        Sample((normal(3, 0), None, None)),
        Sample((normal(3, 300) * 1e-3 + 1e3, *_parameters(300)), smooth=False),
        Sample((np.full((3, 5), 7.0), *_parameters(5)), smooth=False),
        Sample((_far_first(3, 170), *_parameters(170)), smooth=False),
        Sample((_wild(3, 5), *_parameters(5)), smooth=False),
    ],
    big=[Sample((normal(130, 300), *_parameters(300)), rows=(0,))],
    hostile=[
        Hostile(
            (normal(3, 5), normal(3)), ValueError, "layer_norm: expected weight of"
        ),
        Hostile((normal(3, 5), None, normal(1)), ValueError, "bias of shape"),
        Hostile((normal(3, 5), None, None, 3), ValueError, "at least 3 dimensions"),
        Hostile((normal(3, 5), None, None, 0), ValueError, "at least 1 dim"),
        Hostile((integers(0, 3, 3, 5),), TypeError, "layer_norm"),
    ],
    rtol={"float32": 1e-6, "float64": 1e-13},
    scale=_largest,
)


def _row_args(x: Any, w: Any, own: tuple[int, ...], shape: Any, *attrs: Any) -> Any:
    gy = normal(*x.shape, key=7)
    mean = x.mean(own).reshape(shape)
    return gy, x, w, mean, 1 / np.sqrt(x.var(own) + 1e-5).reshape(shape), *attrs


ROWS["layer_norm_backward"] = Row(
    [
        Sample(_row_args(normal(3, 5), positive(5), (1,), (3,))),
        Sample(_row_args(normal(2, 3, 4), positive(3, 4), (1, 2), (2,), 2)),
        Sample(_row_args(normal(9), None, (0,), ())),
        Sample(_row_args(normal(3, 17), None, (1,), (3,), 1, False)),
        Sample(_row_args(normal(11, 80), positive(80), (1,), (11,)), smooth=False),
    ],
    big=[Sample(_row_args(normal(200, 300), positive(300), (1,), (200,)))],
    hostile=[
        Hostile(
            (normal(3, 5), normal(3, 4), None, normal(3), normal(3)),
            ValueError,
            "x of shape",
        ),
        Hostile(
            (normal(3, 5), normal(3, 5), None, normal(2), normal(3)),
            ValueError,
            "mean of shape",
        ),
    ],
    rtol={"float32": 1e-6, "float64": 1e-13},
    scale=lambda gy, x, *a: 30 * np.sqrt(max(x.size, 1)),
    float64=(3, 4),
)

ROWS["group_norm"] = Row(
    [
        Sample((normal(3, 4, 5), *_parameters(4), 2), rows=(0,)),
        Sample((normal(3, 6), *_parameters(6), 3), rows=(0,)),
        Sample((normal(2, 4, 3, 3), None, None, 1), rows=(0,)),
        Sample((normal(2, 4, 20), positive(4), None, 4, 1e-3), rows=(0,)),
        Sample((normal(0, 4, 2), *_parameters(4), 2)),
        Sample((normal(2, 4, 40) * 1e-3 + 1e3, *_parameters(4), 2), smooth=False),
        Sample((_wild(3, 4, 5), *_parameters(4), 2), smooth=False),
    ],
    big=[
        Sample((normal(20, 6, 30, 13), *_parameters(6), 3), rows=(0,)),
        Sample((normal(130, 300), *_parameters(300), 3), rows=(0,)),
    ],
    hostile=[
        Hostile((normal(3, 4), normal(2), None, 2), ValueError, "weight of shape"),
        Hostile((normal(3, 4), None, None, 3), ValueError, "4 channels and 3 groups"),
        Hostile((normal(3, 4), None, None, 0), ValueError, "0 groups"),
        Hostile((normal(3), None, None, 1), ValueError, "input of shape"),
        Hostile((integers(0, 3, 3, 4), None, None, 1), TypeError, "group_norm"),
    ],
    rtol={"float32": 1e-6, "float64": 1e-13},
    scale=_largest,
)


def _group_args(x: Any, w: Any, groups: int, *attrs: Any) -> Any:
    n = len(x)
    flat = x.reshape(n, groups, -1)
    gy, _, w, mean, rstd = _row_args(flat, w, (2,), (n, groups))
    return gy.reshape(x.shape), x, w, mean, rstd, groups, *attrs


ROWS["group_norm_backward"] = Row(
    [
        Sample(_group_args(normal(3, 4, 5), positive(4), 2)),
        Sample(_group_args(normal(3, 6), positive(6), 3)),
        Sample(_group_args(normal(2, 4, 3, 3), None, 1)),
        Sample(_group_args(normal(2, 4, 20), positive(4), 4, False)),
    ],
    big=[
        Sample(_group_args(normal(20, 6, 30, 13), positive(6), 3)),
        Sample(_group_args(normal(130, 300), positive(300), 3)),
    ],
    hostile=[
        Hostile(
            (normal(3, 4), normal(3, 5), None, normal(3, 2), normal(3, 2), 2),
            ValueError,
            "x of shape",
        ),
        Hostile(
            (normal(3, 4), normal(3, 4), None, normal(3, 1), normal(3, 2), 2),
            ValueError,
            "mean of shape",
        ),
    ],
    rtol={"float32": 1e-6, "float64": 1e-13},
    scale=lambda gy, x, *a: 30 * np.sqrt(max(x.size, 1)),
    float64=(3, 4),
)

ROWS["instance_norm"] = Row(
    [
        Sample((normal(2, 3, 4),), rows=(0,)),
        Sample((normal(2, 3, 3, 3), None, None, *_parameters(3)), rows=(0,)),
    ],
    hostile=[
        Hostile((normal(2, 3),), ValueError, "more than 1 value"),
        Hostile((normal(2, 3, 1),), ValueError, "more than 1 value"),
        Hostile((integers(0, 3, 2, 3, 4),), TypeError, "group_norm"),
        Hostile(([1.0],), TypeError, "instance_norm"),
    ],
    rtol={"float32": 1e-6, "float64": 1e-13},
    scale=_largest,
)
