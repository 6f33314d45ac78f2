"""Margins around the last dimensions: constants, mirrored, repeated or from the other end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn.ops._checks import class_of, expect_tensors
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

_pad, _pad_backward = op("pad"), op("pad_backward")
_copy, _reshape = op("copy"), op("reshape")

MODES = {"constant": 0, "reflect": 1, "replicate": 2, "circular": 3}
_ROW_WIDTHS = 8  # that one call takes


@public()
def pad(
    input: Tensor,
    pad: Sequence[int],
    mode: str = "constant",
    value: float | None = None,
) -> Tensor:
    """input with a margin; negative widths cut off.

    Parameters:
        pad : ints, before and after the last dimension, then the one before it, and so on.
        mode : what the margin is. "constant", value; "reflect", what lies as far from the
            edge inside, without the edge; "replicate", the edge; "circular", what comes
            from the other end. The last three for at most four dimensions.
        value : number, 0 by default; for "constant" alone.
    Returns: input's dtype; fresh.
    Gradient: gy, added up where an element was repeated, 0 to what was cut off.
    Raises: ValueError for widths that do not fit the shape, or another mode.
    Example:
        >>> fastnn.pad(fastnn.tensor([1, 2]), (1, 2))
        tensor([0, 1, 2, 0, 0])
        >>> fastnn.pad(fastnn.tensor([1, 2, 3]), (2, 1), "reflect")
        tensor([3, 2, 1, 2, 3, 2])
    """
    expect_tensors("pad", input=input)
    code = MODES.get(mode)
    if code is None:
        raise ValueError(f"pad: expected mode in {list(MODES)}, got {mode!r}")
    several = pad if isinstance(pad, (tuple, list)) else (pad,)
    for v in several:
        if isinstance(v, bool) or not hasattr(v, "__index__"):
            raise TypeError(f"pad: expected pad as integers, got {class_of(v)}")
    widths = tuple(int(v) for v in several)
    most = 2 * input.ndim if code == 0 else min(2 * input.ndim, _ROW_WIDTHS)
    if len(widths) % 2 or len(widths) > most:
        raise ValueError(
            f"pad: expected two widths for each of at most {most // 2} dimensions, got "
            f"{len(widths)}"
        )
    if code and value is not None:
        raise ValueError(f"pad: expected no value in mode {mode!r}, got {value}")
    if not widths:
        return _copy(input)
    x = contiguous(input)
    y: Tensor = _pad(x, widths[:_ROW_WIDTHS], code, value or 0)
    for k in range(_ROW_WIDTHS, len(widths), 2):  # further dimensions, one by one
        dim = input.ndim - 1 - k // 2
        lead, n, rest = y.shape[:dim], y.shape[dim], y.shape[dim + 1 :]
        flat = _reshape(y, (math.prod(lead), n, math.prod(rest)))
        flat = _pad(flat, (0, 0, *widths[k : k + 2]), code, value or 0)
        y = _reshape(flat, (*lead, flat.shape[1], *rest))
    return y


@gradient("pad")
def _(node: Node, gy: Tensor) -> Gradients:
    widths, mode, _ = node.attrs
    gy = contiguous(gy)
    if mode == 0:
        return (_pad(gy, tuple(-w for w in widths), 0, 0.0),)
    size = node.shape(0)[-(len(widths) // 2) :]
    return (_pad_backward(gy, widths, mode, size),)


@gradient("pad_backward")
def _(node: Node, g: Tensor) -> Gradients:
    widths, mode, _ = node.attrs
    return (_pad(contiguous(g), widths, mode, 0.0),)


def _pairs(ndim: int, widths: Any) -> list[tuple[int, int]]:
    """(before, after) of every dimension."""
    pairs = [(0, 0)] * (ndim - len(widths) // 2)
    return pairs + [(widths[i], widths[i + 1]) for i in range(len(widths) - 2, -1, -2)]


_NUMPY: dict[int, Any] = {1: "reflect", 2: "edge", 3: "wrap"}


@reference("pad")
def _pad_reference(x: Any, widths: Any, mode: int, value: float = 0) -> Any:
    pairs = _pairs(x.ndim, widths)
    if mode == 3:  # what is cut off does not come round
        x = _cut(x, pairs)
        pairs = [(max(a, 0), max(b, 0)) for a, b in pairs]
    grown = [(max(a, 0), max(b, 0)) for a, b in pairs]
    if mode == 0:
        return _cut(np.pad(x, grown, constant_values=value), pairs)
    return _cut(np.pad(x, grown, _NUMPY[mode]), pairs)


def _cut(x: Any, pairs: list[tuple[int, int]]) -> Any:
    """x without what widths below 0 cut off."""
    return x[
        tuple(
            slice(max(-a, 0), n - max(-b, 0))
            for (a, b), n in zip(pairs, x.shape, strict=True)
        )
    ]


@reference("pad_backward")
def _(gy: Any, widths: Any, mode: int, size: Any) -> Any:
    shape = (*np.shape(gy)[: np.ndim(gy) - len(size)], *size)
    order = np.arange(math.prod(shape)).reshape(shape)
    gx = np.zeros(shape).reshape(-1)
    np.add.at(gx, _pad_reference(order, widths, mode).reshape(-1), np.ravel(gy))
    return gx.reshape(shape)
