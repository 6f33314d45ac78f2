"""Pooling layers: largest elements and averages of windows.

All take (n, c, l) or (c, l) in one dimension, (n, c, h, w) or (c, h, w) in two, and have no
parameters. Sizes are an int, or one for each dimension.
"""

from __future__ import annotations

from typing import Any

from fastnn._core import Tensor
from fastnn.nn import functional as F
from fastnn.nn.module import Module


def sizes(layer: str, name: str, value: Any, least: int) -> Any:
    """value as it came, an int or a sequence of them, of at least `least`; TypeError or
    ValueError that names the layer if not."""
    for v in value if isinstance(value, tuple | list) else (value,):
        if isinstance(v, bool) or not hasattr(v, "__index__"):
            raise TypeError(
                f"{layer}: expected {name} as an int, or one for each dimension, got "
                f"{value!r}"
            )
        if v < least:
            raise ValueError(
                f"{layer}: expected {name} of at least {least}, got {value!r}"
            )
    return tuple(value) if isinstance(value, list) else value


class _MaxPool(Module):
    """A layer with the options of max_pool1d and max_pool2d."""

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.kernel_size = sizes(name, "kernel_size", kernel_size, 1)
        self.stride = (
            self.kernel_size if stride is None else sizes(name, "stride", stride, 1)
        )
        self.padding = sizes(name, "padding", padding, 0)
        self.dilation = sizes(name, "dilation", dilation, 1)
        self.return_indices = bool(return_indices)
        self.ceil_mode = bool(ceil_mode)

    def extra_repr(self) -> str:
        """The arguments of the layer."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, dilation={self.dilation}, "
            f"ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """The largest element of each window along the last dimension.

    Parameters:
        kernel_size : int: of the window.
        stride : int: from window to window; None is kernel_size.
        padding : int: places on both sides that do not count; at most half of kernel_size.
        dilation : int: from element to element of a window.
        return_indices : bool: whether forward() returns positions too.
        ceil_mode : bool: whether a last window may end beyond the input.

    Raises: TypeError, ValueError for what is no size; in forward(), ValueError where windows
        do not fit.

    Example:
        >>> import fastnn
        >>> layer = fastnn.nn.MaxPool1d(2)
        >>> layer(fastnn.tensor([[1.0, 5.0, 2.0, 4.0]])).tolist()
        [[5.0, 4.0]]
    """

    def forward(self, input: Tensor) -> Any:
        """(n, c, l) to (n, c, l'); (c, l) likewise."""
        return F.max_pool1d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.return_indices,
        )


class MaxPool2d(_MaxPool):
    """The largest element of each window over the last two dimensions.

    Parameters:
        kernel_size : int or (h, w): of the window.
        stride : int or (h, w): from window to window; None is kernel_size.
        padding : int or (h, w): places on both sides that do not count; at most half of
            kernel_size.
        dilation : int or (h, w): from element to element of a window.
        return_indices : bool: whether forward() returns positions too.
        ceil_mode : bool: whether a last window may end beyond the input.

    Raises: TypeError, ValueError for what is no size; in forward(), ValueError where windows
        do not fit.

    Example:
        >>> import fastnn
        >>> layer = fastnn.nn.MaxPool2d(3, stride=2, padding=1)
        >>> tuple(layer(fastnn.ones(8, 64, 112, 112)).shape)
        (8, 64, 56, 56)
    """

    def forward(self, input: Tensor) -> Any:
        """(n, c, h, w) to (n, c, h', w'); (c, h, w) likewise."""
        return F.max_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.return_indices,
        )


class _AvgPool(Module):
    """A layer with the options that avg_pool1d and avg_pool2d share."""

    tuples = False  # whether sizes become tuples, as PyTorch's do in one dimension

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size = self._size("kernel_size", kernel_size, 1)
        self.stride = (
            self.kernel_size if stride is None else self._size("stride", stride, 1)
        )
        self.padding = self._size("padding", padding, 0)
        self.ceil_mode = bool(ceil_mode)
        self.count_include_pad = bool(count_include_pad)

    def _size(self, name: str, value: Any, least: int) -> Any:
        size = sizes(type(self).__name__, name, value, least)
        return size if isinstance(size, tuple) or not self.tuples else (size,)

    def extra_repr(self) -> str:
        """The sizes of the layer."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}"
        )


class AvgPool1d(_AvgPool):
    """The average of each window along the last dimension.

    Parameters:
        kernel_size : int: of the window.
        stride : int: from window to window; None is kernel_size.
        padding : int: zeros on both sides; at most half of kernel_size.
        ceil_mode : bool: whether a last window may end beyond the input.
        count_include_pad : bool: whether the zeros count.

    Raises: TypeError, ValueError for what is no size; in forward(), ValueError where windows
        do not fit.

    Example:
        >>> import fastnn
        >>> layer = fastnn.nn.AvgPool1d(2)
        >>> layer(fastnn.tensor([[1.0, 5.0, 2.0, 4.0]])).tolist()
        [[3.0, 3.0]]
    """

    tuples = True

    def forward(self, input: Tensor) -> Tensor:
        """(n, c, l) to (n, c, l'); (c, l) likewise."""
        return F.avg_pool1d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
        )


