"""softmax, and the losses of classification: cross entropy and negative log-likelihood."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn.ops._checks import expect_tensors, number, reduction_code
from fastnn.ops._registry import (
    Gradients,
    Node,
    Op,
    Tensor,
    gradient,
    no_gradient,
    op,
    public,
    reference,
)
from fastnn.ops.selection import take_along_last
from fastnn.ops.views import dimension, reshape, transpose

_softmax, _log_softmax = op("softmax"), op("log_softmax")
_softmax_backward, _log_softmax_backward = (
    op("softmax_backward"),
    op("log_softmax_backward"),
)
_cross_entropy, _cross_entropy_backward = (
    op("cross_entropy"),
    op("cross_entropy_backward"),
)
_nll, _nll_backward = op("nll"), op("nll_backward")
_sum, _mean, _add, _sub = op("sum"), op("mean"), op("add"), op("sub")
_mul, _div, _neg, _exp = op("mul"), op("div"), op("neg"), op("exp")
_where, _eq, _ne, _copy = op("where"), op("eq"), op("ne"), op("copy")
_permute, _index_select = op("permute"), op("index_select")


def _over(row: Op, input: Tensor, dim: int | None, dtype: Any) -> Tensor:
    expect_tensors(row.name, input=input)
    if dim is None:
        if input.ndim > 2:
            raise ValueError(
                f"{row.name}: expected dim for input of shape {input.shape}, got None "
                "(hint: dim=-1)"
            )
        dim = -1
    if dtype is not None:
        input = input.to(dtype)
    at = dimension(row.name, dim, max(input.ndim, 1))
    if input.ndim == 0:
        return reshape(row(reshape(input, (1,))), ())
    if at == input.ndim - 1:
        return row(input)
    return transpose(row(transpose(input, at, -1)), at, -1)


@public(method=True)
def softmax(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """e^x_i / sum_j e^x_j along dim, computed against the maximum.

    Parameters: input : float Tensor. dim : int; None is the last of at most two
        dimensions. dtype : of the result; input is converted first.
    Returns: input's shape; fresh.
    Gradient: y (gy - sum gy y).
    Raises: ValueError for dim None and more than two dimensions.
    """
    return _over(_softmax, input, dim, dtype)


@public(method=True)
def log_softmax(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """x_i - log sum_j e^x_j along dim. As softmax. Gradient: gy - e^y sum gy."""
    return _over(_log_softmax, input, dim, dtype)


@public(composite=True)
def softmin(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """softmax(-input): e^-x_i / sum_j e^-x_j along dim. As softmax."""
    expect_tensors("softmin", input=input)
    return _over(_softmax, _neg(input), dim, dtype)


def _rows(name: str, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Scores as (n, classes) and labels as (n,)."""
    if input.ndim == 1 and target.ndim == 0:
        return reshape(input, (1, -1)), reshape(target, (1,))
    expected = (input.shape[0], *input.shape[2:]) if input.ndim > 1 else ()
    if input.ndim == 0 or target.shape != expected:
        raise ValueError(
            f"{name}: expected target of shape {expected} for input of shape "
            f"{input.shape}, got {target.shape}"
        )
    if input.ndim > 2:
        last = _permute(input, (0, *range(2, input.ndim), 1))
        input = reshape(last, (target.numel(), last.shape[-1]))
        target = reshape(target, (target.numel(),))
    return input, target


