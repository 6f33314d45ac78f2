"""Batch, layer, group and instance norm: fused forward and backward.

Means and variances are summed in float64, and what y is made of is x - mean, so that a
large mean costs no digits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn.ops._checks import expect_tensors, number
from fastnn.ops._registry import (
    Gradients,
    Node,
    Tensor,
    gradient,
    no_gradient,
    op,
    public,
    reference,
    saved_for,
    wanted,
)
from fastnn.ops.views import reshape

_batch_norm, _batch_norm_backward = op("batch_norm"), op("batch_norm_backward")
_layer_norm, _layer_norm_backward = op("layer_norm"), op("layer_norm_backward")
_group_norm, _group_norm_backward = op("group_norm"), op("group_norm_backward")
_scale_shift = op("scale_shift")
_relu, _relu_backward = op("relu"), op("relu_backward")
_add, _sub, _mul, _div, _neg = op("add"), op("sub"), op("mul"), op("div"), op("neg")
_sqrt, _sum, _mean = op("sqrt"), op("sum"), op("mean")

BATCHES = -1.0  # momentum that stands for the mean over all batches


@public()
def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(variance + eps) weight + bias, for each channel.

    Parameters:
        input : float Tensor (n, c) or (n, c, ...).
        running_mean, running_var : (c,) or None. In training they move by momentum towards
            the batch's mean and unbiased variance; in evaluation they are what is used.
        weight, bias : (c,) or None.
        training : bool: use the batch's own statistics.
        momentum : share of the batch in the running statistics. eps : >= 0.
    Returns: input's shape; fresh.
    Gradient: rstd weight (gy - mean gy - xhat mean(gy xhat)), xhat = (x - mean) rstd;
        weight's sum gy xhat, bias's sum gy.
    Raises: ValueError for one value per channel in training, for evaluation without
        running statistics, for shapes that do not fit.
    Source: Ioffe, Szegedy, arXiv:1502.03167.
    Example:
        >>> x = fastnn.tensor([[1.0], [3.0]])
        >>> fastnn.batch_norm(x, None, None, training=True, eps=0.0).tolist()
        [[-1.0], [1.0]]
    """
    return normalize_batch(
        input, running_mean, running_var, weight, bias, training, momentum, eps
    )


def normalize_batch(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float | None,
    eps: float,
    batches: Tensor | None = None,
) -> Tensor:
    """batch_norm that counts batches (int64 Tensor (), or None) in training; for momentum
    None the running statistics are means over all of them."""
    if not isinstance(input, Tensor):
        expect_tensors("batch_norm", input=input)
    eps = number("batch_norm", "eps", eps)
    if training:
        share = (
            BATCHES if momentum is None else number("batch_norm", "momentum", momentum)
        )
        if momentum is not None and not 0 <= share <= 1:
            raise ValueError(
                f"batch_norm: expected momentum from 0 to 1, got {momentum}"
            )
        y: Tensor = _batch_norm(
            input, weight, bias, None, running_mean, running_var, batches, eps, share
        )[0]
        return y
    if running_mean is None or running_var is None:
        raise ValueError(
            "batch_norm: expected running_mean and running_var in evaluation, got None "
            "(hint: training=True)"
        )
    expect_tensors("batch_norm", running_mean=running_mean, running_var=running_var)
    scale = _sqrt(_add(running_var, eps))
    scale = _div(1.0 if weight is None else weight, scale)
    shift = _mul(running_mean, scale)
    shift = _neg(shift) if bias is None else _sub(bias, shift)
    shifted: Tensor = _scale_shift(input, scale, shift)
    return shifted


