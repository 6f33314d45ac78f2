"""Images sampled between their pixels: grids, affine maps, and filters of rows and columns."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn.ops._checks import expect_tensors
from fastnn.ops._registry import (
    Gradients,
    Node,
    Tensor,
    gradient,
    no_gradient,
    op,
    public,
    reference,
)
from fastnn.ops.creation import tensor

_grid_sample, _affine_sample = op("grid_sample"), op("affine_sample")
_grid_sample_input = op("grid_sample_input")
_grid_sample_grid = op("grid_sample_grid")
_filter2 = op("filter2")
_add, _sub, _mul, _div, _abs = op("add"), op("sub"), op("mul"), op("div"), op("abs")
_floor, _round, _where = op("floor"), op("round"), op("where")
_ge, _le = op("ge"), op("le")
_clamp_min, _clamp_max = op("clamp_min"), op("clamp_max")
_reshape, _expand, _slice = op("reshape"), op("expand"), op("slice")
_gather, _index_select, _copy = op("gather"), op("index_select"), op("copy")
_matmul, _permute = op("matmul"), op("permute")

BILINEAR, NEAREST = 0, 1
FILL, BORDER, REFLECTION, SYMMETRIC = 0, 1, 2, 3  # what lies outside an image
EDGES, MIDDLES, PIXELS = 0, 1, 2  # what the numbers of a grid mean
MODES = {"bilinear": BILINEAR, "nearest": NEAREST}
PADDINGS = {"zeros": FILL, "border": BORDER, "reflection": REFLECTION}


def _code(name: str, argument: str, value: Any, codes: dict[str, int]) -> int:
    if value not in codes:
        words = ", ".join(repr(word) for word in codes)
        raise ValueError(f"{name}: expected {argument} of {words}, got {value!r}")
    return codes[value]


def _aligned(name: str, align_corners: bool | None) -> bool:
    """align_corners, None being False; PyTorch warns likewise."""
    if align_corners is None:
        warnings.warn(
            f"{name}: align_corners was not given; False is taken", stacklevel=3
        )
    return bool(align_corners)


@public()
def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """input read at the positions (x, y) in grid, between its pixels.

    A position between four pixels gives their mean, weighted by how near they are:
    (1 - dx) (1 - dy) and so on; "nearest" gives one pixel. A pixel of weight 0 is not
    read: what it holds, be it NaN, changes nothing.

    Parameters:
        input : float Tensor (n, c, h, w).
        grid : Tensor (n, h', w', 2) of input's dtype: x to the right and y down; -1 and 1
            are the image's edges.
        mode : "bilinear", or "nearest" (halves to the even pixel).
        padding_mode : what lies outside: "zeros"; "border", the nearest pixel;
            "reflection", the image mirrored at its edges.
        align_corners : whether the edges are the middles of the outermost pixels, and not
            their outer edges. None warns and is False.
    Returns: (n, c, h', w'); fresh.
    Gradient: of both; of grid zero where it was moved to the border, and for "nearest". At
        whole pixels it is the one to the right and down.
    Raises: ValueError for shapes that do not fit, and volumes (n, c, d, h, w).
    Source: Jaderberg et al., "Spatial transformer networks", 2015, section 3.3.
    Example:
        >>> image = fastnn.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
        >>> middle = fastnn.zeros(1, 1, 1, 2)
        >>> fastnn.grid_sample(image, middle, align_corners=False).item()
        2.5
    """
    expect_tensors("grid_sample", input=input, grid=grid)
    code = _code("grid_sample", "mode", mode, MODES)
    padding = _code("grid_sample", "padding_mode", padding_mode, PADDINGS)
    coordinates = MIDDLES if _aligned("grid_sample", align_corners) else EDGES
    return _grid_sample(readable(input), grid, code, padding, coordinates)


@public(composite=True)
def affine_grid(
    theta: Tensor, size: Sequence[int], align_corners: bool | None = None
) -> Tensor:
    """The grid for grid_sample that reads output (x, y) at theta (x, y, 1).

    Parameters:
        theta : float Tensor (n, 2, 3).
        size : (n, c, h, w) of the output.
        align_corners : whether -1 and 1 are the middles of the outermost pixels, and not
            their outer edges. None warns and is False.
    Returns: (n, h, w, 2); fresh. Gradient: through the product.
    Raises: ValueError for shapes that do not fit.
    Example:
        >>> same = fastnn.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
        >>> fastnn.affine_grid(same, (1, 1, 1, 2), align_corners=False).tolist()
        [[[[-0.5, 0.0], [0.5, 0.0]]]]
    """
    expect_tensors("affine_grid", theta=theta)
    if not theta.is_floating_point():
        raise TypeError(
            f"affine_grid: expected theta of float32 or float64, got {theta.dtype.name}"
        )
    size = tuple(size)
    if len(size) != 4 or min(size) < 0 or theta.shape != (size[0], 2, 3):
        raise ValueError(
            "affine_grid: expected theta of shape (n, 2, 3) and size (n, c, h, w), got "
            f"{theta.shape} and {size}"
        )
    n, _, h, w = size
    aligned = _aligned("affine_grid", align_corners)
    base = np.ones((h, w, 3))
    base[..., 0] = _steps(w, aligned)
    base[..., 1] = _steps(h, aligned)[:, None]
    places = tensor(base.reshape(h * w, 3), dtype=theta.dtype)
    grid = _matmul(places, _permute(theta, (0, 2, 1)))
    return _reshape(grid, (n, h, w, 2))


def _steps(n: int, aligned: bool) -> Any:
    """The middles of n pixels, from -1 to 1 (float64)."""
    if not aligned:
        return (2 * np.arange(n) + 1) / max(n, 1) - 1
    return 2 * np.arange(n) / (n - 1) - 1 if n > 1 else np.zeros(n)


def readable(x: Tensor) -> Tensor:
    """x, copied unless its rows are contiguous."""
    rows = x.ndim != 4 or ((x.shape[3] < 2 or x.stride(3) == 1) and x.stride(2) >= 0)
    return x if rows else _copy(x)


# ---- gradients ---------------------------------------------------------------------------


def _scale_shift(size: int, coordinates: int) -> tuple[float, float]:
    """A grid's number times the one plus the other is a position in pixels."""
    if coordinates == PIXELS:
        return 1.0, 0.0
    return (size if coordinates == EDGES else size - 1) / 2, (size - 1) / 2


