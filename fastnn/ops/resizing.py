"""Resizing of images and sequences: nearest neighbours and linear interpolation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn.ops._checks import expect_tensors, number, whole
from fastnn.ops._registry import (
    Gradients,
    Node,
    Tensor,
    gradient,
    op,
    public,
    reference,
)
from fastnn.ops.copies import contiguous
from fastnn.ops.pooling import adaptive_avg_pool1d, adaptive_avg_pool2d

_resize, _resize_backward = op("resize"), op("resize_backward")

# mode: its code in the table, and for how many dimensions it is
MODES: dict[str, tuple[int, tuple[int, ...]]] = {
    "nearest": (0, (1, 2)),
    "linear": (1, (1,)),
    "bilinear": (1, (2,)),
    "nearest-exact": (2, (1, 2)),
    "area": (-1, (1, 2)),
}
_ALIGNED = ("linear", "bilinear")


def _sizes(
    shape: tuple[int, ...],
    size: Any,
    scale_factor: Any,
    recompute: bool | None,
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The sizes to come, and the scales that positions are computed with; 0: by sizes."""
    dims = len(shape)
    if (size is None) == (scale_factor is None):
        raise ValueError(
            f"interpolate: expected either size or scale_factor, got {size} and "
            f"{scale_factor}"
        )
    given = scale_factor if size is None else size
    several = given if isinstance(given, (tuple, list)) else (given,) * dims
    if len(several) != dims:
        name = "scale_factor" if size is None else "size"
        raise ValueError(
            f"interpolate: expected {name} for {dims} dimensions, got {tuple(several)}"
        )
    if size is not None:
        if recompute:
            raise ValueError(
                "interpolate: expected recompute_scale_factor with scale_factor alone"
            )
        out = tuple(whole("interpolate", "size", v) for v in several)
        return out, (0.0,) * dims
    scales = tuple(number("interpolate", "scale_factor", v) for v in several)
    if not all(0 < s < math.inf for s in scales):
        raise ValueError(
            f"interpolate: expected scale_factor above 0, got {scale_factor}"
        )
    out = tuple(math.floor(n * s) for n, s in zip(shape, scales, strict=True))
    return out, (0.0,) * dims if recompute else scales


