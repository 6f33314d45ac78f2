"""Patches of images as layers: Unfold takes them apart, Fold adds them up."""

from __future__ import annotations

from typing import Any

from fastnn._core import Tensor
from fastnn.nn import functional as F
from fastnn.nn.module import Module
from fastnn.nn.pooling import sizes


class Unfold(Module):
    """The patches that a window over the image sees, one column for each of its places.

    Parameters:
        kernel_size, dilation, padding, stride : int or (h, w), as of a convolution.

    Raises: TypeError, ValueError for what is no size; in forward(), ValueError where windows
        do not fit.

    Example:
        >>> import fastnn
        >>> tuple(fastnn.nn.Unfold(3, padding=1)(fastnn.ones(2, 4, 8, 8)).shape)
        (2, 36, 64)
    """

    def __init__(
        self, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
    ) -> None:
        super().__init__()
        self.kernel_size = sizes("Unfold", "kernel_size", kernel_size, 1)
        self.dilation = sizes("Unfold", "dilation", dilation, 1)
        self.padding = sizes("Unfold", "padding", padding, 0)
        self.stride = sizes("Unfold", "stride", stride, 1)

    def forward(self, input: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c kh kw, l); (c, h, w) likewise."""
        return F.unfold(
            input, self.kernel_size, self.dilation, self.padding, self.stride
        )

    def extra_repr(self) -> str:
        """The arguments of the layer."""
        return (
            f"kernel_size={self.kernel_size}, dilation={self.dilation}, "
            f"padding={self.padding}, stride={self.stride}"
        )


class Fold(Module):
    """The image that patches make where they are added up.

    Parameters:
        output_size : int or (h, w), of the image.
        kernel_size, dilation, padding, stride : int or (h, w), as in Unfold.

    Raises: TypeError, ValueError for what is no size; in forward(), ValueError for patches
        that do not fit.

    Example:
        >>> import fastnn
        >>> layer = fastnn.nn.Fold(8, 3, padding=1)
        >>> tuple(layer(fastnn.ones(2, 36, 64)).shape)
        (2, 4, 8, 8)
    """

    def __init__(
        self,
        output_size: Any,
        kernel_size: Any,
        dilation: Any = 1,
        padding: Any = 0,
        stride: Any = 1,
    ) -> None:
        super().__init__()
        self.output_size = sizes("Fold", "output_size", output_size, 1)
        self.kernel_size = sizes("Fold", "kernel_size", kernel_size, 1)
        self.dilation = sizes("Fold", "dilation", dilation, 1)
        self.padding = sizes("Fold", "padding", padding, 0)
        self.stride = sizes("Fold", "stride", stride, 1)

    def forward(self, input: Tensor) -> Tensor:
        """(n, c kh kw, l) to (n, c, h, w); (c kh kw, l) likewise."""
        return F.fold(
            input,
            self.output_size,
            self.kernel_size,
            self.dilation,
            self.padding,
            self.stride,
        )

    def extra_repr(self) -> str:
        """The arguments of the layer."""
        return (
            f"output_size={self.output_size}, kernel_size={self.kernel_size}, "
            f"dilation={self.dilation}, padding={self.padding}, stride={self.stride}"
        )
