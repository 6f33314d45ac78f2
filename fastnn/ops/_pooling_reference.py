"""Pooling in NumPy, window by window: what the tests compare with."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.ops._registry import reference


def _windows(
    kernel: int, stride: int, padding: int, dilation: int, out: int
) -> list[list[int]]:
    """Positions of the taps of each window along an axis; they may be outside of it."""
    return [
        [o * stride - padding + t * dilation for t in range(kernel)] for o in range(out)
    ]


def _adaptive_windows(n: int, out: int) -> list[list[int]]:
    return [
        list(range(o * n // out, -(-(o + 1) * n // out)))  # floor to ceiling
        for o in range(out)
    ]


def _planes(
    size: Any,
    kernel: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil: bool,
    adaptive: bool,
    out: Any = None,
) -> tuple[Any, Any]:
    """Windows of both axes, and how wide a plane's windows are numbered."""
    axes, widest = [], []
    for d in range(len(kernel)):
        n = size[d]
        if adaptive:
            axes.append(_adaptive_windows(n, kernel[d]))
            widest.append(max(map(len, axes[-1]), default=1))
            continue
        k, s, p = kernel[d], stride[d], padding[d]
        step = dilation[d] if dilation else 1
        room = n + 2 * p - step * (k - 1) - 1
        m = room // s + 1
        if ceil:
            m = -(-room // s) + 1
            m -= (m - 1) * s >= n + p
        axes.append(_windows(k, s, p, step, m if out is None else out[d]))
        widest.append(k)
    if len(axes) == 1:
        axes.insert(0, [[0]])
    return axes, widest[-1]


def _as_planes(x: Any, dims: int) -> Any:
    x = np.asarray(x)
    lead, size = x.shape[: x.ndim - dims], x.shape[x.ndim - dims :]
    return x.reshape(int(np.prod(lead)), *((1,) * (2 - dims)), *size)


def _inside(rows: list[int], n: int) -> list[tuple[int, int]]:
    return [(t, i) for t, i in enumerate(rows) if 0 <= i < n]


@reference("max_pool")
def _max_reference(
    x: Any,
    kernel: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil: bool = False,
    adaptive: bool = False,
) -> Any:
    dims = len(kernel)
    size = np.shape(x)[-dims:]
    (down, across), wide = _planes(
        size, kernel, stride, padding, dilation, ceil, adaptive
    )
    planes = _as_planes(x, dims)
    y = np.full((len(planes), len(down), len(across)), -np.inf, planes.dtype)
    tap = np.zeros(y.shape, np.int64)
    for b, plane in enumerate(planes):
        for i, rows in enumerate(down):
            for j, columns in enumerate(across):
                found = [
                    (plane[r, c], u * wide + v)
                    for u, r in _inside(rows, plane.shape[0])
                    for v, c in _inside(columns, plane.shape[1])
                ]
                nan = [f for f in found if np.isnan(f[0])]
                y[b, i, j], tap[b, i, j] = (
                    nan[-1] if nan else max(found, key=lambda f: f[0])
                )
    tall = max((len(rows) for rows in down), default=1)
    shape = (*np.shape(x)[:-dims], *y.shape[3 - dims :])
    kind = np.uint8 if tall * wide <= 256 else np.int32
    return y.reshape(shape), tap.reshape(shape).astype(kind)


def _by_tap(tap: Any, size: Any, attrs: Any) -> Any:
    """Positions in a plane, (planes, h', w')."""
    *windows, adaptive = attrs
    kernel, stride, padding, dilation = windows
    dims = len(size)
    out = np.shape(tap)[-dims:]
    (down, across), wide = _planes(
        size, kernel, stride, padding, dilation, False, adaptive, out
    )
    taps = _as_planes(tap, dims).astype(np.int64)
    index = np.zeros(taps.shape, np.int64)
    for b, i, j in np.ndindex(*taps.shape):
        u, v = divmod(taps[b, i, j], wide)
        index[b, i, j] = down[i][u] * size[-1] + across[j][v]
    return index


@reference("max_pool_values")
def _(*args: Any) -> Any:
    return _max_reference(*args)[0]


@reference("max_pool_index")
def _(tap: Any, size: Any, *attrs: Any) -> Any:
    return _by_tap(tap, size, attrs).reshape(np.shape(tap))


@reference("max_pool_gather")
def _(x: Any, tap: Any, size: Any, *attrs: Any) -> Any:
    index = _by_tap(tap, size, attrs)
    flat = np.reshape(x, (len(index), int(np.prod(size))))
    y = np.take_along_axis(
        flat, index.reshape(len(index), int(np.prod(index.shape[1:]))), 1
    )
    return y.reshape(np.shape(tap))


@reference("max_pool_backward")
def _(gy: Any, tap: Any, size: Any, *attrs: Any) -> Any:
    index = _by_tap(tap, size, attrs)
    gx = np.zeros((len(index), int(np.prod(size))), np.asarray(gy).dtype)
    for b, g in enumerate(_as_planes(gy, len(size))):
        np.add.at(gx[b], index[b].reshape(-1), g.reshape(-1))
    return gx.reshape(*np.shape(gy)[: -len(size)], *size)


def _weights(
    size: Any,
    kernel: Any,
    stride: Any,
    padding: Any,
    ceil: bool,
    adaptive: bool,
    counted: bool,
    divisor: int,
    out: Any = None,
) -> Any:
    """What each output takes of each input of a plane: (h', w', h, w)."""
    (down, across), _ = _planes(
        size, kernel, stride, padding, None, ceil, adaptive, out
    )
    h, w = (1, *size)[-2:]
    pads = (0, *padding)[-2:] if not adaptive else (0, 0)
    weights = np.zeros((len(down), len(across), h, w))
    for i, rows in enumerate(down):
        for j, columns in enumerate(across):
            u = [r for _, r in _inside(rows, h)]
            v = [c for _, c in _inside(columns, w)]
            count = len(u) * len(v)
            if counted:
                count = sum(r < h + pads[0] for r in rows) * sum(
                    c < w + pads[1] for c in columns
                )
            weights[i, j][np.ix_(u, v)] = 1 / (divisor or count)
    return weights


@reference("avg_pool")
def _(
    x: Any,
    kernel: Any,
    stride: Any,
    padding: Any,
    ceil: bool = False,
    adaptive: bool = False,
    counted: bool = True,
    divisor: int = 0,
) -> Any:
    dims = len(kernel)
    size = np.shape(x)[-dims:]
    weights = _weights(size, kernel, stride, padding, ceil, adaptive, counted, divisor)
    planes = _as_planes(x, dims)
    y = np.zeros((len(planes), *weights.shape[:2]))
    for i, j in np.ndindex(*weights.shape[:2]):
        inside = weights[i, j] != 0  # infinities elsewhere do not count
        y[:, i, j] = (planes[:, inside] * weights[i, j][inside]).sum(-1)
    return y.reshape(*np.shape(x)[:-dims], *y.shape[3 - dims :])


@reference("avg_pool_backward")
def _(
    gy: Any,
    size: Any,
    kernel: Any,
    stride: Any,
    padding: Any,
    adaptive: bool = False,
    counted: bool = True,
    divisor: int = 0,
) -> Any:
    dims = len(kernel)
    out = np.shape(gy)[-dims:]
    weights = _weights(
        size, kernel, stride, padding, False, adaptive, counted, divisor, out
    )
    gx = np.tensordot(_as_planes(gy, dims), weights, ((1, 2), (0, 1)))
    return gx.reshape(*np.shape(gy)[:-dims], *size)
