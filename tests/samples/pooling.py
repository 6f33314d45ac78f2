"""Rows of pooling."""

from __future__ import annotations

from typing import Any

import numpy as np

from samples._rows import ROWS, Hostile, Row, Sample, apart, integers, normal

# kernel, stride, padding, dilation, ceil, adaptive
_LAYERS: list[tuple[Any, tuple[Any, ...]]] = [
    ((2, 3, 7, 9), ((3, 3), (2, 2), (1, 1), (1, 1), False, False)),
    ((1, 2, 4, 5), ((2, 2), (2, 2), (0, 0), (1, 1), True, False)),
    ((2, 1, 6, 5), ((3, 2), (1, 1), (1, 1), (1, 2), False, False)),
    ((2, 2, 4, 6), ((2, 2), (2, 2), (0, 0), (1, 1), False, False)),
    ((1, 2, 5, 37), ((2, 2), (2, 2), (0, 0), (1, 1), False, False)),
    ((1, 9, 5), ((2, 5), (3, 3), (1, 2), (2, 1), True, False)),
    ((2, 2, 4, 37), ((1, 1), (1, 2), (0, 0), (1, 1), False, False)),
    ((3, 17), ((4,), (2,), (2,), (1,), True, False)),
    ((2, 1, 20), ((3,), (1,), (0,), (3,), False, False)),
    ((1, 5, 6), ((3, 2), (2, 1), (1, 1), (3, 2), False, False)),
    ((0, 2, 4, 4), ((2, 2), (2, 2), (0, 0), (1, 1), False, False)),
    ((1, 1, 1, 1), ((1, 1), (1, 1), (0, 0), (1, 1), False, False)),
    ((1, 18, 17), ((18, 17), (1, 1), (0, 0), (1, 1), False, False)),
    ((2, 5, 7), ((3, 4), (), (), (), False, True)),
    ((1, 6, 9), ((3, 3), (), (), (), False, True)),
    ((2, 5), ((7,), (), (), (), False, True)),
    ((1, 3, 5), ((0, 2), (), (), (), False, True)),
]
_BIG = [
    ((5, 8, 40, 41), ((3, 3), (2, 2), (1, 1), (1, 1), False, False)),
    ((1, 3, 130, 129), ((3, 3), (1, 1), (1, 1), (1, 1), False, False)),
    ((9, 7, 28, 29), ((2, 2), (2, 2), (0, 0), (1, 1), False, False)),
    ((1, 3, 1101), ((2, 2), (2, 2), (0, 0), (1, 1), False, False)),
    ((20, 16, 13, 13), ((6, 6), (), (), (), False, True)),
]
_TIES = np.array(
    [
        [0.0, -0.0, 2.0, 2.0, np.inf, np.inf, -np.inf],
        [0.0, 0.0, 2.0, 2.0, np.nan, 1.0, -np.inf],
        [-np.inf, -np.inf, 2.0, np.nan, 5.0, np.nan, -np.inf],
        [-np.inf, -np.inf, 1e-40, 3e38, 5.0, 5.0, -np.inf],
        [-np.inf] * 7,
        [1.0] * 7,
    ]
)


def _wrong(name: str, x: Any, *tail: Any) -> list[Hostile]:
    """Windows that no layer has, x and what follows the four lists being given."""
    one, no = (1, 1), (0, 0)
    return [
        Hostile((x, (0, 1), one, no, one, *tail), ValueError, f"{name}: .*at least 1"),
        Hostile((x, one, (1, 0), no, one, *tail), ValueError, f"{name}: .*at least 1"),
        Hostile((x, one, one, no, (-1, 1), *tail), ValueError, f"{name}: .*at least 1"),
        Hostile((x, (3, 3), one, (2, 0), one, *tail), ValueError, "half of kernel"),
        Hostile((x, (3, 3), one, (0, -1), one, *tail), ValueError, "half of kernel"),
        Hostile((x, (5, 9), one, no, one, *tail), ValueError, "windows of 9"),
        Hostile((x, (2**40, 1), one, no, one, *tail), ValueError, name),
        Hostile((x, (1, 1, 1), one, no, one, *tail), ValueError, "one or two"),
        Hostile((x, one, (1,), no, one, *tail), ValueError, "one or two"),
        Hostile((x, (), (), (), (), *tail), ValueError, "one or two"),
    ]


