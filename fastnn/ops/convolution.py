"""Convolution, its transpose, and the gradients: each is made of the other rows."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from fastnn._core import touch_structure
from fastnn.ops._checks import each, expect_tensors
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
from fastnn.ops.products import ACTIVATIONS
from fastnn.ops.views import reshape

_conv, _transpose, _weight = op("conv"), op("conv_transpose"), op("conv_weight")
_sum = op("sum")

# Attribute `algorithm`: which one computes, by name; csrc/conv/conv.h. "auto" chooses by
# the shape of a sample, "precise" likewise, but not Winograd.
ALGORITHMS = {"auto": 0, "gemm": 1, "winograd": 2, "depthwise": 3, "precise": 4}
_algorithm = ALGORITHMS["auto"]


@public()
def set_precise_convolution(mode: bool) -> None:
    """Whether convolutions do without Winograd's algorithm, which is faster and rounds more.

    Winograd's serves float32 layers with kernels of 3x3 and stride 1 or 2; its error stays
    within 2e-5 of the largest result, where plain sums stay within about 1e-6.
    Compiled functions make new plans. float64 never uses it.

    Parameters: mode : bool: True for plain sums everywhere.
    Source: Lavin, Gray, "Fast algorithms for convolutional neural networks", 2015.
    Example:
        >>> fastnn.set_precise_convolution(True)
        >>> fastnn.is_convolution_precise()
        True
        >>> fastnn.set_precise_convolution(False)
    """
    global _algorithm
    if not isinstance(mode, bool):
        raise TypeError(
            f"set_precise_convolution: expected mode as a bool, got {type(mode).__name__}"
        )
    _algorithm = ALGORITHMS["precise" if mode else "auto"]
    touch_structure()


@public()
def is_convolution_precise() -> bool:
    """Whether set_precise_convolution(True) is in force."""
    return _algorithm == ALGORITHMS["precise"]


# ---- arguments ---------------------------------------------------------------------------


def padding_of(
    name: str,
    padding: Any,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> list[int]:
    """Zeros before and after each image dimension, from numbers, "valid" or "same": the
    size that comes out is the one that goes in, an odd zero coming after."""
    dims = len(stride)
    if not isinstance(padding, str):
        given = each(name, "padding", padding, dims, 0)
        return [p for number in given for p in (number, number)]
    if padding == "valid":
        return [0] * (2 * dims)
    if padding != "same":
        raise ValueError(
            f"{name}: expected padding as numbers, 'same' or 'valid', got {padding!r}"
        )
    if any(s != 1 for s in stride):
        raise ValueError(f"{name}: expected stride 1 with padding='same', got {stride}")
    total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    return [p for t in total for p in (t // 2, t - t // 2)]


def _batched(
    name: str, input: Tensor, weight: Tensor, bias: Tensor | None, dims: int
) -> Tensor:
    """input with a batch, which it may lack; errors for other numbers of dimensions."""
    expect_tensors(name, input=input, weight=weight)
    if bias is not None:
        expect_tensors(name, bias=bias)
    if weight.ndim != dims + 2:
        raise ValueError(
            f"{name}: expected weight of {dims + 2} dimensions, got shape {weight.shape}"
        )
    if input.ndim not in (dims + 1, dims + 2):
        image = "length" if dims == 1 else "height, width"
        raise ValueError(
            f"{name}: expected input of shape (n, channels, {image}) or (channels, "
            f"{image}), got {input.shape}"
        )
    return reshape(input, (1, *input.shape)) if input.ndim == dims + 1 else input


def _forward(
    name: str,
    dims: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Tensor:
    x = _batched(name, input, weight, bias, dims)
    strides = each(name, "stride", stride, dims, 1)
    dilations = each(name, "dilation", dilation, dims, 1)
    pads = padding_of(name, padding, weight.shape[2:], strides, dilations)
    y = _conv(x, weight, bias, strides, pads, dilations, groups, _algorithm)
    return y if input.ndim == x.ndim else reshape(y, y.shape[1:])


@public()
def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] | str = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> Tensor:
    """y_oij = bias_o + sum_cuv weight_ocuv input_c(i S - P + u D)(j S - P + v D).

    Parameters:
        input : float Tensor (n, c, h, w) or (c, h, w).
        weight : (out, c / groups, kh, kw). bias : (out,) or None, same dtype.
        stride, dilation : int or (height, width), at least 1.
        padding : int or (height, width), zeros on both sides; "valid", none; "same", as
            many as keep the size at stride 1.
        groups : int: channels are cut into so many parts that do not see each other.
    Returns: (n, out, oh, ow), each floor((N + 2 P - D (F - 1) - 1) / S) + 1; fresh.
    Gradient: conv_transpose2d(gy, weight); the correlation of input and gy; the sum of gy.
    Raises: ValueError for shapes that do not fit; TypeError for integers or mixed dtypes.
    Source: Dumoulin, Visin, "A guide to convolution arithmetic for deep learning", 2016.
    Example:
        >>> x = fastnn.ones(1, 1, 3, 3)
        >>> fastnn.conv2d(x, fastnn.ones(1, 1, 2, 2))
        tensor([[[[4., 4.],
                  [4., 4.]]]])
    """
    return _forward("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


@public()
def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int] = 1,
    padding: int | tuple[int] | str = 0,
    dilation: int | tuple[int] = 1,
    groups: int = 1,
) -> Tensor:
    """conv2d along one dimension: input (n, c, length) or (c, length), weight (out, c /
    groups, k).

    Example:
        >>> fastnn.conv1d(fastnn.ones(1, 1, 3), fastnn.ones(1, 1, 2))
        tensor([[[2., 2.]]])
    """
    return _forward("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def causal_conv1d(
    input: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, groups: int
) -> Tensor:
    """conv1d of stride 1 with all zeros before the sequence, so that its length stays."""
    x = _batched("causal_conv1d", input, weight, bias, 1)
    before = dilation * (weight.shape[2] - 1)
    y = _conv(x, weight, bias, (1,), (before, 0), (dilation,), groups, _algorithm)
    return y if input.ndim == x.ndim else reshape(y, y.shape[1:])


def _backward(
    name: str,
    dims: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> Tensor:
    x = _batched(name, input, weight, bias, dims)
    strides = each(name, "stride", stride, dims, 1)
    dilations = each(name, "dilation", dilation, dims, 1)
    pads = each(name, "padding", padding, dims, 0)
    extra = each(name, "output_padding", output_padding, dims, 0)
    size = []
    for n, k, s, p, d, e in zip(
        x.shape[2:], weight.shape[2:], strides, pads, dilations, extra, strict=True
    ):
        if e >= max(s, d):
            raise ValueError(
                f"{name}: expected output_padding below stride or dilation, got {e} for "
                f"stride {s} and dilation {d}"
            )
        size.append((n - 1) * s - 2 * p + d * (k - 1) + e + 1)
    if min(size) < 1:
        raise ValueError(
            f"{name}: expected a result of at least 1 in each dimension, got "
            f"{tuple(size)} for input of shape {input.shape}"
        )
    both = [  # what lies past the last place of the kernel is not padded
        q
        for p, e, s in zip(pads, extra, strides, strict=True)
        for q in (p, p - e // s * s)
    ]
    y = _transpose(x, weight, bias, strides, both, dilations, groups, _algorithm, size)
    return y if input.ndim == x.ndim else reshape(y, y.shape[1:])


@public()
def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    output_padding: int | tuple[int, int] = 0,
    groups: int = 1,
    dilation: int | tuple[int, int] = 1,
) -> Tensor:
    """The transpose of conv2d: what conv2d gathers, this scatters.

    Parameters:
        input : float Tensor (n, c, h, w) or (c, h, w).
        weight : (c, out / groups, kh, kw). bias : (out,) or None, same dtype.
        stride, padding, dilation : of the convolution that this is the transpose of.
        output_padding : int or (height, width), below stride or dilation: which of the
            sizes that the convolution takes to input's is meant.
    Returns: (n, out, oh, ow), each (N - 1) S - 2 P + D (F - 1) + output_padding + 1; fresh.
    Gradient: conv2d(gy, weight); the correlation of gy and input; the sum of gy.
    Raises: ValueError for shapes that do not fit; TypeError for integers or mixed dtypes.
    Source: Dumoulin, Visin, "A guide to convolution arithmetic for deep learning", 2016,
        chapter 4.
    Example:
        >>> x = fastnn.ones(1, 1, 2, 2)
        >>> fastnn.conv_transpose2d(x, fastnn.ones(1, 1, 2, 2))[0, 0]
        tensor([[1., 2., 1.],
                [2., 4., 2.],
                [1., 2., 1.]])
    """
    return _backward(
        "conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding,
        groups, dilation,
    )  # fmt: skip


@public()
def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int] = 1,
    padding: int | tuple[int] = 0,
    output_padding: int | tuple[int] = 0,
    groups: int = 1,
    dilation: int | tuple[int] = 1,
) -> Tensor:
    """conv_transpose2d along one dimension: input (n, c, length) or (c, length), weight (c,
    out / groups, k).

    Example:
        >>> fastnn.conv_transpose1d(fastnn.ones(1, 1, 2), fastnn.ones(1, 1, 2))
        tensor([[[1., 2., 1.]]])
    """
    return _backward(
        "conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding,
        groups, dilation,
    )  # fmt: skip


# ---- gradients: the three rows are each other's ------------------------------------------


def _bias_gradient(node: Node, gy: Tensor) -> Tensor | None:
    return _sum(gy, (0, *range(2, gy.ndim))) if node.needs(2) else None


@gradient("conv", saves={"x": "weight", "weight": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    x, weight = node.saved
    gx = gw = None
    if node.needs(0):
        gx = _transpose(gy, weight, None, *node.attrs, node.shape(0)[2:])
    if node.needs(1):
        gw = _weight(x, gy, *node.attrs, node.shape(1)[2:])
    return gx, gw, _bias_gradient(node, gy)


@gradient("conv_transpose", saves={"x": "weight", "weight": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    x, weight = node.saved
    *layer, _ = node.attrs
    gx = _conv(gy, weight, None, *layer) if node.needs(0) else None
    gw = _weight(gy, x, *layer, node.shape(1)[2:]) if node.needs(1) else None
    return gx, gw, _bias_gradient(node, gy)


@gradient("conv_weight", saves={"x": "gy", "gy": "x"})
def _(node: Node, ggw: Tensor) -> Gradients:
    x, gy = node.saved
    *layer, _ = node.attrs
    gx = ggy = None
    if node.needs(0):
        gx = _transpose(gy, ggw, None, *layer, node.shape(0)[2:])
    if node.needs(1):
        ggy = _conv(x, ggw, None, *layer)
    return gx, ggy


no_gradient("conv_act")  # made by plans alone


# ---- references --------------------------------------------------------------------------


def _windows(
    shape: Any, kernel: Any, stride: Any, padding: Any, dilation: Any
) -> tuple[Any, Any]:
    """Padded image sizes, and for each tap the slices of a padded image that it reads."""
    before, after = padding[::2], padding[1::2]
    padded = [n + a + b for n, a, b in zip(shape, before, after, strict=True)]
    out = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(padded, kernel, stride, dilation, strict=True)
    ]
    taps = [
        (
            ...,
            *(
                slice(u * d, u * d + (o - 1) * s + 1, s)
                for u, d, o, s in zip(tap, dilation, out, stride, strict=True)
            ),
        )
        for tap in itertools.product(*map(range, kernel))
    ]
    return padded, taps


def _padded(x: Any, padding: Any) -> Any:
    pairs = list(zip(padding[::2], padding[1::2], strict=True))
    return np.pad(x, [(0, 0), (0, 0), *pairs])


def _grouped(x: Any, groups: int) -> Any:
    return x.reshape(len(x), groups, x.shape[1] // groups, *x.shape[2:])


def _flat(x: Any) -> Any:
    return x.reshape(*x.shape[:3], math.prod(x.shape[3:]))


@reference("conv")
def _(
    x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any,
    groups: int, algorithm: int = 0,
) -> Any:  # fmt: skip
    n, out = len(x), len(weight)
    _, taps = _windows(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    padded = _grouped(_padded(x, padding), groups)
    w = weight.reshape(
        groups, out // groups, weight.shape[1], math.prod(weight.shape[2:])
    )
    y = sum(
        np.einsum("ngc...,goc->ngo...", padded[tap], w[..., i])
        for i, tap in enumerate(taps)
    )
    y = y.reshape(n, out, *y.shape[3:])
    return y if bias is None else y + bias.reshape(-1, *[1] * (x.ndim - 2))


@reference("conv_act")
def _(
    x: Any, weight: Any, bias: Any, scale: Any, shift: Any, residual: Any, stride: Any,
    padding: Any, dilation: Any, groups: int, algorithm: int, activation: int,
) -> Any:  # fmt: skip
    from fastnn.ops._registry import REFERENCES

    conv = REFERENCES["conv"]
    y = conv(x, weight, bias, stride, padding, dilation, groups)
    if scale is not None:
        tail = [1] * (x.ndim - 2)
        y = y * scale.reshape(-1, *tail) + shift.reshape(-1, *tail)
    y = y if residual is None else y + residual
    name = {code: name for name, code in ACTIVATIONS.items()}[activation]
    return y if name is None else REFERENCES[name](y)


@reference("conv_transpose")
def _(
    x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any,
    groups: int, algorithm: int, size: Any,
) -> Any:  # fmt: skip
    n = len(x)
    padded, taps = _windows(size, weight.shape[2:], stride, padding, dilation)
    inputs = _grouped(x, groups)
    w = weight.reshape(
        groups, len(weight) // groups, weight.shape[1], math.prod(weight.shape[2:])
    )
    y = np.zeros((n, groups, weight.shape[1], *padded), x.dtype)
    for i, tap in enumerate(taps):
        y[tap] += np.einsum("ngo...,goc->ngc...", inputs, w[..., i])
    inner: Any = (
        ...,
        *(slice(a, a + s) for a, s in zip(padding[::2], size, strict=True)),
    )
    y = y[inner].reshape(n, groups * weight.shape[1], *size)
    return y if bias is None else y + bias.reshape(-1, *[1] * (x.ndim - 2))


@reference("conv_weight")
def _(
    x: Any, gy: Any, stride: Any, padding: Any, dilation: Any, groups: int,
    algorithm: int, size: Any,
) -> Any:  # fmt: skip
    _, taps = _windows(x.shape[2:], size, stride, padding, dilation)
    padded = _grouped(_padded(x, padding), groups)
    outputs = _flat(_grouped(gy, groups))
    gw = [np.einsum("ngcp,ngop->goc", _flat(padded[tap]), outputs) for tap in taps]
    return np.stack(gw, -1).reshape(gy.shape[1], x.shape[1] // groups, *size)