def _place(at: Tensor, size: int, padding: int, mirror: bool) -> Tensor:
    """Positions, moved inside."""
    if padding == FILL:
        return _clamp_max(_clamp_min(at, -2.0), size + 1.0)
    if padding != BORDER:
        start = 0.0 if mirror else -0.5
        whole = 2.0 * (size - mirror)
        at = _sub(at, start)
        if whole:
            at = _sub(at, _mul(_round(_div(at, whole)).detach(), whole))
        at = _add(_abs(at), start) if whole else _mul(at, 0.0)
    return _clamp_max(_clamp_min(at, 0.0), size - 1.0)


def _taps(
    at: Tensor, size: int, padding: int, mirror: bool, mode: int
) -> list[tuple[Tensor, Tensor, Tensor | None]]:
    """(pixel, whether it is one of the image, weight), of each that a position reads."""
    at = _place(at, size, padding, mirror)
    first = (_round(at) if mode == NEAREST else _floor(at)).detach()
    found: list[tuple[Tensor, Tensor, Tensor | None]] = []
    rest = _sub(at, first)
    for k in range(2 - mode):
        pixel = _add(first, k)
        inside = _mul(_ge(pixel, 0), _le(pixel, size - 1))
        weight = None if mode == NEAREST else rest if k else _sub(1.0, rest)
        clipped = _clamp_max(_clamp_min(pixel, 0.0), size - 1.0)
        found.append((clipped.long(), inside, weight))
    return found


def _plain_grid_sample(
    x: Tensor, grid: Tensor, mode: int, padding: int, coordinates: int, fill: float
) -> Tensor:
    """grid_sample in plain ops, for higher derivatives."""
    n, c, h, w = x.shape
    mirror = padding == REFLECTION and coordinates != EDGES
    axes = []
    for k, size in enumerate((w, h)):
        scale, shift = _scale_shift(size, coordinates)
        at = _add(_mul(_slice(grid, 3, k, k + 1), scale), shift)
        axes.append(_taps(at, size, padding, mirror, mode))
    points = grid.shape[1] * grid.shape[2]
    flat = _reshape(_copy(x), (n, c, h * w))
    other = fill if padding == FILL else 0.0
    total = None
    for row, row_in, wy in axes[1]:
        for column, column_in, wx in axes[0]:
            index = _reshape(_add(_mul(row, w), column), (n, 1, points))
            value = _gather(flat, _copy(_expand(index, (n, c, points))), 2)
            inside = _reshape(_mul(row_in, column_in), (n, 1, points))
            value = _where(inside, value, other)
            if wx is not None and wy is not None:
                value = _mul(value, _reshape(_mul(wx, wy), (n, 1, points)))
            total = value if total is None else _add(total, value)
    assert total is not None
    return _reshape(total, (n, c, *grid.shape[1:3]))


