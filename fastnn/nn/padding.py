"""Margins around sequences and images; pad, for a network that is a list of layers."""

from __future__ import annotations

from typing import Any, ClassVar

from fastnn._core import Tensor
from fastnn.nn import _checks as checks
from fastnn.nn import functional as F
from fastnn.nn.module import Module


class _Pad(Module):
    """A layer with a width for each side of the last one or two dimensions."""

    dims: ClassVar[int]
    mode: ClassVar[str]

    def __init__(self, padding: Any) -> None:
        super().__init__()
        name, sides = type(self).__name__, 2 * self.dims
        if not isinstance(padding, tuple | list):
            padding = (padding,) * sides
        if len(padding) != sides:
            raise ValueError(
                f"{name}: expected padding as an int or {sides} of them, got {padding!r}"
            )
        self.padding = tuple(
            checks.size(name, "padding", v, least=-(2**61)) for v in padding
        )

    def forward(self, input: Tensor) -> Tensor:
        """(..., w) to (..., left + w + right), and in two dimensions h likewise."""
        self._expect(input)
        return F.pad(input, self.padding, self.mode)

    def _expect(self, input: Tensor) -> None:
        if isinstance(input, Tensor) and input.ndim not in (
            self.dims + 1,
            self.dims + 2,
        ):
            shape = ("c, l", "c, h, w")[self.dims - 1]
            raise ValueError(
                f"{type(self).__name__}: expected input of shape ({shape}) or "
                f"(n, {shape}), got {input.shape}"
            )

    def extra_repr(self) -> str:
        """The widths."""
        return f"{self.padding}"


class _ConstantPad(_Pad):
    """A layer whose margin has one value; of any number of dimensions in front."""

    mode = "constant"

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        """(..., w) to (..., left + w + right), and in two dimensions h likewise."""
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        """The widths and the value."""
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """A margin of one value along the last dimension.

    Parameters:
        padding : int or (left, right); below 0 cuts off.
        value : number.

    Raises: TypeError, ValueError for what are no widths.

    Example:
        >>> import fastnn
        >>> fastnn.nn.ConstantPad1d((1, 2), 9.0)(fastnn.ones(1, 2)).tolist()
        [[9.0, 1.0, 1.0, 9.0, 9.0]]
    """

    dims = 1


class ConstantPad2d(_ConstantPad):
    """A margin of one value around the last two dimensions.

    Parameters:
        padding : int or (left, right, top, bottom); below 0 cuts off.
        value : number.

    Raises: TypeError, ValueError for what are no widths.

    Example:
        >>> import fastnn
        >>> fastnn.nn.ConstantPad2d((1, 0, 0, 1), 9.0)(fastnn.ones(1, 1, 1)).tolist()
        [[[9.0, 1.0], [9.0, 9.0]]]
    """

    dims = 2


class ZeroPad1d(_ConstantPad):
    """A margin of zeros along the last dimension.

    Parameters:
        padding : int or (left, right); below 0 cuts off.

    Raises: TypeError, ValueError for what are no widths.

    Example:
        >>> import fastnn
        >>> fastnn.nn.ZeroPad1d((1, 2))(fastnn.ones(1, 2)).tolist()
        [[0.0, 1.0, 1.0, 0.0, 0.0]]
    """

    dims = 1

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        """The widths."""
        return f"{self.padding}"


class ZeroPad2d(_ConstantPad):
    """A margin of zeros around the last two dimensions.

    Parameters:
        padding : int or (left, right, top, bottom); below 0 cuts off.

    Raises: TypeError, ValueError for what are no widths.

    Example:
        >>> import fastnn
        >>> tuple(fastnn.nn.ZeroPad2d(1)(fastnn.ones(1, 3, 8, 8)).shape)
        (1, 3, 10, 10)
    """

    dims = 2

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        """The widths."""
        return f"{self.padding}"


class ReflectionPad1d(_Pad):
    """A margin that mirrors the input at its ends; the ends are not repeated.

    Parameters:
        padding : int or (left, right), each less than the input is long.

    Raises: TypeError, ValueError for what are no widths, or in forward() too wide ones.

    Example:
        >>> import fastnn
        >>> fastnn.nn.ReflectionPad1d(1)(fastnn.tensor([[1.0, 2.0, 3.0]])).tolist()
        [[2.0, 1.0, 2.0, 3.0, 2.0]]
    """

    dims, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """A margin that mirrors the image at its edges; the edges are not repeated.

    Parameters:
        padding : int or (left, right, top, bottom), each less than the image's size.

    Raises: TypeError, ValueError for what are no widths, or in forward() too wide ones.

    Example:
        >>> import fastnn
        >>> tuple(fastnn.nn.ReflectionPad2d(2)(fastnn.ones(1, 3, 8, 8)).shape)
        (1, 3, 12, 12)
    """

    dims, mode = 2, "reflect"


class ReplicationPad1d(_Pad):
    """A margin that repeats the input's ends.

    Parameters:
        padding : int or (left, right).

    Raises: TypeError, ValueError for what are no widths.

    Example:
        >>> import fastnn
        >>> fastnn.nn.ReplicationPad1d((2, 0))(fastnn.tensor([[1.0, 2.0]])).tolist()
        [[1.0, 1.0, 1.0, 2.0]]
    """

    dims, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """A margin that repeats the image's edges.

    Parameters:
        padding : int or (left, right, top, bottom).

    Raises: TypeError, ValueError for what are no widths.

    Example:
        >>> import fastnn
        >>> tuple(fastnn.nn.ReplicationPad2d(2)(fastnn.ones(1, 3, 8, 8)).shape)
        (1, 3, 12, 12)
    """

    dims, mode = 2, "replicate"


class CircularPad1d(_Pad):
    """A margin that goes on at the other end.

    Parameters:
        padding : int or (left, right), each at most the input's length.

    Raises: TypeError, ValueError for what are no widths, or in forward() too wide ones.

    Example:
        >>> import fastnn
        >>> fastnn.nn.CircularPad1d(1)(fastnn.tensor([[1.0, 2.0, 3.0]])).tolist()
        [[3.0, 1.0, 2.0, 3.0, 1.0]]
    """

    dims, mode = 1, "circular"


class CircularPad2d(_Pad):
    """A margin that goes on at the other side.

    Parameters:
        padding : int or (left, right, top, bottom), each at most the image's size.

    Raises: TypeError, ValueError for what are no widths, or in forward() too wide ones.

    Example:
        >>> import fastnn
        >>> tuple(fastnn.nn.CircularPad2d(2)(fastnn.ones(1, 3, 8, 8)).shape)
        (1, 3, 12, 12)
    """

    dims, mode = 2, "circular"