@public()
def interpolate(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """input at another size.

    Output o of m lies at o s of n elements, s = n / m or 1 / scale_factor: "nearest" takes
    element floor(o s), "nearest-exact" floor((o + 1/2) s). "linear" and "bilinear" mix the
    two neighbours (along each dimension) of (o + 1/2) s - 1/2, or of o (n - 1) / (m - 1)
    where corners are aligned. "area" averages, as adaptive_avg_pool2d.

    Parameters:
        input : float Tensor (n, c, l) or (n, c, h, w).
        size : int or one for each dimension; or else
        scale_factor : number or one for each; sizes become floor(n scale).
        mode : "nearest", "nearest-exact", "area", "linear" for (n, c, l), "bilinear" for
            (n, c, h, w).
        align_corners : bool, for "linear" and "bilinear".
        recompute_scale_factor : True computes s from the sizes even where scale_factor was
            given.
        antialias : False, the only one there is.
    Returns: (n, c, *sizes); fresh. "nearest" and "nearest-exact" take any dtype.
    Gradient: gy, added up with the weights.
    Raises: ValueError for sizes, modes and options that do not fit; TypeError for integers.
    Example:
        >>> x = fastnn.tensor([[[1.0, 3.0]]])
        >>> fastnn.interpolate(x, 4, mode="linear")
        tensor([[[1. , 1.5, 2.5, 3. ]]])
    """
    expect_tensors("interpolate", input=input)
    dims = input.ndim - 2
    if dims not in (1, 2):
        raise ValueError(
            "interpolate: expected input of shape (n, c, l) or (n, c, h, w), got "
            f"{input.shape}"
        )
    code, places = MODES.get(mode, (None, ()))
    if code is None or dims not in places:
        fitting = [m for m, (_, where) in MODES.items() if dims in where]
        raise ValueError(
            f"interpolate: expected mode in {fitting} for shape {input.shape}, got "
            f"{mode!r}"
        )
    if antialias:
        raise ValueError("interpolate: expected antialias=False, got True")
    if align_corners is not None and mode not in _ALIGNED:
        raise ValueError(
            f"interpolate: expected align_corners with {' or '.join(_ALIGNED)} alone, "
            f"got mode {mode!r}"
        )
    shape = input.shape[2:]
    out, scales = _sizes(shape, size, scale_factor, recompute_scale_factor)
    if mode == "area":
        pool = adaptive_avg_pool1d if dims == 1 else adaptive_avg_pool2d
        return pool(input, out)
    h, w = (0.0, *scales)[-2:]
    y: Tensor = _resize(contiguous(input), out, code, bool(align_corners), h, w)
    return y


@gradient("resize")
def _(node: Node, gy: Tensor) -> Gradients:
    size, *rest = node.attrs
    return (_resize_backward(contiguous(gy), node.shape(0)[-len(size) :], *rest),)


@gradient("resize_backward")
def _(node: Node, g: Tensor) -> Gradients:
    size, *rest = node.attrs
    return (_resize(contiguous(g), node.shape(0)[-len(size) :], *rest),)


# ---- references ---------------------------------------------------------------------------


def _matrix(n: int, m: int, mode: int, align: bool, scale: float) -> Any:
    """What each of m outputs takes of n inputs."""
    weights = np.zeros((m, n))
    s = 1 / scale if scale > 0 else n / m
    if mode == 1 and align:
        s = (n - 1) / (m - 1) if m > 1 else 0
    for o in range(m):
        if mode != 1:
            at = o * s if mode == 0 else max(0.0, (o + 0.5) * s - 0.5) + 0.5
            weights[o, min(math.floor(np.float32(at)), n - 1)] = 1
            continue
        at = max(0.0, o * s if align else (o + 0.5) * s - 0.5)
        at = o if n == m else at
        low = min(math.floor(at), n - 1)
        part = min(at - low, 1)
        weights[o, low] += 1 - part
        weights[o, min(low + 1, n - 1)] += part
    return weights


def _matrices(
    size: Any, out: Any, mode: int, align: bool, scale_h: float, scale_w: float
) -> tuple[Any, Any]:
    size, out = (1, *size)[-2:], (1, *out)[-2:]
    return (
        _matrix(size[0], out[0], mode, align, scale_h),
        _matrix(size[1], out[1], mode, align, scale_w),
    )


def _planes(x: Any, dims: int) -> Any:
    shape = np.shape(x)
    lead = int(np.prod(shape[: len(shape) - dims]))
    return np.reshape(x, (lead, *((1,) * (2 - dims)), *shape[len(shape) - dims :]))


@reference("resize")
def _(
    x: Any,
    size: Any,
    mode: int,
    align: bool = False,
    scale_h: float = 0,
    scale_w: float = 0,
) -> Any:
    dims = len(size)
    lead, n = np.shape(x)[:-dims], np.shape(x)[-dims:]
    h, w = _matrices(n, size, mode, align, scale_h, scale_w)
    if mode != 1:  # infinities stay where they are
        y = _planes(x, dims)[:, h.argmax(1)][:, :, w.argmax(1)]
    else:
        y = h @ _planes(x, dims) @ w.T
    return y.reshape(*lead, *size)


@reference("resize_backward")
def _(
    gy: Any,
    size: Any,
    mode: int,
    align: bool = False,
    scale_h: float = 0,
    scale_w: float = 0,
) -> Any:
    dims = len(size)
    lead, m = np.shape(gy)[:-dims], np.shape(gy)[-dims:]
    h, w = _matrices(size, m, mode, align, scale_h, scale_w)
    return (h.T @ _planes(gy, dims) @ w).reshape(*lead, *size)