class AvgPool2d(_AvgPool):
    """The average of each window over the last two dimensions.

    Parameters:
        kernel_size : int or (h, w): of the window.
        stride : int or (h, w): from window to window; None is kernel_size.
        padding : int or (h, w): zeros on both sides; at most half of kernel_size.
        ceil_mode : bool: whether a last window may end beyond the input.
        count_include_pad : bool: whether the zeros count.
        divisor_override : int: what every sum is divided by; None is the window's size.

    Raises: TypeError, ValueError for what is no size; in forward(), ValueError where windows
        do not fit.

    Example:
        >>> import fastnn
        >>> tuple(fastnn.nn.AvgPool2d(2)(fastnn.ones(1, 3, 8, 8)).shape)
        (1, 3, 4, 4)
    """

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c, h', w'); (c, h, w) likewise."""
        return F.avg_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )


class _Adaptive(Module):
    """A layer that is told how many windows there are."""

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        several = (
            output_size if isinstance(output_size, tuple | list) else (output_size,)
        )
        for v in several:
            if v is not None:
                sizes(type(self).__name__, "output_size", v, 0)
        self.output_size = (
            tuple(output_size) if isinstance(output_size, list) else output_size
        )

    def extra_repr(self) -> str:
        """How many windows there are."""
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_Adaptive):
    """Averages of output_size windows that cover the last dimension.

    Parameters:
        output_size : int: how many; None is as many as there are elements.

    Raises: TypeError, ValueError for what is no size.

    Example:
        >>> import fastnn
        >>> fastnn.nn.AdaptiveAvgPool1d(1)(fastnn.tensor([[1.0, 2.0, 6.0]])).tolist()
        [[3.0]]
    """

    def forward(self, input: Tensor) -> Tensor:
        """(n, c, l) to (n, c, output_size); (c, l) likewise."""
        return F.adaptive_avg_pool1d(input, self.output_size)


class AdaptiveAvgPool2d(_Adaptive):
    """Averages of windows that cover the last two dimensions; 1 averages whole planes.

    Parameters:
        output_size : int or (h, w): how many; None is as many as there are elements.

    Raises: TypeError, ValueError for what is no size.

    Source: He, Zhang, Ren, Sun, "Spatial pyramid pooling", arXiv:1406.4729, section 2.

    Example:
        >>> import fastnn
        >>> tuple(fastnn.nn.AdaptiveAvgPool2d(1)(fastnn.ones(8, 512, 7, 7)).shape)
        (8, 512, 1, 1)
    """

    def forward(self, input: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c, *output_size); (c, h, w) likewise."""
        return F.adaptive_avg_pool2d(input, self.output_size)


class AdaptiveMaxPool1d(_Adaptive):
    """The largest elements of output_size windows that cover the last dimension.

    Parameters:
        output_size : int: how many; None is as many as there are elements.
        return_indices : bool: whether forward() returns positions too.

    Raises: TypeError, ValueError for what is no size.

    Example:
        >>> import fastnn
        >>> fastnn.nn.AdaptiveMaxPool1d(1)(fastnn.tensor([[1.0, 2.0, 6.0]])).tolist()
        [[6.0]]
    """

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = bool(return_indices)

    def forward(self, input: Tensor) -> Any:
        """(n, c, l) to (n, c, output_size); (c, l) likewise."""
        return F.adaptive_max_pool1d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool2d(_Adaptive):
    """The largest elements of windows that cover the last two dimensions.

    Parameters:
        output_size : int or (h, w): how many; None is as many as there are elements.
        return_indices : bool: whether forward() returns positions too.

    Raises: TypeError, ValueError for what is no size.

    Example:
        >>> import fastnn
        >>> layer = fastnn.nn.AdaptiveMaxPool2d((5, None))
        >>> tuple(layer(fastnn.ones(1, 8, 10, 9)).shape)
        (1, 8, 5, 9)
    """

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = bool(return_indices)

    def forward(self, input: Tensor) -> Any:
        """(n, c, h, w) to (n, c, *output_size); (c, h, w) likewise."""
        return F.adaptive_max_pool2d(input, self.output_size, self.return_indices)
