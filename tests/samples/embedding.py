"""Rows of embedding, of sums of rows and of optimizer steps on rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from samples._rows import ROWS, Hostile, Row, Sample, integers, normal
from samples.optim import states

_table = normal(5, 3)
# not smooth: gradients that options make others than those of the values
ROWS["embedding"] = Row(
    [
        Sample((_table, np.array([4, 0, 0]))),
        Sample((_table, np.array([[4, 0], [2, 2]], np.int32), 2), smooth=False),
        Sample((_table, np.array(3), 0, True)),
        Sample((_table, np.array([[1, 1], [4, 1]]), -1, True), smooth=False),
        Sample((_table, np.zeros((0, 2), np.int64))),
        Sample((normal(5, 0), np.array([1, 4]))),
    ],
    big=[Sample((normal(300, 130), integers(0, 300, 250, 3)))],
    hostile=[
        Hostile((_table, np.array([0, 5])), IndexError, "0 to 4, got 5 at position 1"),
        Hostile((_table, np.array([[-1]])), IndexError, "0 to 4, got -1 at position 0"),
        Hostile((_table, np.array([1.0])), TypeError, "embedding.*input"),
        Hostile((_table, np.array([True])), TypeError, "embedding.*input"),
        Hostile((integers(0, 5, 5, 3), np.array([1])), TypeError, "embedding.*weight"),
        Hostile((normal(5), np.array([1])), ValueError, "num_embeddings"),
        Hostile((_table, np.zeros((1,) * 8, np.int64)), ValueError, "7 dimensions"),
        Hostile((_table, np.array([1]), 5), ValueError, "padding_idx below 5"),
        Hostile((normal(0, 3), np.array([0])), IndexError, "0 to -1, got 0"),
    ],
)
ROWS["sum_repeats"] = Row(
    [
        Sample((np.array([4, 0, 4, 4, 2]), normal(5, 3))),
        Sample((np.array([0, 0], np.int32), normal(2, 2, 2))),
        Sample((np.array([2**40, 3, 2**40]), normal(3))),
        Sample((np.zeros(0, np.int64), normal(0, 3))),
        Sample((np.array([1]), normal(1, 0))),
    ],
    big=[Sample((integers(0, 40, 400), normal(400, 130)))],
    hostile=[
        Hostile((np.array([0, -1]), normal(2, 3)), IndexError, "-1 at position 1"),
        Hostile((np.array([0.0]), normal(1, 3)), TypeError, "indices"),
        Hostile((np.array([0]), integers(0, 3, 1, 3)), TypeError, "values"),
        Hostile((np.array([0]), normal(2, 3)), ValueError, r"\(n, ...\), got \(1,\)"),
        Hostile((np.array(0), normal(2, 3)), ValueError, "indices"),
    ],
    rtol={"float32": 2e-6, "float64": 1e-14},
    scale=lambda i, v: np.abs(v).sum(),
)

# kinds of states and hyperparameters, as in samples/optim.py
ROW_STEPS = {
    "sgd_rows": ("", [0.1, 0.0, 0.0, 0.0]),
    "adagrad_rows": ("vt", [0.1, 0.01, 0.0, 1e-10]),
    "adam_rows": ("mvt", [0.001, 0.9, 0.999, 1e-8, 0.0]),
    "sparse_adam_rows": ("mvt", [0.001, 0.9, 0.999, 1e-8]),
}
TABLES = [(7, 3), (5,), (4, 2, 2), (3, 2)]
NAMED = [np.array([6, 1, 6, 0, 6]), np.array([2]), np.array([3, 3]), np.zeros(0, int)]


def rows_call(
    name: str,
    maximize: bool = False,
    t: float = 3,
    tables: Any = TABLES,
    named: Any = NAMED,
    active: bool | None = None,
) -> Sample:
    """A step of some tables, of which the rows in `named` have gradients."""
    kinds, hyper = ROW_STEPS[name]
    grads = [
        normal(len(i), *s[1:], key="g") for i, s in zip(named, tables, strict=True)
    ]
    flag = None if active is None else np.array(active)
    params = [normal(*s) for s in tables]
    rest = states(kinds, tables, t)
    return Sample((np.array(hyper), flag, named, params, grads, *rest, maximize))


for _name, (_kinds, _numbers) in ROW_STEPS.items():
    _hyper, _p, _g, _i = (
        np.array(_numbers),
        normal(4, 3),
        normal(2, 3),
        np.array([3, 3]),
    )
    _rest = states(_kinds, [(4, 3)], 1)
    ROWS[f"{_name}_step"] = Row(
        [
            rows_call(_name),
            rows_call(_name, True, t=0),
            rows_call(_name, t=9999),
            rows_call(_name, tables=[], named=[]),
            rows_call(_name, active=True),
            rows_call(_name, active=False),
        ],
        big=[
            rows_call(
                _name,
                tables=[(3000, 33), (50, 300)],
                named=[integers(0, 3000, 1500), integers(0, 50, 200)],
            )
        ],
        hostile=[
            Hostile(
                (_hyper, None, [np.array([0, 4])], [_p], [_g], *_rest),
                IndexError,
                "0 to 3, got 4 at position 1",
            ),
            Hostile(
                (_hyper, None, [np.array([0, -1])], [_p], [_g], *_rest),
                IndexError,
                "got -1",
            ),
            Hostile(
                (_hyper, None, [_i.astype(np.int32)], [_p], [_g], *_rest),
                ValueError,
                "indices of dtype int64",
            ),
            Hostile(
                (_hyper, None, [_i], [_p], [_p], *_rest), ValueError, "2 rows of the"
            ),
            Hostile(
                (_hyper, None, [_i], [_p], [normal(2, 4)], *_rest),
                ValueError,
                "2 rows of the",
            ),
            Hostile(
                (_hyper, None, [_i], [normal()], [_g], *_rest), ValueError, "expected"
            ),
            Hostile((_hyper, None, [_i], [_p], [], *_rest), ValueError, "gradients"),
            Hostile((_hyper[:3], None, [_i], [_p], [_g], *_rest), ValueError, "hyper"),
            Hostile((_hyper,), TypeError, "inputs"),
        ],
        rtol={"float32": 3e-6, "float64": 1e-12},
        scale=lambda hyper, active, indices, params, *_: (
            max((np.abs(p).max(initial=0) for p in params), default=0) + 3
        ),
        float64=(0, *range(5 + len(_kinds.rstrip("t")), 5 + len(_kinds))),
    )
