"""Pooling: largest elements and averages of windows over the last one or two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastnn._core import is_grad_enabled
from fastnn.ops import _pooling_reference as _pooling_reference
from fastnn.ops._checks import each, expect_tensors, whole
from fastnn.ops._registry import (
    Gradients,
    Node,
    Tensor,
    gradient,
    no_gradient,
    op,
    public,
)
from fastnn.ops.copies import contiguous

_max_pool, _max_pool_backward = op("max_pool"), op("max_pool_backward")
_max_pool_index, _max_pool_gather = op("max_pool_index"), op("max_pool_gather")
_max_pool_values = op("max_pool_values")
_avg_pool, _avg_pool_backward = op("avg_pool"), op("avg_pool_backward")
_mean = op("mean")

Sizes = int | Sequence[int]


def of_planes(name: str, input: Any, dims: int) -> Tensor:
    """input, contiguous: float, (channels, ...) or (batch, channels, ...)."""
    expect_tensors(name, input=input)
    if not input.is_floating_point():
        raise TypeError(
            f"{name}: expected input of dtype float32 or float64, got "
            f"{input.dtype.name} (hint: input.float())"
        )
    if input.ndim not in (dims + 1, dims + 2):
        shape = ("c, l", "c, h, w")[dims - 1]
        raise ValueError(
            f"{name}: expected input of shape ({shape}) or (n, {shape}), got "
            f"{input.shape}"
        )
    return contiguous(input)


def _stride(name: str, stride: Any, kernel: tuple[int, ...]) -> tuple[int, ...]:
    """stride for each dimension; None and () are the kernel's size."""
    if stride is None or (isinstance(stride, tuple | list) and not stride):
        return kernel
    return each(name, "stride", stride, len(kernel))


def _differentiates(x: Tensor) -> bool:
    """Whether a gradient of what is made from x may be asked for."""
    return x.requires_grad and is_grad_enabled()


# ---- largest elements ---------------------------------------------------------------------


