"""Layers that slide a kernel over sequences and images, and their transposes."""

from __future__ import annotations

import math
from typing import Any

import fastnn
from fastnn._core import Tensor
from fastnn.nn import _checks as checks
from fastnn.nn import functional as F
from fastnn.nn import init
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter
from fastnn.ops._checks import each
from fastnn.ops.convolution import causal_conv1d, padding_of

_MODES = ("zeros", "reflect", "replicate", "circular")


class _Convolution(Module):
    """What the four layers share: arguments, parameters, their first values. Sizes are an
    int, or one for each dimension of the image."""

    weight: Parameter
    bias: Parameter | None  # (out_channels,)
    kernel_size: Any  # tuples of one number a dimension of the image
    stride: Any
    padding: Any  # or a word
    dilation: Any
    _dims: int
    _transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        name, dims = type(self).__name__, self._dims
        self.in_channels = checks.size(name, "in_channels", in_channels)
        self.out_channels = checks.size(name, "out_channels", out_channels)
        self.groups = checks.size(name, "groups", groups, 1)
        for what, n in (("in", in_channels), ("out", out_channels)):
            if n % groups:
                raise ValueError(
                    f"{name}: expected {what}_channels that groups={groups} divides, got "
                    f"{n}"
                )
        self.kernel_size = each(name, "kernel_size", kernel_size, dims, 1)
        self.stride = each(name, "stride", stride, dims, 1)
        self.dilation = each(name, "dilation", dilation, dims, 1)
        pads = padding_of(name, padding, self.kernel_size, self.stride, self.dilation)
        self.padding = padding if isinstance(padding, str) else tuple(pads[::2])
        if padding_mode not in _MODES[: 1 if self._transposed else None]:
            raise ValueError(
                f"{name}: expected padding_mode out of {_MODES}, got {padding_mode!r}"
            )
        self.padding_mode = padding_mode
        self._around = [p for d in range(dims)[::-1] for p in pads[2 * d : 2 * d + 2]]
        first, last = self.out_channels, self.in_channels
        if self._transposed:
            first, last = last, first
        like = {"device": device, "dtype": checks.floating(name, dtype)}
        shape = (first, last // self.groups, *self.kernel_size)
        self.weight = Parameter(fastnn.empty(shape, **like))
        self.bias = Parameter(fastnn.empty(out_channels, **like)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        fan = math.prod(self.weight.shape[1:])
        bound = 1 / math.sqrt(fan) if fan else 0.0
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def _padded(self, input: Tensor) -> tuple[Tensor, Any]:
        """The input with what is not zeros around it, and the padding that is left."""
        if self.padding_mode == "zeros" or not any(self._around):
            return input, self.padding
        return F.pad(input, self._around, mode=self.padding_mode), 0

    def extra_repr(self) -> str:
        """The arguments of the layer; those at their defaults are left out."""
        words = [f"{self.in_channels}, {self.out_channels}"]
        words += [f"kernel_size={self.kernel_size}", f"stride={self.stride}"]
        zeros, ones = (0,) * self._dims, (1,) * self._dims
        for name, usual in (
            ("padding", zeros),
            ("dilation", ones),
            ("output_padding", zeros),
            ("groups", 1),
        ):
            value = getattr(self, name, usual)
            if value != usual:
                words.append(f"{name}={value}")
        if self.bias is None:
            words.append("bias=False")
        if self.padding_mode != "zeros":
            words.append(f"padding_mode={self.padding_mode}")
        return ", ".join(words)


class Conv1d(_Convolution):
    """A kernel slides along sequences: y_o = b_o + Σ_c w_oc ⋆ x_c.

    Parameters, but for ints where Conv2d has pairs: as of Conv2d.

    Weight (out_channels, in_channels / groups, kernel_size), bias (out_channels,).

    Source: Waibel, Hanazawa, Hinton, Shikano, Lang, "Phoneme recognition using time-delay
        neural networks", 1989.

    Example:
        >>> import fastnn
        >>> layer = fastnn.nn.Conv1d(4, 8, kernel_size=3, padding=1)
        >>> tuple(layer(fastnn.ones(2, 4, 10)).shape)
        (2, 8, 10)
    """

    _dims = 1

    def forward(self, input: Tensor) -> Tensor:
        """(n, in_channels, length) to (n, out_channels, floor((length + 2 P - D (F - 1) -
        1) / S) + 1); the batch may be missing."""
        x, padding = self._padded(input)
        return F.conv1d(
            x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )


class CausalConv1d(Conv1d):
    """Conv1d of stride 1 that sees no future: y at t reads x at t, t - D, ... t - D (F -
    1), with zeros before the beginning. The length stays.

    Parameters: as of Conv1d, without stride, padding and padding_mode.

    forward(input) takes whole sequences, step(x, state) one step; both give the same bits.

    Source: van den Oord et al., "WaveNet: a generative model for raw audio", 2016.

    Example:
        >>> import fastnn
        >>> layer = fastnn.nn.CausalConv1d(2, 4, kernel_size=3, dilation=2)
        >>> x = fastnn.ones(1, 2, 5)
        >>> y, state = layer(x), None
        >>> for t in range(5):
        ...     now, state = layer.step(x[:, :, t], state)
        >>> tuple(y.shape), (now == y[:, :, 4]).all().item()
        ((1, 4, 5), True)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            dilation=dilation,
            groups=groups,
            bias=bias,
            device=device,
            dtype=dtype,
        )

    @property
    def memory(self) -> int:
        """Steps before the one at hand that a result depends on."""
        return int(self.dilation[0] * (self.kernel_size[0] - 1))

    def forward(self, input: Tensor) -> Tensor:
        """(n, in_channels, length) to (n, out_channels, length); the batch may be missing."""
        return causal_conv1d(
            input, self.weight, self.bias, self.dilation[0], self.groups
        )

    def step(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One step, for what arrives bit by bit: step after step gives the bits of the
        whole sequence.

        Parameters:
            x : (batch, in_channels) or (in_channels,).
            state : what the step before has returned, the last inputs (batch, in_channels,
                dilation (kernel_size - 1)), which fastnn.save keeps; None: zeros.

        Returns: (output, state): (batch, out_channels), without the batch where x has none.
        """
        if not isinstance(x, Tensor) or x.ndim not in (1, 2):
            got = x.shape if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(
                f"CausalConv1d.step: expected x of 1 or 2 dimensions, got {got}"
            )
        if x.shape[-1] != self.in_channels:
            raise ValueError(
                f"CausalConv1d.step: expected x with {self.in_channels} channels (last "
                f"dimension), got shape {x.shape}"
            )
        shape = (*x.shape, self.memory)
        if state is None:
            state = fastnn.zeros(shape, dtype=x.dtype)
        elif not isinstance(state, Tensor) or state.shape != shape:
            got = state.shape if isinstance(state, Tensor) else type(state).__name__
            raise ValueError(
                f"CausalConv1d.step: expected state of shape {shape}, got {got}"
            )
        window = fastnn.cat([state, x.unsqueeze(-1)], -1)
        y = F.conv1d(window, self.weight, self.bias, 1, 0, self.dilation, self.groups)
        return y.squeeze(-1), window.narrow(-1, 1, self.memory).clone()


class Conv2d(_Convolution):
    """A kernel slides over images: y_o = b_o + Σ_c w_oc ⋆ x_c.

    Parameters:
        in_channels, out_channels : int: sizes of dimension 1 of input and result.
        kernel_size : int or (height, width).
        stride : int or (height, width): how far the kernel moves.
        padding : int or (height, width): what is added on both sides; "valid", nothing;
            "same", as much as keeps the size (stride 1).
        dilation : int or (height, width): distance of a kernel's neighbours in the input.
        groups : int: channels are cut into so many parts that do not see each other;
            in_channels of them make a depthwise convolution.
        bias : bool: whether b is there.
        padding_mode : "zeros", "reflect", "replicate" or "circular".
        device : "cpu" or None.
        dtype : of the parameters; None is float32.

    Weight (out_channels, in_channels / groups, kh, kw) and bias (out_channels,) start
    uniform in ±1/√(in_channels / groups · kh · kw), as in PyTorch.

    Raises: TypeError, ValueError for arguments out of range.

    Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document
        recognition", 1998, section II.

    Example:
        >>> import fastnn
        >>> layer = fastnn.nn.Conv2d(3, 8, kernel_size=3, stride=2, padding=1)
        >>> tuple(layer(fastnn.ones(2, 3, 32, 32)).shape)
        (2, 8, 16, 16)
    """

    _dims = 2

    def forward(self, input: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, out_channels, oh, ow), each floor((N + 2 P - D (F -
        1) - 1) / S) + 1; the batch may be missing."""
        x, padding = self._padded(input)
        return F.conv2d(
            x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )


class _Transposed(_Convolution):
    output_padding: Any
    _transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups,
            bias, padding_mode, device, dtype,
        )  # fmt: skip
        self.output_padding = each(
            type(self).__name__, "output_padding", output_padding, self._dims, 0
        )

    def _extra(self, input: Tensor, output_size: Any) -> Any:
        """The output padding that leads to output_size."""
        if output_size is None:
            return self.output_padding
        name, dims = type(self).__name__, self._dims
        wanted = [*output_size][-dims:]
        least = [
            (n - 1) * s - 2 * int(p) + d * (k - 1) + 1
            for n, s, p, d, k in zip(
                input.shape[-dims:], self.stride, self.padding, self.dilation,
                self.kernel_size, strict=True,
            )
        ]  # fmt: skip
        for size, low, s in zip(wanted, least, self.stride, strict=True):
            if not low <= size < low + s:
                raise ValueError(
                    f"{name}: expected output_size from {tuple(least)} to "
                    f"{tuple(v + t - 1 for v, t in zip(least, self.stride, strict=True))}, "
                    f"got {tuple(wanted)}"
                )
        return tuple(size - low for size, low in zip(wanted, least, strict=True))


class ConvTranspose1d(_Transposed):
    """The transpose of Conv1d: what that gathers, this scatters.

    Parameters, but for ints where ConvTranspose2d has pairs: as of ConvTranspose2d.

    Weight (in_channels, out_channels / groups, kernel_size), bias (out_channels,).

    Example:
        >>> import fastnn
        >>> layer = fastnn.nn.ConvTranspose1d(8, 4, kernel_size=2, stride=2)
        >>> tuple(layer(fastnn.ones(2, 8, 10)).shape)
        (2, 4, 20)
    """

    _dims = 1

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        """(n, in_channels, length) to (n, out_channels, (length - 1) S - 2 P + D (F - 1) +
        output_padding + 1), or output_size; the batch may be missing."""
        return F.conv_transpose1d(
            input, self.weight, self.bias, self.stride, self.padding,
            self._extra(input, output_size), self.groups, self.dilation,
        )  # fmt: skip


class ConvTranspose2d(_Transposed):
    """The transpose of Conv2d: what that gathers, this scatters.

    Parameters:
        in_channels, out_channels : int: sizes of dimension 1 of input and result.
        kernel_size, stride, padding, dilation : of the convolution that this is the
            transpose of.
        output_padding : int or (height, width), below stride or dilation: which of the
            sizes that the convolution takes to the input's is meant.
        groups, bias, device, dtype : as of Conv2d. padding_mode : "zeros".

    Weight (in_channels, out_channels / groups, kh, kw) and bias (out_channels,).

    Raises: TypeError, ValueError for arguments out of range.

    Source: Zeiler, Krishnan, Taylor, Fergus, "Deconvolutional networks", 2010.

    Example:
        >>> import fastnn
        >>> layer = fastnn.nn.ConvTranspose2d(8, 3, kernel_size=2, stride=2)
        >>> tuple(layer(fastnn.ones(2, 8, 16, 16)).shape)
        (2, 3, 32, 32)
    """

    _dims = 2

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        """(n, in_channels, h, w) to (n, out_channels, oh, ow), each (N - 1) S - 2 P + D (F -
        1) + output_padding + 1, or output_size; the batch may be missing."""
        return F.conv_transpose2d(
            input, self.weight, self.bias, self.stride, self.padding,
            self._extra(input, output_size), self.groups, self.dilation,
        )  # fmt: skip
