"""Rows of joining and selecting."""

from __future__ import annotations

import numpy as np

from samples._rows import ROWS, Hostile, Row, Sample, integers, normal

ROWS["cat"] = Row(
    [
        Sample(([normal(2, 3), normal(4, 3)], 0)),
        Sample(([normal(2, 3), normal(2, 1)], -1)),
        Sample(([normal(3)],)),
        Sample(([normal(0, 2), normal(3, 2)], 0)),
        Sample(([normal(2, 2, key=k) for k in range(11)], 1)),
        Sample(
            ([integers(0, 9, 3), integers(0, 9, 2).astype(np.uint8)],), smooth=False
        ),
    ],
    big=[Sample(([normal(70, 300), normal(60, 300)], 0))],
    hostile=[
        Hostile(([],), ValueError, "at least one"),
        Hostile(([normal(2, 3), normal(2, 4)], 0), ValueError, "position 1"),
        Hostile(([normal(2), normal(2, 4)], 0), ValueError, "cat"),
        Hostile(([normal(2)], 1), IndexError, "cat"),
        Hostile(([normal()],), ValueError, "dimensions"),
        Hostile((normal(3),), TypeError, "sequence"),
        Hostile(([1, 2],), TypeError, "tensors"),
    ],
)
ROWS["index_select"] = Row(
    [
        Sample((normal(5, 3), np.array([4, 0, 0, -1]), 0)),
        Sample((normal(5, 3), np.array([2, 1]), 1), rows=(0,)),
        Sample((normal(5), np.zeros(0, np.int64), 0)),
        Sample((normal(2, 5, 3), np.array([1, 1], np.int32), -2), rows=(0,)),
    ],
    big=[Sample((normal(300, 130), integers(0, 300, 250), 0))],
    hostile=[
        Hostile((normal(5, 3), np.array([5]), 0), IndexError, "got 5 at position 0"),
        Hostile((normal(5, 3), np.array([0, -6]), 0), IndexError, "-6 at position 1"),
        Hostile((normal(5, 3), np.array([2**40]), 0), IndexError, "index"),
        Hostile(
            (normal(5, 3), np.array([[1]]), 0), ValueError, r"index of shape \(n,\)"
        ),
        Hostile((normal(5, 3), np.array([1.0]), 0), TypeError, "index"),
        Hostile((normal(5, 3), np.array([1]), 2), IndexError, "dimension"),
        Hostile((normal(), np.array([0]), 0), ValueError, "dimensions"),
    ],
)
ROWS["index_add"] = Row(
    [
        Sample((normal(4, 3), np.array([4, 0, 0, 2]), 0, 5)),
        Sample((normal(2, 4), np.array([1, 1, 0, 2]), 1, 3), rows=(0,)),
        Sample((integers(0, 9, 3), np.array([0, 0, 1]), 0, 2), smooth=False),
        Sample((normal(4, 3), np.array([4, 0, -1, 2]), 0, 5, 4)),
        Sample((normal(2, 3), np.array([1, 1, 0]), -1, 2, 1), rows=(0,)),
    ],
    big=[Sample((normal(250, 130), integers(0, 30, 250), 0, 30))],
    hostile=[
        Hostile((normal(4, 3), np.array([0, 1, 2, 9]), 0, 5), IndexError, "position 3"),
        Hostile((normal(4, 3), np.array([0]), 0, 5), ValueError, "one index for each"),
        Hostile((normal(4, 3), np.zeros(4, np.int64), 0, -1), ValueError, "index_add"),
    ],
    rtol={"float32": 2e-6, "float64": 1e-14},
    scale=lambda s, i, d, n, skip=-1: np.abs(s).sum(),
)

ROWS["stack"] = Row(
    [
        Sample(([normal(2, 3), normal(2, 3, key=1)],)),
        Sample(([normal(2, 3), normal(2, 3, key=1)], -1)),
        Sample(([normal()], 0)),
    ],
    hostile=[
        Hostile(([normal(2), normal(3)],), ValueError, "stack.*equal shapes"),
        Hostile(([],), ValueError, "at least one"),
    ],
)