for _name in ("max_pool", "max_pool_values"):
    ROWS[_name] = Row(
        [
            *(
                Sample((apart(*shape), *attrs), rows=(0,) if len(shape) == 4 else None)
                for shape, attrs in _LAYERS
            ),
            Sample((_TIES[None], *_LAYERS[0][1]), smooth=False, note="ties"),
            Sample((_TIES[None], *_LAYERS[1][1]), smooth=False, note="ties"),
            Sample((_TIES[None], *_LAYERS[3][1]), smooth=False, note="ties"),
            Sample((_TIES[None], (2, 2), (), (), (), False, True), smooth=False),
            Sample((_TIES, (3,), (3,), (1,), (1,), True, False), smooth=False),
        ],
        big=[Sample((normal(*shape), *attrs)) for shape, attrs in _BIG],
        hostile=[
            *_wrong(_name, normal(1, 6, 5)),
            Hostile(
                (integers(0, 3, 1, 4, 4), (2, 2), (2, 2), (0, 0), (1, 1)),
                TypeError,
                f"{_name}: expected x of dtype float",
            ),
            Hostile(
                (normal(4), (2, 2), (2, 2), (0, 0), (1, 1)), ValueError, "at least 2"
            ),
            Hostile(
                (normal(1, 1, 1), (2, 2), (1, 1), (1, 1), (2, 2)),
                ValueError,
                "with an element of the input",
            ),
            Hostile(
                (np.zeros((2, 0, 3)), (1, 1), (1, 1), (0, 0), (1, 1)),
                ValueError,
                f"{_name}: expected dimensions of 1",
            ),
            Hostile(
                (normal(4, 4), (-1, 2), (), (), (), False, True),
                ValueError,
                f"{_name}: expected output_size",
            ),
        ],
    )


def _pooled(shape: Any, attrs: Any) -> tuple[Any, Any]:
    """Taps of a sample, and the attributes of what goes back by them."""
    from fastnn.ops._registry import REFERENCES

    *windows, ceil, adaptive = attrs
    tap = REFERENCES["max_pool"](apart(*shape), *windows, ceil, adaptive)[1]
    return tap, (shape[-len(windows[0]) :], *windows, adaptive)


def _by_taps(name: str, layers: Any) -> list[Sample]:
    samples = []
    for shape, attrs in layers:
        tap, back = _pooled(shape, attrs)
        rows = (0, 1) if len(shape) == 4 else None
        if name == "max_pool_index":
            samples.append(Sample((tap, *back), rows=rows and (0,)))
        else:
            first = normal(*(shape if name == "max_pool_gather" else tap.shape), key=5)
            samples.append(Sample((first, tap, *back), rows=rows))
    return samples


_tap = np.zeros((1, 2, 2), np.uint8)
_same = ((4, 4), (2, 2), (2, 2), (0, 0), (1, 1))
for _name in ("max_pool_backward", "max_pool_gather", "max_pool_index"):
    _first = {"max_pool_backward": (1, 2, 2), "max_pool_gather": (1, 4, 4)}.get(_name)
    _given = (normal(*_first),) if _first else ()
    ROWS[_name] = Row(
        _by_taps(_name, _LAYERS),
        big=_by_taps(_name, _BIG),
        hostile=[
            Hostile((*_given, _tap.astype(np.int32), *_same), TypeError, "uint8"),
            Hostile((*_given, _tap, (5, 6), *_same[1:]), ValueError, "shape"),
            Hostile((*_given, _tap, (4,), *_same[1:]), ValueError, "size of 2"),
        ],
        rtol={"float32": 1e-6, "float64": 2e-15},
    )
ROWS["max_pool_backward"].hostile.append(
    Hostile((normal(1, 2, 3), _tap, *_same), ValueError, "gy and tap of equal")
)
ROWS["max_pool_gather"].hostile += [
    Hostile((normal(1, 4, 5), _tap, *_same), ValueError, "x of the planes"),
    Hostile((normal(1, 4, 4), _tap + 200, *_same), IndexError, "expected taps"),
]
ROWS["max_pool_index"].hostile.append(
    Hostile((_tap + 4, *_same), IndexError, "max_pool_index: expected taps")
)
ROWS["max_pool_backward"].scale = lambda gy, *_: np.abs(gy).max(initial=0) * 10


