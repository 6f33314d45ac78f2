"""Layers that bring what flows through a network back to mean 0 and variance 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import fastnn
from fastnn._core import Tensor
from fastnn.nn import _checks as checks
from fastnn.nn import functional as F
from fastnn.nn import init
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter
from fastnn.ops.normalization import normalize_batch


class _BatchNorm(Module):
    """What BatchNorm1d and BatchNorm2d are but for their inputs' dimensions."""

    weight: Parameter | None  # (num_features,)
    bias: Parameter | None  # (num_features,)
    running_mean: Tensor | None  # (num_features,)
    running_var: Tensor | None  # (num_features,)
    num_batches_tracked: Tensor | None  # int64 ()
    _dimensions: tuple[int, ...]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.num_features = checks.size(name, "num_features", num_features)
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        n, like = (
            self.num_features,
            {"device": device, "dtype": checks.floating(name, dtype)},
        )
        self.weight = Parameter(fastnn.empty(n, **like)) if affine else None
        self.bias = Parameter(fastnn.empty(n, **like)) if affine and bias else None
        mean = variance = batches = None
        if track_running_stats:
            mean, variance = fastnn.zeros(n, **like), fastnn.ones(n, **like)
            batches = fastnn.zeros((), device=device, dtype=fastnn.int64)
        self.register_buffer("running_mean", mean)
        self.register_buffer("running_var", variance)
        self.register_buffer("num_batches_tracked", batches)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget all batches: mean 0, variance 1, none counted."""
        if self.running_mean is not None:
            self.running_mean.zero_()
        if self.running_var is not None:
            self.running_var.fill_(1)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, and no batches seen."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """(n, num_features, ...) to the same shape."""
        shape = input.shape
        if len(shape) not in self._dimensions or shape[1] != self.num_features:
            wanted = " or ".join(f"{n} dimensions" for n in self._dimensions)
            raise ValueError(
                f"{type(self).__name__}: expected input of {wanted} with "
                f"{self.num_features} channels (dimension 1), got shape {shape}"
            )
        mean, variance = self.running_mean, self.running_var
        training = self.training or (mean is None and variance is None)
        batches = self.num_batches_tracked
        if self.training and not self.track_running_stats:
            mean = variance = batches = None
        momentum = self.momentum
        if momentum is None and batches is None:
            momentum = 0.0  # as in PyTorch: nothing is counted, and nothing moves
        return normalize_batch(
            input,
            mean,
            variance,
            self.weight,
            self.bias,
            training,
            momentum,
            self.eps,
            batches if self.training else None,
        )

    def extra_repr(self) -> str:
        """The arguments of the layer."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """(x - mean) / sqrt(variance + eps) weight + bias for each channel of (n, c), (n, c, l).

    In training mean and variance are the batch's; in evaluation they are running_mean and
    running_var, which training moves by momentum towards the batch's mean and its unbiased
    variance.

    Parameters:
        num_features : int: channels c.
        eps : float: added to the variance.
        momentum : float: share of a batch in the running statistics; None: these are means
            over all batches.
        affine : bool: whether weight, from 1, is there.
        bias : bool: whether bias, from 0, is there too.
        track_running_stats : bool: False: evaluation uses the batch's statistics too.
        device : "cpu" or None.
        dtype : of parameters and statistics; None is float32.

    Raises: ValueError for an input of other dimensions, and in training for one value per
        channel; TypeError, ValueError for num_features that is no size.

    Source: Ioffe, Szegedy, "Batch normalization", 2015.

    Example:
        >>> import fastnn
        >>> layer = fastnn.nn.BatchNorm1d(1, eps=0.0)
        >>> layer(fastnn.tensor([[1.0], [3.0]])).tolist()
        [[-1.0], [1.0]]
        >>> [round(x, 2) for x in (layer.running_mean.item(), layer.running_var.item())]
        [0.2, 1.1]
    """

    _dimensions = (2, 3)


class BatchNorm2d(_BatchNorm):
    """(x - mean) / sqrt(variance + eps) weight + bias for each channel of (n, c, h, w).

    Parameters, modes and errors: as BatchNorm1d.

    Source: Ioffe, Szegedy, "Batch normalization", 2015.

    Example:
        >>> import fastnn
        >>> fastnn.nn.BatchNorm2d(1, eps=0.0)(fastnn.tensor([[[[1.0, 3.0]]]])).tolist()
        [[[[-1.0, 1.0]]]]
    """

    _dimensions = (4,)


class LayerNorm(Module):
    """(x - mean) / sqrt(variance + eps) weight + bias over the last dimensions of a sample.

    Parameters:
        normalized_shape : int or sequence of int: sizes of these dimensions.
        eps : float: added to the variance.
        elementwise_affine : bool: whether weight, from 1, is there.
        bias : bool: whether bias, from 0, is there too.
        device : "cpu" or None.
        dtype : of the parameters; None is float32.

    Raises: TypeError, ValueError for sizes that are no integers, negative or none at all;
        ValueError for an input that ends otherwise.

    Source: Ba, Kiros, Hinton, "Layer normalization", 2016.

    Example:
        >>> import fastnn
        >>> fastnn.nn.LayerNorm(2, eps=0.0)(fastnn.tensor([[1.0, 3.0]])).tolist()
        [[-1.0, 1.0]]
    """

    weight: Parameter | None  # normalized_shape
    bias: Parameter | None  # normalized_shape

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        many = isinstance(normalized_shape, (tuple, list))
        given = tuple(normalized_shape) if many else (normalized_shape,)  # type: ignore[arg-type]
        self.normalized_shape = tuple(
            checks.size("LayerNorm", "normalized_shape", n) for n in given
        )
        if not self.normalized_shape:
            raise ValueError("LayerNorm: expected at least one size, got ()")
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        like = {"device": device, "dtype": checks.floating("LayerNorm", dtype)}
        shape = self.normalized_shape
        weighted, shifted = elementwise_affine, elementwise_affine and bias
        self.weight = Parameter(fastnn.empty(shape, **like)) if weighted else None
        self.bias = Parameter(fastnn.empty(shape, **like)) if shifted else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """(..., *normalized_shape) to the same shape."""
        return F.layer_norm(
            input, self.normalized_shape, self.weight, self.bias, self.eps
        )

    def extra_repr(self) -> str:
        """The arguments of the layer."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class GroupNorm(Module):
    """(x - mean) / sqrt(variance + eps) weight + bias over groups of channels of a sample.

    Parameters:
        num_groups : int that divides num_channels.
        num_channels : int: channels c of the input (n, c, ...).
        eps : float: added to the variance.
        affine : bool: whether weight, from 1 for each channel, is there.
        bias : bool: whether bias, from 0, is there too.
        device : "cpu" or None.
        dtype : of the parameters; None is float32.

    Raises: TypeError, ValueError for sizes that are no positive integers, or do not divide.

    Source: Wu, He, "Group normalization", 2018.

    Example:
        >>> import fastnn
        >>> x = fastnn.tensor([[1.0, 3.0, 5.0, 9.0]])
        >>> fastnn.nn.GroupNorm(2, 4, eps=0.0)(x).tolist()
        [[-1.0, 1.0, -1.0, 1.0]]
    """

    weight: Parameter | None  # (num_channels,)
    bias: Parameter | None  # (num_channels,)

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_groups = checks.size("GroupNorm", "num_groups", num_groups, 1)
        self.num_channels = checks.size("GroupNorm", "num_channels", num_channels)
        if self.num_channels % self.num_groups:
            raise ValueError(
                f"GroupNorm: expected num_channels that num_groups divides, got "
                f"{num_channels} and {num_groups}"
            )
        self.eps = eps
        self.affine = affine
        like = {"device": device, "dtype": checks.floating("GroupNorm", dtype)}
        n = self.num_channels
        self.weight = Parameter(fastnn.empty(n, **like)) if affine else None
        self.bias = Parameter(fastnn.empty(n, **like)) if affine and bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """(n, num_channels, ...) to the same shape."""
        if input.ndim < 2 or input.shape[1] != self.num_channels:
            raise ValueError(
                f"GroupNorm: expected input of shape (n, {self.num_channels}, ...), got "
                f"{input.shape}"
            )
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The arguments of the layer."""
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, "
            f"affine={self.affine}, bias={self.bias is not None}"
        )