@public()
def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(input)[target], from logits.

    Parameters:
        input : float Tensor (n, classes), (n, classes, d1, ...) or (classes,), logits.
        target : integer Tensor (n,), (n, d1, ...) or (), class indices; or float Tensor of
            input's shape, class probabilities p: -sum_c p_c log softmax(input)_c.
        weight : (classes,), factor of each class's loss. ignore_index : label without loss.
        reduction : "mean" (over the weights of the labels; over the samples for
            probabilities), "sum" or "none".
        label_smoothing : share spread evenly over the classes, 0 to 1.
    Returns: a scalar, or for "none" the shape of indices; fresh.
    Gradient: weight (softmax - target) over the divisor; weight's and those of
        probabilities by plain ops.
    Raises: IndexError for a label out of range; ValueError for shapes that do not fit.
    Source: Szegedy et al., arXiv:1512.00567, section 7 (label smoothing).
    Example:
        >>> logits = fastnn.tensor([[0.0, 0.0]])
        >>> fastnn.cross_entropy(logits, fastnn.tensor([1]))
        tensor(0.6931)
    """
    code = reduction_code("cross_entropy", reduction)
    expect_tensors("cross_entropy", input=input, target=target)
    smoothing = number("cross_entropy", "label_smoothing", label_smoothing)
    if weight is not None:
        expect_tensors("cross_entropy", weight=weight)
    if target.is_floating_point():
        if ignore_index >= 0:
            raise ValueError(
                "cross_entropy: expected no ignore_index with class probabilities, got "
                f"{ignore_index}"
            )
        return _soft_cross_entropy(input, target, weight, code, smoothing)
    shape = target.shape
    input, target = _rows("cross_entropy", input, target)
    if input.shape[1] > 1 and input.stride(1) != 1:
        input = _copy(input)
    loss = _cross_entropy(input, target, weight, code, ignore_index, smoothing)[0]
    return reshape(loss, shape) if code == 0 and loss.shape != shape else loss


def _soft_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None, code: int, smoothing: float
) -> Tensor:
    """Cross entropy with class probabilities as the target."""
    if input.ndim == 0 or input.shape != target.shape:
        raise ValueError(
            "cross_entropy: expected target of class probabilities with input's shape "
            f"{input.shape}, or of integer class indices, got {target.dtype.name} "
            f"{target.shape}"
        )
    dim = min(1, input.ndim - 1)
    classes = input.shape[dim]
    if not 0 <= smoothing <= 1:
        raise ValueError(
            f"cross_entropy: expected label_smoothing from 0 to 1, got {smoothing}"
        )
    if classes == 0:
        raise ValueError(
            f"cross_entropy: expected at least one class, got shape {input.shape}"
        )
    if smoothing > 0:
        target = _add(_mul(target, 1 - smoothing), smoothing / classes)
    each = _mul(_over(_log_softmax, input, dim, None), target)
    if weight is not None:
        if weight.shape != (classes,):
            raise ValueError(
                f"cross_entropy: expected weight of shape ({classes},), got "
                f"{weight.shape}"
            )
        tail = (1,) * (input.ndim - 1 - dim)
        each = _mul(each, reshape(weight, (classes, *tail)))
    loss: Tensor = _neg(_sum(each, (dim,)))
    return loss if code == 0 else _mean(loss) if code == 1 else _sum(loss)


@public()
def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """-weight[target] input[target], from log-probabilities, as log_softmax gives them.

    Parameters:
        input : float Tensor (n, classes), (n, classes, d1, ...) or (classes,).
        target : integer Tensor (n,), (n, d1, ...) or (), class indices.
        weight : (classes,), factor of each class's loss. ignore_index : label without loss.
        reduction : "mean" (over the weights of the labels), "sum" or "none".
    Returns: a scalar, or target's shape for "none"; fresh.
    Gradient: -weight gy over the divisor, at the label.
    Raises: IndexError for a label out of range; ValueError for shapes that do not fit.
    Example:
        >>> p = fastnn.tensor([[0.25, 0.75]])
        >>> fastnn.nll_loss(p.log(), fastnn.tensor([1]))
        tensor(0.2877)
    """
    code = reduction_code("nll_loss", reduction)
    expect_tensors("nll_loss", input=input, target=target)
    if weight is not None:
        expect_tensors("nll_loss", weight=weight)
    shape = target.shape
    input, target = _rows("nll_loss", input, target)
    loss = _nll(input, target, weight, code, ignore_index)[0]
    return reshape(loss, shape) if code == 0 and loss.shape != shape else loss


@gradient("softmax", saves={"y": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    return (_softmax_backward(gy, node.saved[0]),)


@gradient("softmax_backward", saves={"gy": "y", "y": "gy y"})
def _(node: Node, g: Tensor) -> Gradients:
    # gx = y (gy - s), s = sum gy y: symmetric in gy
    gy, y = node.saved
    gyy = None
    if node.needs(1):
        own = _mul(g, _sub(gy, _sum(_mul(gy, y), -1, True)))
        gyy = _sub(own, _mul(gy, _sum(_mul(g, y), -1, True)))
    return _softmax_backward(g, y) if node.needs(0) else None, gyy


@gradient("log_softmax", saves={"y": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    return (_log_softmax_backward(gy, node.saved[0]),)


@gradient("log_softmax_backward", saves={"gy": "y", "y": "gy y"})
def _(node: Node, g: Tensor) -> Gradients:
    # gx = gy - e^y s, s = sum gy
    gy, y = node.saved
    p = _exp(y)
    return (
        _sub(g, _sum(_mul(g, p), -1, True)) if node.needs(0) else None,
        _neg(_mul(_mul(g, p), _sum(gy, -1, True))) if node.needs(1) else None,
    )


def _composite(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None,
    reduction: int,
    ignore: int,
    smoothing: float,
) -> Tensor:
    """Cross entropy in plain ops, for higher derivatives."""
    return _plain(_log_softmax(x), target, weight, reduction, ignore, smoothing)


def _plain(
    logp: Tensor,
    target: Tensor,
    weight: Tensor | None,
    reduction: int,
    ignore: int,
    smoothing: float = 0.0,
) -> Tensor:
    """The same from log-probabilities; without smoothing, nll."""
    counted = _ne(target, ignore)
    label = _where(counted, target, 0).long()
    loss = _neg(take_along_last(logp, label))
    factor = (
        counted.to(logp.dtype)
        if weight is None
        else _where(counted, _index_select(weight, label, 0), 0.0)
    )
    loss = _mul(loss, factor)
    if smoothing > 0:
        each = logp if weight is None else _mul(logp, weight)
        spread = _where(counted, _neg(_sum(each, -1)), 0.0)
        loss = _add(_mul(loss, 1 - smoothing), _mul(spread, smoothing / logp.shape[1]))
    if reduction == 0:
        return loss
    if reduction == 2:
        return _sum(loss)
    norm = _sum(factor)
    none = _eq(norm, 0)  # NaN then, and no gradient
    return _where(none, math.nan, _div(_sum(loss), _where(none, 1.0, norm)))


@gradient(
    "cross_entropy",
    saves={
        "x": "x weight",
        "target": "x weight",
        "weight": "x weight",
        "lse": "x",
        "norm": "x",
    },
    composite=_composite,
)
def _(node: Node, gy: Tensor, *_unused: None) -> Gradients:
    x, target, weight, lse, norm = node.saved
    if node.needs(2):
        from fastnn.autograd import composite_gradient

        return composite_gradient(node, _composite, node.saved, gy)
    gx = _cross_entropy_backward(gy, x, target, weight, lse, norm, *node.attrs)
    return gx, None, None


no_gradient("cross_entropy_backward")


@gradient(
    "nll",
    saves={"x": "weight", "target": "x weight", "weight": "x weight", "norm": "x"},
)
def _(node: Node, gy: Tensor, *_unused: None) -> Gradients:
    _, target, weight, norm = node.saved
    reduction, ignore = node.attrs
    if node.needs(2):
        from fastnn.autograd import composite_gradient

        return composite_gradient(node, _plain, node.saved, gy)
    classes = node.shape(0)[1]
    gx = _nll_backward(gy, target, weight, norm, classes, reduction, ignore)
    return gx, None, None


@gradient("nll_backward", saves={"target": "gy", "weight": "gy"})
def _(node: Node, g: Tensor) -> Gradients:
    # gx is linear in gy, by the transpose of what makes the loss of x
    target, weight = node.saved
    _, reduction, ignore = node.attrs
    return _nll(g, target, weight, reduction, ignore)[0], None, None, None


# ---- references --------------------------------------------------------------------------


@reference("softmax")
def _(x: Any) -> Any:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@reference("log_softmax")
def _(x: Any) -> Any:
    z = x - x.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


@reference("softmax_backward")
def _(gy: Any, y: Any) -> Any:
    return y * (gy - (gy * y).sum(-1, keepdims=True))


@reference("log_softmax_backward")
def _(gy: Any, y: Any) -> Any:
    return gy - np.exp(y) * gy.sum(-1, keepdims=True)


@reference("softmin")
def _(x: Any, dim: int | None = None) -> Any:
    dim = -1 if dim is None else dim
    e = np.exp(x.min(dim, keepdims=True) - x)
    return e / e.sum(dim, keepdims=True)


@reference("nll")
def _(
    x: Any, target: Any, weight: Any = None, reduction: int = 1, ignore: int = -100
) -> Any:
    w = np.ones(x.shape[1]) if weight is None else weight
    counted = target != ignore
    t = np.where(counted, target, 0)
    factor = np.where(counted, w[t], 0)
    loss = np.where(counted, -factor * x[np.arange(len(x)), t], 0)
    total = loss.sum()
    norm = factor.sum()
    return (loss, total / norm if reduction == 1 else total)[reduction > 0], norm


@reference("nll_backward")
def _(
    gy: Any,
    target: Any,
    weight: Any,
    norm: Any,
    classes: int,
    reduction: int = 1,
    ignore: int = -100,
) -> Any:
    gx = np.zeros((len(target), classes))
    for i, t in enumerate(target):
        if t != ignore:
            w = 1 if weight is None else weight[t]
            gx[i, t] = (
                -w * (gy if reduction else gy[i]) / (norm if reduction == 1 else 1)
            )
    return gx


@reference("cross_entropy")
def _(
    x: Any,
    target: Any,
    weight: Any = None,
    reduction: int = 1,
    ignore: int = -100,
    smoothing: float = 0.0,
) -> Any:
    n, classes = x.shape
    w = np.ones(classes) if weight is None else weight
    z = x - x.max(-1, keepdims=True) if n else x
    lse = np.log(np.exp(z).sum(-1)) + (x.max(-1) if n else 0)
    counted = target != ignore
    t = np.where(counted, target, 0)
    logp = x - lse[:, None]
    factor = np.where(counted, w[t], 0)
    loss = -(1 - smoothing) * factor * logp[np.arange(n), t]
    loss = loss - smoothing / classes * np.where(counted, (w * logp).sum(-1), 0)
    norm = factor.sum()
    result = (
        loss if reduction == 0 else loss.sum() if reduction == 2 else loss.sum() / norm
    )
    return result, lse, norm


@reference("cross_entropy_backward")
def _(
    gy: Any,
    x: Any,
    target: Any,
    weight: Any,
    lse: Any,
    norm: Any,
    reduction: int = 1,
    ignore: int = -100,
    smoothing: float = 0.0,
) -> Any:
    n, classes = x.shape
    w = np.ones(classes) if weight is None else weight
    counted = target != ignore
    t = np.where(counted, target, 0)
    hit = (1 - smoothing) * w[t]
    desired = np.broadcast_to(smoothing / classes * w, (n, classes)).copy()
    desired[np.arange(n), t] += hit
    total = hit + smoothing / classes * w.sum()
    scale = np.broadcast_to(gy / norm if reduction == 1 else gy, (n,))
    g = (np.exp(x - lse[:, None]) * total[:, None] - desired) * scale[:, None]
    return np.where(counted[:, None], g, 0)