_wide = np.array([[2, 0, 2, 1], [1, 1, 0, 0]])  # longer than the dimension it indexes
_tall = np.array([[0, 1, 0], [1, 1, 1]], np.int32)
_index_hostile = [
    Hostile((normal(2, 3), np.array([[3]]), 1), IndexError, "0 to 2, got 3 at"),
    Hostile((normal(2, 3), np.array([[0], [-1]]), 1), IndexError, "-1 at position 1"),
    Hostile((normal(2, 3), np.array([[2**40]]), 1), IndexError, str(2**40)),
    Hostile((normal(2, 3), np.array([0]), 1), ValueError, "index"),
    Hostile((normal(2, 3), np.zeros((3, 1), int), 1), ValueError, "no larger"),
    Hostile((normal(2, 3), np.array([[0.0]]), 1), TypeError, "index"),
    Hostile((normal(2, 3), np.array([[True]]), 1), TypeError, "index"),
    Hostile((normal(2, 3), np.array([[0]]), 2), IndexError, "dimension"),
]
ROWS["gather"] = Row(
    [
        Sample((normal(2, 3), _wide, 1), rows=(0, 1)),
        Sample((normal(2, 3), _wide, -1)),
        Sample((normal(2, 3), _tall, 0)),
        Sample((normal(3, 4, 2), integers(0, 3, 5, 3, 1), 0)),
        Sample((normal(3, 4, 2), integers(0, 4, 2, 600, 2), 1)),
        Sample((integers(0, 9, 2, 3), _wide, 1), smooth=False),
        Sample((integers(0, 2, 2, 3).astype(bool), _wide, 1), smooth=False),
        Sample((normal(), np.zeros((), int), 0)),
        Sample((normal(2, 3), np.zeros((2, 0), int), 1)),
        Sample((normal(0, 3), np.zeros((0, 2), int), 1)),
    ],
    big=[Sample((normal(300, 130), integers(0, 130, 300, 200), 1), rows=(0, 1))],
    hostile=[
        *_index_hostile,
        Hostile((normal(0, 3), np.zeros((1, 3), int), 0), IndexError, "0 to -1, got 0"),
    ],
)


def _scattered(name: str, *, repeats: bool) -> Row:
    wide = _wide if repeats else np.array([[2, 0, 1], [1, 2, 0]])
    return Row(
        [
            Sample((normal(2, 3), wide, normal(*wide.shape, key=1), 1), rows=(0, 1, 2)),
            Sample((normal(3, 4), np.array([[1], [3]]), normal(2, 1), 1)),
            Sample((normal(3, 4, 2), integers(0, 1, 1, 4, 2) + 2, normal(1, 4, 2), -3)),
            Sample(
                (integers(0, 9, 2, 3), wide, integers(0, 9, *wide.shape), 1),
                smooth=False,
            ),
            Sample(
                (np.zeros((2, 3), bool), wide, np.ones(wide.shape, bool), 1),
                smooth=False,
            ),
            Sample((normal(2, 3), wide, normal(), 1)),
            Sample((normal(2, 3), np.zeros((2, 0), int), normal(2, 0), 1)),
        ],
        big=[Sample((normal(300, 130), integers(0, 130, 300, 99), normal(300, 99), 1))],
        hostile=[
            *(
                Hostile((h.args[0], h.args[1], 1.0, h.args[2]), h.error, h.match)
                for h in _index_hostile
            ),
            Hostile((normal(2, 3), wide, normal(2, 2), 1), ValueError, "src"),
            Hostile(
                (normal(2, 3), wide, integers(0, 3, *wide.shape), 1), TypeError, "src"
            ),
        ],
    )