# ---- averages -----------------------------------------------------------------------------

_AVERAGES: list[tuple[Any, tuple[Any, ...]]] = [
    # kernel, stride, padding, ceil, adaptive, count_padding, divisor
    ((2, 3, 7, 9), ((3, 3), (2, 2), (1, 1), False, False, True, 0)),
    ((2, 1, 5, 20), ((3, 3), (1, 1), (1, 1), False, False, False, 0)),
    ((1, 2, 4, 5), ((2, 2), (2, 2), (1, 1), True, False, True, 0)),
    ((1, 9, 8), ((2, 4), (3, 3), (1, 2), True, False, False, 0)),
    ((1, 6, 5), ((3, 2), (1, 2), (0, 1), False, False, True, -7)),
    ((1, 4, 37), ((1, 1), (2, 2), (0, 0), False, False, True, 0)),
    ((3, 17), ((4,), (2,), (2,), True, False, True, 0)),
    ((0, 2, 4, 4), ((2, 2), (2, 2), (0, 0), False, False, True, 0)),
    ((1, 1, 1, 1), ((1, 1), (1, 1), (0, 0), False, False, True, 0)),
    ((2, 5, 7), ((3, 4), (), (), False, True, True, 0)),
    ((1, 6, 9), ((3, 3), (), (), False, True, True, 0)),
    ((2, 5), ((7,), (), (), False, True, True, 0)),
    ((1, 3, 5), ((0, 2), (), (), False, True, True, 0)),
]
_BIG_AVERAGES = [
    ((5, 8, 40, 41), ((3, 3), (2, 2), (1, 1), False, False, True, 0)),
    ((1, 3, 130, 129), ((3, 3), (1, 1), (1, 1), False, False, False, 0)),
    ((20, 16, 13, 13), ((6, 6), (), (), False, True, True, 0)),
]


def _averages(name: str, layers: Any) -> list[Sample]:
    from fastnn.ops._registry import REFERENCES

    samples = []
    for shape, attrs in layers:
        rows = (0,) if len(shape) == 4 else None
        if name == "avg_pool":
            samples.append(Sample((normal(*shape), *attrs), rows=rows))
            continue
        kernel, stride, padding, _, *rest = attrs
        y = REFERENCES["avg_pool"](np.zeros(shape), *attrs)
        size = shape[-len(kernel) :]
        gy = normal(*y.shape, key=5)
        samples.append(Sample((gy, size, kernel, stride, padding, *rest), rows=rows))
    return samples


for _name in ("avg_pool", "avg_pool_backward"):
    ROWS[_name] = Row(
        _averages(_name, _AVERAGES),
        big=_averages(_name, _BIG_AVERAGES),
        rtol={"float32": 1e-6, "float64": 2e-15},
        scale=lambda x, *_: np.abs(x[np.isfinite(x)]).max(initial=0) * 10,
    )
ROWS["avg_pool"].samples.append(
    Sample((_TIES[None], (2, 2), (1, 1), (0, 0)), smooth=False, note="extremes")
)
ROWS["avg_pool"].hostile = [
    *(
        Hostile((*h.args[:4], *h.args[5:]), h.error, h.match)
        for h in _wrong("avg_pool", normal(1, 6, 5))
        if h.args[4] == (1, 1) or not h.args[4]
    ),
    Hostile(
        (integers(0, 3, 1, 4, 4), (2, 2), (2, 2), (0, 0)),
        TypeError,
        "avg_pool: expected x of dtype float",
    ),
]
ROWS["avg_pool_backward"].hostile = [
    Hostile((normal(1, 2, 2), (5, 6), (2, 2), (2, 2), (0, 0)), ValueError, "shape"),
    Hostile((normal(1, 2, 2), (4,), (2, 2), (2, 2), (0, 0)), ValueError, "size of 2"),
    Hostile(
        (integers(0, 3, 1, 2, 2), (4, 4), (2, 2), (2, 2), (0, 0)),
        TypeError,
        "avg_pool_backward: expected gy of dtype float",
    ),
]
