"""Rows of images sampled between their pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from samples._rows import ROWS, Hostile, Row, Sample, integers, normal, positive

BILINEAR, NEAREST = 0, 1
FILL, BORDER, REFLECTION, SYMMETRIC = 0, 1, 2, 3
EDGES, MIDDLES, PIXELS = 0, 1, 2
TOLERANCE = {"float32": 3e-6, "float64": 1e-13}


def between(n: int, h: int, w: int, height: int, width: int, far: float = 1.0) -> Any:
    """A grid (n, h, w, 2) in pixels, none near a whole or half one, `far` images wide."""
    sizes = np.array([width, height])
    whole = np.floor((normal(n, h, w, 2) * 0.6 * far + 0.5) * sizes)
    part = np.where(integers(0, 2, n, h, w, 2), 0.75, 0.25)
    return whole + part + 0.1 * (positive(n, h, w, 2) / 3 - 0.5)


def normalised(pixels: Any, height: int, width: int, coordinates: int) -> Any:
    """The same in the numbers of grid_sample."""
    sizes = np.array([width, height])
    if coordinates == PIXELS:
        return pixels
    if coordinates == EDGES:
        return (2 * pixels + 1) / sizes - 1
    return 2 * pixels / (sizes - 1) - 1


def _grid(coordinates: int, far: float = 1.0) -> Any:
    return normalised(between(2, 3, 5, 4, 6, far), 4, 6, coordinates)


_x = normal(2, 3, 4, 6)
_whole = np.stack(np.meshgrid(np.arange(-3.0, 9), np.arange(-3.0, 7)), -1)[None]
_CASES = [
    (mode, padding, coordinates)
    for mode in (BILINEAR, NEAREST)
    for padding in (FILL, BORDER, REFLECTION)
    for coordinates in (EDGES, MIDDLES)
]
ROWS["grid_sample"] = Row(
    [
        *(Sample((_x, _grid(c), m, p, c), rows=(0, 1)) for m, p, c in _CASES[:6]),
        *(Sample((_x, _grid(c), m, p, c), smooth=False) for m, p, c in _CASES[6:]),
        Sample((_x, _grid(PIXELS, 3.0), BILINEAR, FILL, PIXELS, 0.5), rows=(0, 1)),
        Sample((_x, _grid(PIXELS, 9.0), BILINEAR, SYMMETRIC, PIXELS), smooth=False),
        *(
            Sample((_x[:1], _whole, m, p, PIXELS), smooth=False, note="whole pixels")
            for m in (BILINEAR, NEAREST)
            for p in (FILL, BORDER, REFLECTION, SYMMETRIC)
        ),
        Sample((normal(0, 3, 4, 6), np.zeros((0, 3, 5, 2)))),
        Sample((normal(2, 0, 4, 6), _grid(EDGES)), smooth=False),
        Sample((_x, np.zeros((2, 0, 5, 2)))),
        Sample(
            (normal(1, 1, 1, 1), between(1, 2, 2, 1, 1), 0, 2, PIXELS), smooth=False
        ),
        Sample((normal(2, 1, 9, 23), between(2, 7, 19, 9, 23), 0, 0, PIXELS)),
    ],
    big=[
        Sample(
            (normal(3, 4, 30, 31), between(3, 40, 41, 30, 31), m, p, PIXELS),
            rows=(0, 1),
        )
        for m, p in ((BILINEAR, FILL), (NEAREST, REFLECTION))
    ],
    hostile=[
        Hostile((normal(3, 4, 6), _grid(EDGES)), ValueError, "x of shape"),
        Hostile((_x, _grid(EDGES)[:1]), ValueError, r"grid of shape \(2, h, w, 2\)"),
        Hostile((_x, normal(2, 3, 5, 3)), ValueError, "grid of shape"),
        Hostile((normal(2, 3, 0, 6), _grid(EDGES)), ValueError, "1 to 16777216"),
        Hostile((_x, _grid(EDGES), 2), ValueError, "mode 0 or 1"),
        Hostile((_x, _grid(EDGES), 0, 4), ValueError, "padding 0 to 3"),
        Hostile((integers(0, 3, 2, 3, 4, 6), _grid(EDGES)), TypeError, "grid_sample"),
        Hostile((_x, integers(0, 3, 2, 3, 5, 2)), TypeError, "one dtype"),
    ],
    rtol=TOLERANCE,
    scale=lambda x, grid, *_: (
        20 * np.abs(x).max(initial=1) + np.abs(grid).max(initial=1)
    ),
)

_gy = normal(2, 3, 3, 5, key=1)
ROWS["grid_sample_input"] = Row(
    [
        *(Sample((_gy, _grid(c), 4, 6, m, p, c), rows=(0, 1)) for m, p, c in _CASES),
        Sample((_gy, _grid(PIXELS, 9.0), 4, 6, BILINEAR, SYMMETRIC, PIXELS)),
        Sample((normal(1, 2, 10, 12), _whole, 4, 6, BILINEAR, FILL, PIXELS)),
        Sample((normal(0, 3, 3, 5), np.zeros((0, 3, 5, 2)), 4, 6)),
        Sample((normal(2, 3, 0, 5), np.zeros((2, 0, 5, 2)), 4, 6)),
    ],
    big=[
        Sample(
            (normal(3, 4, 40, 41), between(3, 40, 41, 30, 31), 30, 31, 0, 0, PIXELS),
            rows=(0, 1),
        )
    ],
    hostile=[
        Hostile((_gy, _grid(EDGES), 0, 6), ValueError, "1 to 16777216"),
        Hostile((_gy, _grid(EDGES)[:1], 4, 6), ValueError, "grid of shape"),
        Hostile((normal(2, 3, 5, 5), _grid(EDGES), 4, 6), ValueError, "grid's shape"),
        Hostile((_gy, _grid(EDGES), 4, 6, 5), ValueError, "mode 0 or 1"),
    ],
    rtol=TOLERANCE,
    scale=lambda gy, *_: 100.0,
)
ROWS["grid_sample_grid"] = Row(
    [
        *(Sample((_gy, _x, _grid(c), m, p, c), rows=(0, 1, 2)) for m, p, c in _CASES),
        Sample((_gy, _x, _grid(PIXELS, 3.0), BILINEAR, FILL, PIXELS, 0.5)),
        Sample((normal(2, 0, 3, 5), normal(2, 0, 4, 6), _grid(EDGES))),
        Sample((normal(1, 3, 10, 12), _x[:1], _whole, BILINEAR, BORDER, PIXELS)),
    ],
    big=[
        Sample(
            (
                normal(3, 4, 40, 41),
                normal(3, 4, 30, 31),
                between(3, 40, 41, 30, 31),
                BILINEAR,
                FILL,
                PIXELS,
            ),
            rows=(0, 1, 2),
        )
    ],
    hostile=[
        Hostile((_gy, normal(2, 4, 4, 6), _grid(EDGES)), ValueError, "grid's shape"),
        Hostile((_gy, _x[:1], _grid(EDGES)), ValueError, "as many images"),
        Hostile((_gy, _x, _grid(EDGES)[:1]), ValueError, "grid of shape"),
        Hostile((_gy, _x, _grid(EDGES), 0, 7), ValueError, "padding 0 to 3"),
    ],
    rtol={"float32": 1e-5, "float64": 1e-13},
    scale=lambda *_: 100.0,
)

ROWS["affine_grid"] = Row(
    [
        Sample((normal(2, 2, 3), (2, 1, 3, 4)), {"align_corners": False}),
        Sample((normal(2, 2, 3), (2, 1, 3, 4)), {"align_corners": True}),
        Sample((normal(1, 2, 3), (1, 1, 1, 1)), {"align_corners": True}),
        Sample((normal(0, 2, 3), (0, 1, 3, 4)), {"align_corners": False}),
    ],
    hostile=[
        Hostile((normal(2, 2, 3), (3, 1, 3, 4)), ValueError, "affine_grid"),
        Hostile((normal(2, 3, 4), (2, 1, 3, 4, 5)), ValueError, "affine_grid"),
        Hostile((integers(0, 2, 2, 2, 3), (2, 1, 3, 4)), TypeError, "affine_grid"),
        Hostile(([1.0], (2, 1, 3, 4)), TypeError, "affine_grid"),
    ],
    scale=lambda theta, *_, **__: np.abs(theta).sum(),
)

_theta = np.array(
    [[[0.9, 0.31, 0.13], [-0.27, 1.1, 0.37]], [[-1.07, 0.03, 5.3], [0.11, 0.83, -0.7]]]
)
_same = np.array([[[1.0, 0, 0], [0, 1, 0]], [[-1.0, 0, 5], [0, 1, 1]]])
ROWS["affine_sample"] = Row(
    [
        Sample((_x, _theta, 4, 6), rows=(0, 1)),
        Sample((_x, _theta, 3, 7, BILINEAR, BORDER), rows=(0, 1)),
        Sample((_x, _theta, 4, 6, BILINEAR, REFLECTION), rows=(0, 1)),
        Sample((_x, _theta, 4, 6, NEAREST, FILL, 0.5), smooth=False),
        *(
            Sample((_x, _same, 4, 6, m, p), smooth=False)
            for m in (0, 1)
            for p in (0, 3)
        ),
        Sample((normal(0, 3, 4, 6), np.zeros((0, 2, 3)), 4, 6)),
        Sample((_x, _theta, 0, 6)),
        Sample((normal(1, 1, 1, 1), _same[:1], 1, 1), smooth=False),
    ],
    big=[
        Sample((normal(6, 3, 30, 31), np.tile(_theta, (3, 1, 1)), 30, 31), rows=(0, 1))
    ],
    hostile=[
        Hostile((_x, _theta[:1], 4, 6), ValueError, r"theta of shape \(2, 2, 3\)"),
        Hostile((_x, _theta, -1, 6), ValueError, "size from 0"),
        Hostile((_x, _theta, 4, 6, 0, 9), ValueError, "padding 0 to 3"),
        Hostile((integers(0, 2, 2, 3, 4, 6), _theta, 4, 6), TypeError, "affine_sample"),
    ],
    rtol=TOLERANCE,
    scale=lambda x, *_: 30 * np.abs(x).max(initial=1),
)

ROWS["filter2"] = Row(
    [
        Sample((_x, normal(2, 3), normal(2, 5, key=1)), rows=(0, 1, 2)),
        Sample((_x, positive(2, 1), positive(2, 1, key=1)), rows=(0, 1, 2)),
        Sample((normal(1, 1, 1, 1), normal(1, 7), normal(1, 3)), smooth=False),
        Sample((normal(2, 2, 2, 3), normal(2, 13), normal(2, 9)), smooth=False),
        Sample((normal(1, 1, 3, 70), normal(1, 133), normal(1, 3)), smooth=False),
        Sample((normal(0, 3, 4, 6), normal(0, 3), normal(0, 3))),
        Sample((normal(2, 3, 0, 6), normal(2, 3), normal(2, 3))),
    ],
    big=[
        Sample((normal(6, 3, 40, 41), normal(6, 9), normal(6, 7)), rows=(0, 1, 2)),
    ],
    hostile=[
        Hostile((_x, normal(2, 4), normal(2, 3)), ValueError, r"\(2, odd\)"),
        Hostile((_x, normal(2, 3), normal(1, 3)), ValueError, "odd"),
        Hostile((normal(4, 6), normal(2, 3), normal(2, 3)), ValueError, "x of shape"),
        Hostile(
            (integers(0, 2, 2, 3, 4, 6), normal(2, 3), normal(2, 3)), TypeError, "x"
        ),
    ],
    rtol={"float32": 1e-5, "float64": 1e-13},
    scale=lambda x, a, b: (
        np.abs(x).max(initial=1)
        * np.abs(a).sum(1).max(initial=1)
        * np.abs(b).sum(1).max(initial=1)
    ),
)