ROWS["scatter"] = _scattered("scatter", repeats=False)
ROWS["scatter_add"] = _scattered("scatter_add", repeats=True)
ROWS["scatter_add"].rtol = {"float32": 2e-6, "float64": 1e-14}
ROWS["scatter_add"].scale = lambda x, index, src, dim: (
    np.abs(x).sum() + np.abs(src).sum()
)
ROWS["index_copy_"] = Row(
    [
        Sample((normal(5, 3), np.array([4, 0]), normal(2, 3, key=1), 0)),
        Sample((normal(5, 3), np.array([2, 0]), normal(5, 2, key=1), -1), rows=(0, 2)),
        Sample((normal(5, 3), np.array([2]), normal(), 1)),
        Sample((normal(5, 3), np.zeros(0, int), normal(0, 3), 0)),
        Sample((integers(0, 9, 4), np.array([3]), integers(0, 9, 1), 0), smooth=False),
    ],
    big=[Sample((normal(300, 130), np.arange(0, 300, 2), normal(150, 130), 0))],
    hostile=[
        Hostile(
            (normal(5), np.array([0, 5]), normal(2), 0), IndexError, "5 at position 1"
        ),
        Hostile((normal(5), np.array([-1]), normal(1), 0), IndexError, "-1 at"),
        Hostile(
            (normal(5), np.array([[1]]), normal(1), 0), ValueError, "index of shape"
        ),
        Hostile((normal(), np.array([0]), normal(1), 0), ValueError, "dimensions"),
        Hostile((normal(5), np.array([0]), normal(2), 0), ValueError, "source"),
        Hostile((normal(5), np.array([0.0]), normal(1), 0), TypeError, "index"),
        Hostile((normal(5), np.array([0]), normal(1), 1), IndexError, "dimension"),
    ],
)
ROWS["nonzero"] = Row(
    [
        Sample((integers(-1, 2, 4, 5),)),
        Sample((integers(0, 2, 700).astype(bool),)),
        Sample((np.array([0.0, -0.0, np.nan, 1e-45, np.inf]),)),
        Sample((np.zeros((2, 0)),)),
        Sample((np.zeros((3, 2)),)),
    ],
    hostile=[Hostile(("x",), TypeError, "nonzero"), Hostile((), TypeError, "nonzero")],
)
_where = integers(0, 2, 2, 3).astype(bool)
ROWS["masked_fill"] = Row(
    [
        Sample((normal(2, 3), _where, 1.5), rows=(0, 1)),
        Sample((normal(2, 3), _where[:, :1], -np.inf), smooth=False),
        Sample((normal(3), _where, normal())),
        Sample((integers(0, 9, 2, 3), _where, 7), smooth=False),
    ],
    hostile=[
        Hostile((normal(2, 3), normal(2, 3), 1.0), TypeError, "masked_fill.*mask"),
        Hostile((normal(2, 3), _where, normal(3)), ValueError, "one value"),
        Hostile((normal(2), _where, 1.0), ValueError, "broadcast"),
    ],
)
ROWS["as_index"] = Row(
    [
        Sample((integers(-5, 5, 7), 5), rows=(0,)),
        Sample((integers(0, 5, 3, 4), 5, False), rows=(0,)),
        Sample((np.array(-1), 3)),
        Sample((integers(0, 1, 0, 4), 0)),
        Sample((np.array([255, 0], np.uint8), 256)),
        Sample((np.array([-7, 6], np.int32), 7)),
    ],
    hostile=[
        Hostile((np.array([0, 5]), 5), IndexError, "indices from -5 to 4, got 5"),
        Hostile((np.array([-6]), 5), IndexError, "indices from -5 to 4, got -6"),
        Hostile((np.array([-1]), 5, False), IndexError, "from 0 to 4, got -1"),
        Hostile((np.array([-(2**63)]), 5), IndexError, "got -9223372036854775808"),
        Hostile((np.array([0]), 0), IndexError, "as_index"),
        Hostile((np.array([0]), -(2**63)), ValueError, "size of at least 0"),
        Hostile((normal(3), 5), TypeError, "as_index.*float"),
        Hostile((np.array([True]), 5), TypeError, "as_index.*bool"),
    ],
)
ROWS["one_hot"] = Row(
    [
        Sample((integers(0, 4, 9),), smooth=False),
        Sample((integers(0, 4, 2, 3), 6), rows=(0,), smooth=False),
        Sample((np.zeros((0, 2), int), 3), smooth=False),
        Sample((np.array(2),), smooth=False),
    ],
    hostile=[
        Hostile((np.array([0, 5]), 5), ValueError, "below num_classes 5, got 5"),
        Hostile((np.array([0, -1]), 5), ValueError, "classes from 0, .* got -1"),
        Hostile((np.array([0]), 0), ValueError, "num_classes from 1"),
        Hostile((np.array([0, -1]),), ValueError, "-1"),
        Hostile((np.zeros(0, int),), ValueError, "num_classes"),
        Hostile((normal(3),), TypeError, "one_hot.*integers"),
    ],
)
ROWS["bincount"] = Row(
    [
        Sample((integers(0, 5, 99),), smooth=False),
        Sample((integers(0, 5, 9), normal(9))),
        Sample((integers(0, 5, 9), None, 8), smooth=False),
        Sample((np.zeros(0, int),), smooth=False),
    ],
    hostile=[
        Hostile((np.array([0, -1]),), ValueError, "-1"),
        Hostile((normal(3),), TypeError, "bincount.*integers"),
        Hostile((np.zeros((2, 2), int),), ValueError, "bincount"),
        Hostile((np.zeros(2, int), normal(3)), ValueError, "weights"),
        Hostile((np.zeros(2, int), None, -1), ValueError, "minlength"),
    ],
    rtol={"float32": 2e-6, "float64": 1e-14},
)
