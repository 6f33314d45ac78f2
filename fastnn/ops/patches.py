"""Patches of images: unfold takes them apart, fold adds them up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn.ops._checks import each, expect_tensors
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

_unfold, _fold = op("unfold"), op("fold")

Sizes = int | Sequence[int]


def _checked(name: str, input: Any, ndims: tuple[int, ...], shape: str) -> Tensor:
    expect_tensors(name, input=input)
    if input.ndim not in ndims:
        raise ValueError(
            f"{name}: expected input of shape ({shape}) or (n, {shape}), got "
            f"{input.shape}"
        )
    return contiguous(input)


@public()
def unfold(
    input: Tensor,
    kernel_size: Sizes,
    dilation: Sizes = 1,
    padding: Sizes = 0,
    stride: Sizes = 1,
) -> Tensor:
    """The patches that a window over the image sees, one column for each of its places.

    Parameters:
        input : float Tensor (n, c, h, w) or (c, h, w).
        kernel_size, dilation, padding, stride : int or (h, w), as of a convolution;
            padding is of zeros.
    Returns: (n, c kh kw, l) or (c kh kw, l), l = places down times places across; fresh.
    Gradient: fold of gy.
    Raises: ValueError for windows that do not fit; TypeError for integers.
    Example:
        >>> x = fastnn.arange(6.0).reshape((1, 2, 3))
        >>> fastnn.unfold(x, 2)
        tensor([[0., 1.],
                [1., 2.],
                [3., 4.],
                [4., 5.]])
    """
    x = _checked("unfold", input, (3, 4), "c, h, w")
    y: Tensor = _unfold(
        x,
        each("unfold", "kernel_size", kernel_size, 2),
        each("unfold", "stride", stride, 2),
        each("unfold", "padding", padding, 2),
        each("unfold", "dilation", dilation, 2),
    )
    return y


@public()
def fold(
    input: Tensor,
    output_size: Sizes,
    kernel_size: Sizes,
    dilation: Sizes = 1,
    padding: Sizes = 0,
    stride: Sizes = 1,
) -> Tensor:
    """The image that patches make where they are added up; unfold's gradient.

    Parameters:
        input : float Tensor (n, c kh kw, l) or (c kh kw, l), as unfold gives them.
        output_size : int or (h, w), of the image. The rest as in unfold.
    Returns: (n, c, h, w) or (c, h, w); fresh.
    Gradient: unfold of gy.
    Raises: ValueError for patches that do not fit; TypeError for integers.
    Example:
        >>> x = fastnn.ones((4, 2))
        >>> fastnn.fold(x, (2, 3), 2)
        tensor([[[1., 2., 1.],
                 [1., 2., 1.]]])
    """
    x = _checked("fold", input, (2, 3), "c kh kw, l")
    y: Tensor = _fold(
        x,
        each("fold", "output_size", output_size, 2),
        each("fold", "kernel_size", kernel_size, 2),
        each("fold", "stride", stride, 2),
        each("fold", "padding", padding, 2),
        each("fold", "dilation", dilation, 2),
    )
    return y


@gradient("unfold")
def _(node: Node, gy: Tensor) -> Gradients:
    return (_fold(contiguous(gy), node.shape(0)[-2:], *node.attrs),)


@gradient("fold")
def _(node: Node, gy: Tensor) -> Gradients:
    return (_unfold(contiguous(gy), *node.attrs[1:]),)


def _columns(x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Any:
    """(c, h, w) to (c kh kw, l)."""
    pads = [(0, 0), *((p, p) for p in padding)]
    x = np.pad(x, pads)
    places = [
        (n - (k - 1) * d - 1) // s + 1
        for n, k, s, d in zip(x.shape[1:], kernel, stride, dilation, strict=True)
    ]
    patches = [
        x[
            :,
            u * dilation[0] : u * dilation[0] + places[0] * stride[0] : stride[0],
            v * dilation[1] : v * dilation[1] + places[1] * stride[1] : stride[1],
        ][:, : places[0], : places[1]]
        for u, v in np.ndindex(*kernel)
    ]
    return np.stack(patches, 1).reshape(-1, places[0] * places[1])


@reference("unfold")
def _unfold_reference(x: Any, *attrs: Any) -> Any:
    lead = np.shape(x)[:-3]
    if 0 in lead:
        one = _columns(np.zeros(np.shape(x)[-3:]), *attrs)
        return np.zeros((*lead, *one.shape))
    planes = np.reshape(x, (-1, *np.shape(x)[-3:]))
    y = np.stack([_columns(plane, *attrs) for plane in planes])
    return y.reshape(*lead, *y.shape[1:])


@reference("fold")
def _(x: Any, size: Any, kernel: Any, *attrs: Any) -> Any:
    *lead, rows, _ = np.shape(x)
    channels = rows // int(np.prod(kernel))
    count = int(np.prod(lead))
    image = np.arange(1, channels * int(np.prod(size)) + 1)
    order = _columns(image.reshape(channels, *size), kernel, *attrs)
    y = np.zeros((count, len(image) + 1))  # 0: the margin
    for b, patches in enumerate(np.reshape(x, (count, *order.shape))):
        np.add.at(y[b], order.reshape(-1), patches.reshape(-1))
    return y[:, 1:].reshape(*lead, channels, *size)
