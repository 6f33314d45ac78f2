"""Rows of convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.ops._registry import REFERENCES
from samples._rows import ROWS, Hostile, Row, Sample, integers, normal

_tight = {"float32": 1e-6, "float64": 1e-14}
_plain = ((1, 1), (0, 0, 0, 0), (1, 1), 1, 0)  # stride, padding, dilation, groups, auto


def _layer(
    stride: Any = (1, 1),
    padding: Any = (0, 0, 0, 0),
    dilation: Any = (1, 1),
    groups: int = 1,
) -> tuple[Any, ...]:
    return stride, padding, dilation, groups, 0


def _line(
    stride: int = 1, padding: Any = (0, 0), dilation: int = 1, groups: int = 1
) -> Any:
    return (stride,), padding, (dilation,), groups, 0


# x, weight, layer
_LAYERS: list[tuple[Any, Any, Any]] = [
    (normal(2, 3, 5, 6), normal(4, 3, 3, 3), _layer((1, 1), (1, 1, 1, 1))),
    (normal(2, 3, 5, 6), normal(4, 3, 1, 1), _layer()),
    (normal(2, 2, 7, 6), normal(3, 2, 3, 2), _layer((2, 1), (1, 0, 0, 2))),
    (normal(1, 4, 6, 9), normal(6, 2, 2, 3), _layer((2, 2), (0, 1, 1, 1), (1, 2), 2)),
    (normal(2, 3, 6, 5), normal(6, 1, 3, 3), _layer((1, 1), (1, 1, 1, 1), (1, 1), 3)),
    (normal(1, 1, 5, 5), normal(2, 1, 2, 2), _layer((3, 3), (0, 0, 0, 0), (2, 2))),
    (normal(2, 2, 7), normal(3, 2, 3), _line(2, (1, 1))),
    (normal(3, 2, 6), normal(2, 1, 2), _line(1, (2, 0), 2, 2)),
    (normal(1, 1, 1, 1), normal(1, 1, 1, 1), _layer()),
    (normal(2, 2, 3, 3), normal(2, 2, 1, 1), _layer((2, 2))),
]
_BIG: list[tuple[Any, Any, Any]] = [
    (normal(5, 20, 14, 15), normal(40, 20, 3, 3), _layer((1, 1), (1, 1, 1, 1))),
    (normal(3, 33, 28, 26), normal(17, 33, 5, 3), _layer((2, 2), (2, 2, 1, 1))),
    (normal(3, 70, 9, 7), normal(50, 70, 1, 1), _layer()),
]
_EMPTY: list[tuple[Any, Any, Any]] = [
    (normal(0, 2, 4, 4), normal(3, 2, 3, 3), _layer()),
    (normal(2, 0, 4, 4), normal(3, 0, 3, 3), _layer()),
    (normal(2, 2, 4, 4), normal(0, 2, 3, 3), _layer()),
]


def _result(x: Any, weight: Any, layer: Any) -> Any:
    return REFERENCES["conv"](x, weight, None, *layer)


def _gy(x: Any, weight: Any, layer: Any) -> Any:
    return normal(*_result(x, weight, layer).shape, key="gy")


def _bias(n: int) -> Any:
    return normal(n, key="bias")


def _sums(name: str) -> Any:
    """The same of absolute values: what the error of a sum of products is measured by."""

    def scale(*args: Any) -> Any:
        given = [np.abs(a) if isinstance(a, np.ndarray) else a for a in args]
        return REFERENCES[name](*given)

    return scale


_hostile_x = [
    ((normal(2, 3), normal(4, 3, 3, 3), None, *_plain), "expected x of shape"),
    ((normal(2, 3, 5, 5), normal(4, 3, 3), None, *_plain), "as many dimensions"),
    ((normal(2, 3, 5, 5), normal(4, 2, 3, 3), None, *_plain), "2 channels"),
    (
        (normal(2, 3, 5, 5), normal(4, 3, 3, 3), normal(3), *_plain),
        r"bias of shape \(4,\), got \(3,\)",
    ),
    (
        (normal(2, 3, 5, 5), normal(4, 3, 3, 3), None, (1,), *_plain[1:]),
        "2 numbers as stride, got 1",
    ),
    (
        (normal(2, 3, 5, 5), normal(4, 3, 3, 3), None, (0, 1), *_plain[1:]),
        "stride of at least 1, got 0",
    ),
    (
        (
            normal(2, 3, 5, 5),
            normal(4, 3, 3, 3),
            None,
            (1, 1),
            (-1, 0, 0, 0),
            *_plain[2:],
        ),
        "padding of at least 0, got -1",
    ),
    (
        (normal(2, 3, 5, 5), normal(4, 3, 3, 3), None, *_plain[:2], (1, 0), 1, 0),
        "dilation of at least 1, got 0",
    ),
    (
        (normal(2, 3, 2, 5), normal(4, 3, 3, 3), None, *_plain),
        "padded input of at least 3 .*got 2",
    ),
    ((normal(2, 3, 5, 5), normal(4, 3, 3, 3), None, *_plain[:3], 0, 0), "groups"),
    (
        (normal(2, 3, 5, 5), normal(4, 1, 3, 3), None, *_plain[:3], 3, 0),
        "3 groups divide",
    ),
    (
        (normal(2, 3, 5, 5), normal(4, 3, 3, 3), None, *_plain[:4], 9),
        "algorithm, got 9",
    ),
    ((normal(2, 3, 5, 5), normal(4, 3, 0, 3), None, *_plain), "kernel of at least 1"),
]
_types = [
    Hostile(
        (integers(0, 3, 2, 3, 5, 5), normal(4, 3, 3, 3), None, *_plain),
        TypeError,
        "conv",
    ),
    Hostile(
        (normal(2, 3, 5, 5), normal(4, 3, 3, 3).astype(np.float32), None, *_plain),
        TypeError,
        "one dtype",
    ),
]

ROWS["conv"] = Row(
    [
        *(
            Sample((x, w, None if i % 2 else _bias(len(w)), *layer), rows=(0,))
            for i, (x, w, layer) in enumerate(_LAYERS)
        ),
        *(Sample((x, w, _bias(len(w)), *layer)) for x, w, layer in _EMPTY),
    ],
    big=[Sample((x, w, _bias(len(w)), *layer), rows=(0,)) for x, w, layer in _BIG],
    hostile=[
        *(Hostile(args, ValueError, match) for args, match in _hostile_x),
        *_types,
    ],
    rtol=_tight,
    scale=_sums("conv"),
)
_acts = [
    (
        x,
        w,
        _bias(len(w)),
        normal(len(w)),
        normal(len(w), key=1),
        _gy(x, w, layer),
        *layer,
        act,
    )
    for (x, w, layer), act in zip(_LAYERS, (0, 1, 2, 3, 4, 1, 1, 3, 0, 1), strict=True)
]
ROWS["conv_act"] = Row(
    [
        *(Sample(args, rows=(0, 5)) for args in _acts),
        Sample((*_acts[1][:3], None, None, *_acts[1][5:]), rows=(0, 5)),
        Sample((*_acts[2][:2], None, *_acts[2][3:5], None, *_acts[2][6:]), rows=(0,)),
        Sample((*_acts[3][:2], None, None, None, None, *_acts[3][6:]), rows=(0,)),
    ],
    big=[
        Sample(
            (
                x,
                w,
                None,
                normal(len(w)),
                normal(len(w), key=1),
                _gy(x, w, layer),
                *layer,
                act,
            ),
            rows=(0, 5),
        )
        for (x, w, layer), act in zip(_BIG, (1, 2, 4), strict=True)
    ],
    hostile=[
        *(
            Hostile((*args[:3], None, None, None, *args[3:], 0), ValueError, match)
            for args, match in _hostile_x
        ),
        Hostile(
            (*_acts[0][:3], normal(4), None, None, *_plain, 0), ValueError, "together"
        ),
        Hostile(
            (*_acts[0][:5], normal(2, 4, 5, 5), *_acts[0][6:]), ValueError, "residual"
        ),
        Hostile((*_acts[0][:-1], 9), ValueError, "activation"),
        Hostile(
            (*_acts[0][:3], normal(3), normal(4), None, *_plain, 0),
            ValueError,
            "scale of",
        ),
    ],
    rtol={"float32": 5e-6, "float64": 1e-13},
    scale=lambda *args: np.maximum(_sums("conv_act")(*args[:-1], 0), 1),
)
ROWS["conv_transpose"] = Row(
    [
        *(
            Sample(
                (
                    _gy(x, w, layer),
                    w,
                    _bias(x.shape[1]) if i % 2 else None,
                    *layer,
                    x.shape[2:],
                ),
                rows=(0,),
            )
            for i, (x, w, layer) in enumerate(_LAYERS)
        ),
        *(
            Sample((_gy(x, w, layer), w, _bias(x.shape[1]), *layer, x.shape[2:]))
            for x, w, layer in _EMPTY
        ),
    ],
    big=[
        Sample((_gy(x, w, layer), w, None, *layer, x.shape[2:]), rows=(0,))
        for x, w, layer in _BIG
    ],
    hostile=[
        Hostile(
            (normal(2, 4, 3, 3), normal(4, 3, 3, 3), None, *_plain, (6, 5)),
            ValueError,
            "takes to 3, got 6, which it takes to 4",
        ),
        Hostile(
            (normal(2, 3, 3, 3), normal(4, 3, 3, 3), None, *_plain, (5, 5)),
            ValueError,
            "4 channels",
        ),
        Hostile(
            (normal(2, 4, 3, 3), normal(4, 3, 3, 3), None, *_plain, (5,)),
            ValueError,
            "2 numbers as size",
        ),
        Hostile(
            (normal(2, 4, 3, 3), normal(4, 3, 3, 3), normal(4), *_plain, (5, 5)),
            ValueError,
            r"bias of shape \(3,\)",
        ),
    ],
    rtol=_tight,
    scale=_sums("conv_transpose"),
)
ROWS["conv_weight"] = Row(
    [
        Sample((x, _gy(x, w, layer), *layer, w.shape[2:]))
        for x, w, layer in [*_LAYERS, *_EMPTY]
    ],
    big=[Sample((x, _gy(x, w, layer), *layer, w.shape[2:])) for x, w, layer in _BIG],
    hostile=[
        Hostile(
            (normal(2, 3, 5, 5), normal(2, 4, 4, 3), *_plain, (3, 3)),
            ValueError,
            "gy of the convolution's result",
        ),
        Hostile(
            (normal(2, 3, 5, 5), normal(3, 4, 3, 3), *_plain, (3, 3)),
            ValueError,
            "gy of the convolution's result",
        ),
        Hostile(
            (normal(2, 3, 5, 5), normal(2, 4, 3, 3), *_plain[:3], 2, 0, (3, 3)),
            ValueError,
            "groups",
        ),
    ],
    rtol=_tight,
    scale=_sums("conv_weight"),
)