@public()
def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(variance + eps) weight + bias over the last dimensions.

    Parameters:
        input : float Tensor (..., *normalized_shape).
        normalized_shape : sizes of the dimensions that are normalised together.
        weight, bias : normalized_shape, or None. eps : >= 0.
    Returns: input's shape; fresh.
    Gradient: rstd (g - mean g - xhat mean(g xhat)), g = gy weight; weight's sum gy xhat,
        bias's sum gy.
    Raises: ValueError for shapes that do not fit.
    Source: Ba, Kiros, Hinton, arXiv:1607.06450.
    Example:
        >>> fastnn.layer_norm(fastnn.tensor([1.0, 3.0]), (2,), eps=0.0).tolist()
        [-1.0, 1.0]
    """
    expect_tensors("layer_norm", input=input)
    shape = (
        (normalized_shape,)
        if isinstance(normalized_shape, int)
        else tuple(normalized_shape)
    )
    dims = len(shape)
    if dims == 0 or input.shape[-dims:] != shape:
        raise ValueError(
            f"layer_norm: expected input of shape (..., "
            f"{', '.join(map(str, shape))}), got {input.shape}"
        )
    y: Tensor = _layer_norm(
        input, weight, bias, dims, number("layer_norm", "eps", eps)
    )[0]
    return y


@public()
def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(variance + eps) weight + bias over groups of channels.

    Parameters:
        input : float Tensor (n, c, ...). num_groups : int that divides c.
        weight, bias : (c,) or None. eps : >= 0.
    Returns: input's shape; fresh.
    Gradient: as layer_norm, over each group of each sample.
    Raises: ValueError for channels that the groups do not divide, for one value per group,
        for shapes that do not fit.
    Source: Wu, He, arXiv:1803.08494.
    Example:
        >>> x = fastnn.tensor([[1.0, 3.0, 5.0, 9.0]])
        >>> fastnn.group_norm(x, 2, eps=0.0).tolist()
        [[-1.0, 1.0, -1.0, 1.0]]
    """
    expect_tensors("group_norm", input=input)
    if input.ndim > 1 and num_groups and input.numel() == num_groups:
        raise ValueError(
            "group_norm: expected more than 1 value per group, got input of shape "
            f"{input.shape} and {num_groups} groups"
        )
    y: Tensor = _group_norm(
        input, weight, bias, num_groups, number("group_norm", "eps", eps)
    )[0]
    return y


@public(composite=True)
def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(variance + eps) weight + bias for each channel of each sample.

    Parameters:
        input : float Tensor (n, c, ...), with at least one dimension behind.
        running_mean, running_var : (c,) or None; in training they move by momentum towards
            the mean over the samples of their statistics.
        weight, bias : (c,) or None.
        use_input_stats : bool: False uses the running statistics. eps : >= 0.
    Returns: input's shape; fresh.
    Gradient: as group_norm with a group for every channel.
    Raises: ValueError for one value per channel, for shapes that do not fit.
    Source: Ulyanov, Vedaldi, Lempitsky, arXiv:1607.08022.
    Example:
        >>> x = fastnn.tensor([[[1.0, 3.0], [5.0, 9.0]]])
        >>> fastnn.instance_norm(x, eps=0.0).tolist()
        [[[-1.0, 1.0], [-1.0, 1.0]]]
    """
    expect_tensors("instance_norm", input=input)
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, eps=eps)
    if input.ndim < 3 or math.prod(input.shape[2:]) == 1:
        raise ValueError(
            "instance_norm: expected more than 1 value per channel and sample, got input "
            f"of shape {input.shape}"
        )
    eps = number("instance_norm", "eps", eps)
    y, mean, rstd = _group_norm(input, weight, bias, input.shape[1], eps)
    if running_mean is not None:
        _move(running_mean, _mean(mean.detach(), (0,)), momentum)
    if running_var is not None:
        count = math.prod(input.shape[2:])
        rstd = rstd.detach()
        variance = _sub(_div(1.0, _mul(rstd, rstd)), eps)
        unbiased = _mul(_mean(variance, (0,)), count / (count - 1))
        _move(running_var, unbiased, momentum)
    result: Tensor = y
    return result


def _move(running: Tensor, batch: Tensor, momentum: float) -> None:
    """Takes running statistics a step towards the batch's."""
    running.mul_(1 - momentum).add_(_mul(batch, momentum).to(running.dtype))


# ---- gradients ---------------------------------------------------------------------------
#
# Statistics have no gradient of their own, so what is differentiated twice is the form in
# plain ops.


def _along(x: Tensor, ndim: int) -> Tensor:
    """(c,) as it broadcasts over (n, c, ...)."""
    return reshape(x, (x.shape[0],) + (1,) * (ndim - 2))