def _max(
    dims: int,
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    dilation: Sizes,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    name = f"max_pool{dims}d"
    x = of_planes(name, input, dims)
    kernel = each(name, "kernel_size", kernel_size, dims)
    attrs = (
        kernel,
        _stride(name, stride, kernel),
        each(name, "padding", padding, dims),
        each(name, "dilation", dilation, dims),
    )
    if not return_indices and not _differentiates(x):
        return _max_pool_values(x, *attrs, bool(ceil_mode), False)
    y, tap = _max_pool(x, *attrs, bool(ceil_mode), False)
    if not return_indices:
        return y
    return y, _max_pool_index(tap, x.shape[-dims:], *attrs, False)


@public()
def max_pool1d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element of each window along the last dimension. As max_pool2d.

    Parameters: input : float Tensor (n, c, l) or (c, l); the rest as in max_pool2d.
    Returns: (n, c, l') or (c, l'); fresh. With return_indices, also int64 positions.
    Example:
        >>> fastnn.max_pool1d(fastnn.tensor([[1.0, 5.0, 2.0, 4.0]]), 2)
        tensor([[5., 4.]])
    """
    return _max(
        1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


@public()
def max_pool2d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element of each window over the last two dimensions.

    y[i, j] = max over u, v of x[i s - p + u d, j s - p + v d]; what lies outside of x does
    not count. NaN where a window has one.

    Parameters:
        input : float Tensor (n, c, h, w) or (c, h, w); n may be 0.
        kernel_size, stride, padding, dilation : int or (h, w). stride None is kernel_size;
            padding is at most half of kernel_size.
        ceil_mode : whether a last window may begin in the input and end beyond it.
        return_indices : whether positions are wanted too.
    Returns: (n, c, h', w') or (c, h', w'), h' = floor((h + 2 p - d (k - 1) - 1) / s) + 1,
        or ceil; fresh. With return_indices, also the position i w + j of each maximum in
        its plane, int64: the first of equal ones, the last NaN.
    Gradient: gy, added up where the maxima were.
    Raises: ValueError for sizes that do not fit; TypeError for integers.
    Example:
        >>> x = fastnn.arange(16.0).reshape((1, 4, 4))
        >>> fastnn.max_pool2d(x, 2)
        tensor([[[ 5.,  7.],
                 [13., 15.]]])
    """
    return _max(
        2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


@gradient("max_pool", saves={"tap": "x"})
def _(node: Node, gy: Tensor, *_unused: None) -> Gradients:
    kernel, stride, padding, dilation, _, adaptive = node.attrs
    size = node.shape(0)[-len(kernel) :]
    attrs = (size, kernel, stride, padding, dilation, adaptive)
    return (_max_pool_backward(contiguous(gy), node.saved[0], *attrs),)


@gradient("max_pool_backward", saves={"tap": "gy"})
def _(node: Node, g: Tensor) -> Gradients:
    return _max_pool_gather(contiguous(g), node.saved[0], *node.attrs), None


@gradient("max_pool_gather", saves={"tap": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    return _max_pool_backward(contiguous(gy), node.saved[0], *node.attrs), None


no_gradient("max_pool_index", "max_pool_values")


# ---- averages -----------------------------------------------------------------------------


def _of_whole_planes(x: Tensor, dims: int) -> Tensor:
    """One average for each plane: summed up in a tree, as any mean."""
    y: Tensor = _mean(x, tuple(range(-dims, 0)), True)
    return y


def _avg(
    dims: int,
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int | None,
) -> Tensor:
    name = f"avg_pool{dims}d"
    x = of_planes(name, input, dims)
    kernel = each(name, "kernel_size", kernel_size, dims)
    if divisor is not None:
        divisor = whole(name, "divisor_override", divisor)
        if divisor == 0:
            raise ValueError(f"{name}: expected divisor_override other than 0")
    margin = each(name, "padding", padding, dims)
    if kernel == x.shape[-dims:] and not any(margin) and divisor is None:
        return _of_whole_planes(x, dims)
    y: Tensor = _avg_pool(
        x,
        kernel,
        _stride(name, stride, kernel),
        margin,
        bool(ceil_mode),
        False,
        bool(count_include_pad),
        divisor or 0,
    )
    return y


@public()
def avg_pool1d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The average of each window along the last dimension. As avg_pool2d.

    Parameters: input : float Tensor (n, c, l) or (c, l); the rest as in avg_pool2d.
    Returns: (n, c, l') or (c, l'); fresh.
    Example:
        >>> fastnn.avg_pool1d(fastnn.tensor([[1.0, 5.0, 2.0, 4.0]]), 2)
        tensor([[3., 3.]])
    """
    return _avg(
        1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None
    )


@public()
def avg_pool2d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The average of each window over the last two dimensions.

    Parameters:
        input : float Tensor (n, c, h, w) or (c, h, w); n may be 0.
        kernel_size, stride, padding : int or (h, w). stride None is kernel_size; padding,
            of zeros, is at most half of kernel_size.
        ceil_mode : whether a last window may begin in the input and end beyond it.
        count_include_pad : whether the zeros count; what ceil_mode adds never does.
        divisor_override : int, what every sum is divided by.
    Returns: (n, c, h', w') or (c, h', w'), sizes as in max_pool2d; fresh.
    Gradient: gy over the divisor, added up over the windows that an element is in.
    Raises: ValueError for sizes that do not fit; TypeError for integers.
    Example:
        >>> x = fastnn.arange(16.0).reshape((1, 4, 4))
        >>> fastnn.avg_pool2d(x, 2)
        tensor([[[ 2.5,  4.5],
                 [10.5, 12.5]]])
    """
    return _avg(
        2,
        input,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
        divisor_override,
    )


@gradient("avg_pool")
def _(node: Node, gy: Tensor) -> Gradients:
    kernel, stride, padding, _, adaptive, counted, divisor = node.attrs
    size = node.shape(0)[-len(kernel) :]
    attrs = (size, kernel, stride, padding, adaptive, counted, divisor)
    return (_avg_pool_backward(contiguous(gy), *attrs),)


@gradient("avg_pool_backward")
def _(node: Node, g: Tensor) -> Gradients:
    size, kernel, stride, padding, adaptive, counted, divisor = node.attrs
    # ceil or not: as many windows as gy has
    got = node.shape(0)[-len(kernel) :]
    ceil = not adaptive and any(
        (n + 2 * p - k) // s + 1 != m
        for n, p, k, s, m in zip(size, padding, kernel, stride, got, strict=True)
    )
    attrs = (kernel, stride, padding, ceil, adaptive, counted, divisor)
    return (_avg_pool(contiguous(g), *attrs),)


# ---- adaptive -----------------------------------------------------------------------------


def _output_size(name: str, value: Any, x: Tensor, dims: int) -> tuple[int, ...]:
    """output_size for each dimension, None being x's."""
    several = value if isinstance(value, (tuple, list)) else (value,) * dims
    if len(several) != dims:
        raise ValueError(
            f"{name}: expected output_size for {dims} dimensions, got {tuple(several)}"
        )
    return tuple(
        n if v is None else whole(name, "output_size", v)
        for v, n in zip(several, x.shape[-dims:], strict=True)
    )


def _adaptive_avg(dims: int, input: Tensor, output_size: Any) -> Tensor:
    name = f"adaptive_avg_pool{dims}d"
    x = of_planes(name, input, dims)
    out = _output_size(name, output_size, x, dims)
    if out == (1,) * dims and all(x.shape[-dims:]):
        return _of_whole_planes(x, dims)
    y: Tensor = _avg_pool(x, out, (), (), False, True, True, 0)
    return y


def _adaptive_max(
    dims: int, input: Tensor, output_size: Any, return_indices: bool
) -> Any:
    name = f"adaptive_max_pool{dims}d"
    x = of_planes(name, input, dims)
    out = _output_size(name, output_size, x, dims)
    if not return_indices and not _differentiates(x):
        return _max_pool_values(x, out, (), (), (), False, True)
    y, tap = _max_pool(x, out, (), (), (), False, True)
    if not return_indices:
        return y
    return y, _max_pool_index(tap, x.shape[-dims:], out, (), (), (), True)


@public()
def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """Averages of output_size windows that cover the last dimension.

    Parameters: input : float Tensor (n, c, l) or (c, l). output_size : int, or (int,).
    Returns: (n, c, output_size) or (c, output_size); fresh. The rest as in
        adaptive_avg_pool2d.
    Example:
        >>> fastnn.adaptive_avg_pool1d(fastnn.tensor([[1.0, 5.0, 2.0]]), 2)
        tensor([[3. , 3.5]])
    """
    return _adaptive_avg(1, input, output_size)


@public()
def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Averages of as many windows as output_size says, over the last two dimensions.

    Window i of m over n elements is from floor(i n / m) to ceil((i + 1) n / m).

    Parameters:
        input : float Tensor (n, c, h, w) or (c, h, w); n may be 0.
        output_size : int or (h, w); None keeps the input's. 1 averages whole planes.
    Returns: (n, c, *output_size) or (c, *output_size); fresh.
    Gradient: gy over the size of the window, added up over the windows.
    Raises: ValueError for empty planes and sizes below 0; TypeError for integers.
    Example:
        >>> fastnn.adaptive_avg_pool2d(fastnn.arange(6.0).reshape((1, 2, 3)), 1)
        tensor([[[2.5]]])
    """
    return _adaptive_avg(2, input, output_size)


@public()
def adaptive_max_pool1d(
    input: Tensor, output_size: Any, return_indices: bool = False
) -> Any:
    """The largest elements of output_size windows that cover the last dimension.

    As adaptive_max_pool2d, for (n, c, l) or (c, l).

    Example:
        >>> fastnn.adaptive_max_pool1d(fastnn.tensor([[1.0, 5.0, 2.0]]), 2)
        tensor([[5., 5.]])
    """
    return _adaptive_max(1, input, output_size, return_indices)


@public()
def adaptive_max_pool2d(
    input: Tensor, output_size: Any, return_indices: bool = False
) -> Any:
    """The largest elements of as many windows as output_size says, over two dimensions.

    Windows are those of adaptive_avg_pool2d, indices and gradient those of max_pool2d.

    Example:
        >>> fastnn.adaptive_max_pool2d(fastnn.arange(6.0).reshape((1, 2, 3)), (1, None))
        tensor([[[3., 4., 5.]]])
    """
    return _adaptive_max(2, input, output_size, return_indices)
