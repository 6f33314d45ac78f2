"""Rows of margins."""

from __future__ import annotations

from typing import Any

import numpy as np

from samples._rows import EXTREMES, ROWS, Hostile, Row, Sample, integers, normal

_MARGINS: list[tuple[Any, tuple[int, ...]]] = [
    ((4, 5), (1, 2)),
    ((2, 3, 4, 5), (2, 1, 0, 3)),
    ((2, 4, 5), (-1, 2, 1, -2)),
    ((1, 2, 3, 37), (0, 0, 2, 2)),
    ((3, 4, 2, 5), (1, 1, 1, 0, 2, 1)),
    ((2, 9), (4, -3)),
    ((0, 3, 4), (1, 1)),
]
_BIG = ((6, 3, 60, 65), (3, 5, 2, 2))


def _rows(shape: Any, widths: Any) -> tuple[int, ...] | None:
    return (0,) if len(shape) > len(widths) // 2 and shape[0] > 0 else None


ROWS["pad"] = Row(
    [
        *(
            Sample((normal(*shape), widths, mode), rows=_rows(shape, widths))
            for mode in range(4)
            for shape, widths in _MARGINS
        ),
        Sample((normal(4, 5), (0, 1, 2, 3), 0, -1.5)),
        Sample((normal(3), (-1, -2), 0)),
        Sample((np.zeros((0, 2)), (1, 1, 2, 0), 0)),
        Sample((integers(0, 9, 3), (1, 1), 0, 7.0), smooth=False),
        Sample((integers(0, 2, 2, 3).astype(bool), (1, 2), 1), smooth=False),
        Sample((integers(0, 9, 2, 3).astype(np.uint8), (3, 3), 3), smooth=False),
        Sample((EXTREMES, (3, 4), 1), smooth=False, note="extremes"),
        Sample((EXTREMES, (3, 4), 0, np.nan), smooth=False, note="extremes"),
    ],
    big=[Sample((normal(*_BIG[0]), _BIG[1], mode), rows=(0,)) for mode in range(4)],
    hostile=[
        Hostile((normal(3), (1, 1), 4), ValueError, "pad: expected mode 0 to 3"),
        Hostile((normal(3), (1,), 0), ValueError, "pad: expected two widths"),
        Hostile((normal(3), (), 0), ValueError, "pad: expected two widths"),
        Hostile((normal(3), (1, 1, 1, 1), 0), ValueError, "pad: expected two widths"),
        Hostile((normal(3), (-2, -2), 0), ValueError, "pad: expected to cut off"),
        Hostile((normal(3), (2**62, 0), 0), ValueError, "pad: expected widths"),
        Hostile((normal(3), (3, 0), 1), ValueError, "pad: .*can fill.*3 and 0"),
        Hostile((normal(3), (0, 4), 3), ValueError, "pad: .*can fill"),
        Hostile((np.zeros((2, 0)), (1, 0), 2), ValueError, "pad: .*can fill"),
    ],
)


def _backward(shape: Any, widths: Any, mode: int) -> Sample:
    dims = len(widths) // 2
    size = shape[len(shape) - dims :]
    grown = [
        n + a + b for n, a, b in zip(size, widths[-2::-2], widths[::-2], strict=True)
    ]
    gy = normal(*shape[: len(shape) - dims], *grown, key=5)
    return Sample((gy, widths, mode, size), rows=_rows(shape, widths))


ROWS["pad_backward"] = Row(
    [_backward(*case, mode) for mode in range(1, 4) for case in _MARGINS],
    big=[_backward(*_BIG, mode) for mode in range(1, 4)],
    hostile=[
        Hostile(
            (normal(5), (1, 1), 0, (3,)), ValueError, "pad_backward: expected mode"
        ),
        Hostile((normal(6), (1, 1), 1, (3,)), ValueError, "a shape that pad gives"),
        Hostile((normal(5), (1, 1), 1, (3, 3)), ValueError, "a shape that pad gives"),
        Hostile((normal(5), (1, 1), 1, (-3,)), ValueError, "a shape that pad gives"),
        Hostile((integers(0, 3, 5), (1, 1), 1, (3,)), TypeError, "pad_backward"),
    ],
    rtol={"float32": 1e-6, "float64": 2e-15},
    scale=lambda gy, *_: np.abs(gy).max(initial=0) * 8,
)