@gradient(
    "grid_sample", saves={"x": "grid", "grid": "x grid"}, composite=_plain_grid_sample
)
def _(node: Node, gy: Tensor) -> Gradients:
    x, grid = node.saved
    mode, padding, coordinates, fill = node.attrs
    gy = gy.contiguous()
    gx = ggrid = None
    if node.needs(0):
        h, w = node.shape(0)[2:]
        gx = _grid_sample_input(gy, grid, h, w, mode, padding, coordinates)
    if node.needs(1):
        ggrid = _grid_sample_grid(gy, x, grid, mode, padding, coordinates, fill)
    return gx, ggrid


no_gradient("grid_sample_input", "grid_sample_grid")


def _plain_affine_sample(
    x: Tensor, theta: Tensor, h: int, w: int, mode: int, padding: int, fill: float
) -> Tensor:
    """affine_sample by a grid."""
    base = np.ones((h, w, 3))
    base[..., 0] = np.arange(w)
    base[..., 1] = np.arange(h)[:, None]
    places = tensor(base.reshape(h * w, 3), dtype=theta.dtype)
    grid = _reshape(_matmul(places, _permute(theta, (0, 2, 1))), (len(theta), h, w, 2))
    return _grid_sample(x, grid, mode, padding, PIXELS, fill)


@gradient(
    "affine_sample",
    saves={"x": "x theta", "theta": "x theta"},
    composite=_plain_affine_sample,
)
def _(node: Node, gy: Tensor) -> Gradients:
    from fastnn.autograd import composite_gradient

    return composite_gradient(node, _plain_affine_sample, node.saved, gy)