def _normed(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    centred = _sub(x, _mean(x, dims, True))
    variance = _mean(_mul(centred, centred), dims, True)
    result: Tensor = _div(centred, _sqrt(_add(variance, eps)))
    return result


def _affine(y: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    y = y if weight is None else _mul(y, weight)
    return y if bias is None else _add(y, bias)


def _batch_composite(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    _running_mean: None,
    _running_var: None,
    _batches: None,
    eps: float,
    momentum: float,
    act: int,
) -> Tensor:
    n = x.ndim
    w, b = (None if v is None else _along(v, n) for v in (weight, bias))
    y = _affine(_normed(x, (0, *range(2, n)), eps), w, b)
    y = y if residual is None else _add(y, residual)
    return _relu(y) if act else y


def _layer_composite(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, dims: int, eps: float
) -> Tensor:
    return _affine(_normed(x, tuple(range(x.ndim - dims, x.ndim)), eps), weight, bias)


def _group_composite(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, groups: int, eps: float
) -> Tensor:
    n, c = x.shape[:2]
    y = reshape(x, (n, groups, c // groups * math.prod(x.shape[2:])))
    y = reshape(_normed(y, (2,), eps), x.shape)
    w, b = (None if v is None else _along(v, x.ndim) for v in (weight, bias))
    return _affine(y, w, b)


@gradient(
    "batch_norm",
    saves=saved_for("x weight bias residual mean rstd", "x weight bias residual"),
)
def _(node: Node, gy: Tensor, *_unused: None) -> Gradients:
    from fastnn.autograd import composite_gradient, is_grad_enabled

    x, weight, bias, residual, mean, rstd = node.saved
    if is_grad_enabled():
        inputs = (x, weight, bias, residual, None, None, None)
        return composite_gradient(node, _batch_composite, inputs, gy)
    eps, _, act = node.attrs
    y = None
    if act and residual is not None:  # else the kernel makes it again
        y = _batch_norm(x, weight, bias, residual, None, None, None, eps, 0.0, act)[0]
    gx, gw, gb, gr = _batch_norm_backward(
        gy, x, weight, bias if act else None, mean, rstd, y, act, act and node.needs(3)
    )
    gr = gr if act else gy
    return (*wanted(node, gx, gw, gb, gr), None, None, None)


def _row_gradient(node: Node, gy: Tensor, backward: Any, composite: Any) -> Gradients:
    """Of layer norm and group norm."""
    from fastnn.autograd import composite_gradient, is_grad_enabled

    x, weight, bias, mean, rstd = node.saved
    if is_grad_enabled():
        return composite_gradient(node, composite, (x, weight, bias), gy)
    parameters = node.needs(1) or node.needs(2)
    made = backward(gy, x, weight, mean, rstd, node.attrs[0], parameters)
    return wanted(node, *made)


@gradient("layer_norm", saves=saved_for("x weight bias mean rstd", "x weight bias"))
def _(node: Node, gy: Tensor, *_unused: None) -> Gradients:
    return _row_gradient(node, gy, _layer_norm_backward, _layer_composite)


@gradient("group_norm", saves=saved_for("x weight bias mean rstd", "x weight bias"))
def _(node: Node, gy: Tensor, *_unused: None) -> Gradients:
    return _row_gradient(node, gy, _group_norm_backward, _group_composite)


no_gradient("batch_norm_backward", "layer_norm_backward", "group_norm_backward")


@gradient(
    "scale_shift",
    saves={"x": "scale", "scale": "x", "y": "x scale shift residual"},
)
def _(node: Node, gy: Tensor) -> Gradients:
    x, scale, y = node.saved
    if node.attrs[0]:
        gy = _relu_backward(gy, y)
    dims = (0, *range(2, gy.ndim))
    return (
        _mul(gy, _along(scale, gy.ndim)) if node.needs(0) else None,
        _sum(_mul(gy, x), dims) if node.needs(1) else None,
        _sum(gy, dims) if node.needs(2) else None,
        gy if node.needs(3) else None,
    )


# ---- references --------------------------------------------------------------------------


def _shaped(v: Any, ndim: int, absent: float) -> Any:
    return absent if v is None else v.reshape(-1, *(1,) * (ndim - 2))


def _statistics(x: Any, dims: tuple[int, ...], eps: float) -> tuple[Any, Any]:
    """Mean and 1 / sqrt(variance + eps), dimensions kept; 0 where there is nothing."""
    shape = [1 if d in dims else n for d, n in enumerate(x.shape)]
    if x.size == 0:
        mean = variance = np.zeros(shape)
    else:
        mean = x.mean(dims, keepdims=True)
        variance = ((x - mean) ** 2).mean(dims, keepdims=True)
    return mean, 1 / np.sqrt(variance + eps)


def _relu_of(y: Any, act: int) -> Any:
    return np.where(y < 0, 0, y) if act else y


@reference("batch_norm")
def _(
    x: Any,
    weight: Any = None,
    bias: Any = None,
    residual: Any = None,
    running_mean: Any = None,
    running_var: Any = None,
    batches: Any = None,
    eps: float = 1e-5,
    momentum: float = 0.1,
    act: int = 0,
) -> Any:
    n = x.ndim
    mean, rstd = _statistics(x, (0, *range(2, n)), eps)
    y = (x - mean) * rstd * _shaped(weight, n, 1) + _shaped(bias, n, 0)
    y = y + (0 if residual is None else residual)
    return _relu_of(y, act), mean.reshape(-1), rstd.reshape(-1)


@reference("scale_shift")
def _(x: Any, scale: Any, shift: Any, residual: Any = None, act: int = 0) -> Any:
    y = x * _shaped(scale, x.ndim, 1) + _shaped(shift, x.ndim, 0)
    return _relu_of(y + (0 if residual is None else residual), act)


@reference("layer_norm")
def _(
    x: Any, weight: Any = None, bias: Any = None, dims: int = 1, eps: float = 1e-5
) -> Any:
    own = tuple(range(x.ndim - dims, x.ndim))
    mean, rstd = _statistics(x, own, eps)
    y = (x - mean) * rstd * (1 if weight is None else weight)
    y = y + (0 if bias is None else bias)
    return y, mean.reshape(x.shape[: own[0]]), rstd.reshape(x.shape[: own[0]])


@reference("group_norm")
def _(
    x: Any, weight: Any = None, bias: Any = None, groups: int = 1, eps: float = 1e-5
) -> Any:
    n, c = x.shape[:2]
    elements = math.prod(x.shape[2:])
    mean, rstd = _statistics(x.reshape(n, groups, c // groups, elements), (2, 3), eps)
    y = (x.reshape(n, groups, c // groups, elements) - mean) * rstd
    y = y.reshape(x.shape) * _shaped(weight, x.ndim, 1) + _shaped(bias, x.ndim, 0)
    return y, mean.reshape(n, groups), rstd.reshape(n, groups)


@reference("instance_norm")
def _(
    x: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    mean, rstd = _statistics(x, tuple(range(2, x.ndim)), eps)
    return (x - mean) * rstd * _shaped(weight, x.ndim, 1) + _shaped(bias, x.ndim, 0)


def _in_numpy(
    gy: Any, x: Any, weight: Any, mean: Any, rstd: Any, own: Any, others: Any
) -> Any:
    """gx, gw and gb; statistics are over `own`, parameters shared along `others`."""
    xhat = (x - mean) * rstd
    g = gy * weight
    count = math.prod(x.shape[d] for d in own) or 1
    gx = g - g.sum(own, keepdims=True) / count
    gx = rstd * (gx - xhat * ((g * xhat).sum(own, keepdims=True) / count))
    return gx, (gy * xhat).sum(others), gy.sum(others)


@reference("batch_norm_backward")
def _(
    gy: Any,
    x: Any,
    weight: Any,
    bias: Any,
    mean: Any,
    rstd: Any,
    y: Any = None,
    act: int = 0,
    masked: bool = False,
) -> Any:
    n = x.ndim
    dims = (0, *range(2, n))
    mean, rstd = _shaped(mean, n, 0), _shaped(rstd, n, 0)
    w = _shaped(weight, n, 1)
    if act:
        y = (x - mean) * rstd * w + _shaped(bias, n, 0) if y is None else y
        gy = np.where(y > 0, gy, 0)
    made = _in_numpy(gy, x, w, mean, rstd, dims, dims)
    return (*made, gy if masked else gy[:0].reshape(-1)[:0])


@reference("layer_norm_backward")
def _(
    gy: Any,
    x: Any,
    weight: Any,
    mean: Any,
    rstd: Any,
    dims: int = 1,
    parameters: bool = True,
) -> Any:
    lead = x.ndim - dims
    shape = mean.shape + (1,) * dims
    mean, rstd = mean.reshape(shape), rstd.reshape(shape)
    own, others = tuple(range(lead, x.ndim)), tuple(range(lead))
    w = 1 if weight is None else weight
    gx, gw, gb = _in_numpy(gy, x, w, mean, rstd, own, others)
    return (gx, gw, gb) if parameters else (gx, np.zeros(0), np.zeros(0))


@reference("group_norm_backward")
def _(
    gy: Any,
    x: Any,
    weight: Any,
    mean: Any,
    rstd: Any,
    groups: int = 1,
    parameters: bool = True,
) -> Any:
    n, c = x.shape[:2]
    shape = (n, groups, c // groups, math.prod(x.shape[2:]))
    w = 1 if weight is None else weight.reshape(groups, c // groups, 1)
    mean, rstd = mean[:, :, None, None], rstd[:, :, None, None]
    gx, gw, gb = _in_numpy(
        gy.reshape(shape), x.reshape(shape), w, mean, rstd, (2, 3), (0, 3)
    )
    gx = gx.reshape(x.shape)
    return (gx, gw.reshape(c), gb.reshape(c)) if parameters else (gx, *np.zeros((2, 0)))