def _plain_filter2(x: Tensor, along: Tensor, down: Tensor) -> Tensor:
    """filter2 in plain ops."""
    n = x.shape[0]
    if x.numel() == 0:
        return _mul(_mul(x, along.sum()), down.sum())
    for dim, weights in ((3, along), (2, down)):
        size, taps = x.shape[dim], weights.shape[1]
        places = np.arange(-(taps // 2), size + taps // 2) % max(2 * (size - 1), 1)
        index = np.minimum(places, 2 * (size - 1) - places)
        wide = _index_select(x, tensor(index), dim)
        total = None
        for k in range(taps):
            weight = _reshape(_copy(_slice(weights, 1, k, k + 1)), (n, 1, 1, 1))
            part = _mul(_slice(wide, dim, k, k + size), weight)
            total = part if total is None else _add(total, part)
        assert total is not None
        x = total
    return x


@gradient(
    "filter2",
    saves={"x": "x along down", "along": "x along down", "down": "x along down"},
    composite=_plain_filter2,
)
def _(node: Node, gy: Tensor) -> Gradients:
    from fastnn.autograd import composite_gradient

    return composite_gradient(node, _plain_filter2, node.saved, gy)


# ---- references --------------------------------------------------------------------------


def _in_numpy_place(at: Any, size: int, padding: int, mirror: bool) -> tuple[Any, Any]:
    """Positions moved inside, one by one in words; and the derivative of that."""
    slope = np.ones_like(at)
    if padding == FILL:
        return at, slope
    if padding != BORDER:
        low, high = (0, size - 1) if mirror else (-0.5, size - 0.5)
        if low == high:
            return np.zeros_like(at), np.zeros_like(at)
        turns = np.floor((at - low) / (high - low))
        part = at - low - turns * (high - low)
        back = turns % 2 == 1
        at = np.where(back, high - part, low + part)
        slope = np.where(back, -1.0, 1.0)
    slope = np.where((at > 0) & (at < size - 1), slope, 0.0)
    return np.clip(at, 0, size - 1), slope


def _in_numpy_pixels(x: Any, row: Any, column: Any, other: float) -> Any:
    """x[k, :, row[k], column[k]], `other` outside: (n, c, h', w')."""
    n, _, h, w = x.shape
    inside = (row >= 0) & (row < h) & (column >= 0) & (column < w)
    r = np.clip(row, 0, h - 1).astype(int)
    s = np.clip(column, 0, w - 1).astype(int)
    k = np.arange(n)[:, None, None]
    found = np.moveaxis(x, 1, -1)[k, r, s]
    return np.moveaxis(np.where(inside[..., None], found, other), -1, 1)


def _in_numpy_positions(
    grid: Any, h: int, w: int, padding: int, coordinates: int
) -> tuple[Any, ...]:
    result = []
    mirror = padding == REFLECTION and coordinates != EDGES
    for k, size in enumerate((w, h)):
        scale, shift = _scale_shift(size, coordinates)
        at, slope = _in_numpy_place(grid[..., k] * scale + shift, size, padding, mirror)
        result += [at, slope * scale]
    return tuple(result)


@reference("grid_sample")
def _in_numpy_grid_sample(
    x: Any,
    grid: Any,
    mode: int = 0,
    padding: int = 0,
    coordinates: int = 0,
    fill: float = 0.0,
) -> Any:
    at_x, _, at_y, _ = _in_numpy_positions(
        grid, x.shape[2], x.shape[3], padding, coordinates
    )
    other = fill if padding == FILL else 0.0
    if mode == NEAREST:
        return _in_numpy_pixels(x, np.round(at_y), np.round(at_x), other)
    column, row = np.floor(at_x), np.floor(at_y)
    dx, dy = (at_x - column)[:, None], (at_y - row)[:, None]
    y: Any = 0
    for i in range(2):
        for j in range(2):
            weight = (dy if i else 1 - dy) * (dx if j else 1 - dx)
            value = _in_numpy_pixels(x, row + i, column + j, other)
            y = y + np.where(weight == 0, 0, weight * value)
    return y


@reference("grid_sample_input")
def _(
    gy: Any,
    grid: Any,
    h: int,
    w: int,
    mode: int = 0,
    padding: int = 0,
    coordinates: int = 0,
) -> Any:
    n, c = gy.shape[:2]
    gx = np.zeros((n, c, h, w))
    at_x, _, at_y, _ = _in_numpy_positions(grid, h, w, padding, coordinates)
    for k, i, j in np.ndindex(*grid.shape[:3]):
        x, y = at_x[k, i, j], at_y[k, i, j]
        if mode == NEAREST:
            taps = [(np.round(y), np.round(x), 1.0)]
        else:
            row, column = np.floor(y), np.floor(x)
            taps = [
                (
                    row + a,
                    column + b,
                    (1 - abs(y - row - a)) * (1 - abs(x - column - b)),
                )
                for a in range(2)
                for b in range(2)
            ]
        for row, column, weight in taps:
            if 0 <= row < h and 0 <= column < w:
                gx[k, :, int(row), int(column)] += weight * gy[k, :, i, j]
    return gx


@reference("grid_sample_grid")
def _(
    gy: Any,
    x: Any,
    grid: Any,
    mode: int = 0,
    padding: int = 0,
    coordinates: int = 0,
    fill: float = 0.0,
) -> Any:
    if mode == NEAREST:
        return np.zeros(grid.shape)
    at_x, slope_x, at_y, slope_y = _in_numpy_positions(
        grid, x.shape[2], x.shape[3], padding, coordinates
    )
    other = fill if padding == FILL else 0.0
    column, row = np.floor(at_x), np.floor(at_y)
    dx, dy = (at_x - column)[:, None], (at_y - row)[:, None]
    v = [
        [_in_numpy_pixels(x, row + i, column + j, other) for j in range(2)]
        for i in range(2)
    ]
    along = (1 - dy) * (v[0][1] - v[0][0]) + dy * (v[1][1] - v[1][0])
    down = (1 - dx) * (v[1][0] - v[0][0]) + dx * (v[1][1] - v[0][1])
    parts = [(gy * along).sum(1) * slope_x, (gy * down).sum(1) * slope_y]
    return np.stack(parts, -1)


@reference("affine_grid")
def _(theta: Any, size: Any, align_corners: bool = False) -> Any:
    n, _, h, w = size
    grid = np.zeros((n, h, w, 2))
    for i, j in np.ndindex(h, w):
        place = [
            (2 * k / (m - 1) - 1 if m > 1 else 0.0)
            if align_corners
            else (2 * k + 1) / m - 1
            for k, m in ((j, w), (i, h))
        ]
        grid[:, i, j] = theta @ np.array([*place, 1.0])
    return grid


@reference("affine_sample")
def _(
    x: Any, theta: Any, h: int, w: int, mode: int = 0, padding: int = 0, fill: float = 0
) -> Any:
    i, j = np.mgrid[:h, :w]
    grid = np.einsum("nkp,phw->nhwk", theta, np.stack([j, i, np.ones_like(i)]))
    return _in_numpy_grid_sample(x, grid, mode, padding, PIXELS, fill)


@reference("filter2")
def _(x: Any, along: Any, down: Any) -> Any:
    for dim, weights in ((3, along), (2, down)):
        r = weights.shape[1] // 2
        if x.shape[dim] == 0 or x.shape[0] == 0:
            continue
        width = [(0, 0)] * 4
        width[dim] = (r, r)
        padded = np.pad(x, width, mode="reflect" if x.shape[dim] > 1 else "edge")
        y = np.zeros_like(x)
        for k in range(2 * r + 1):
            part = np.take(padded, np.arange(k, k + x.shape[dim]), dim)
            y += weights[:, k].reshape(-1, 1, 1, 1) * part
        x = y
    return x
