"""softmax and losses."""

from __future__ import annotations

from typing import Any

import numpy as np

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
_cross_entropy, _cross_entropy_backward = (
    op("cross_entropy"),
    op("cross_entropy_backward"),
)
_sum, _mul, _sub, _exp, _permute = (
    op("sum"),
    op("mul"),
    op("sub"),
    op("exp"),
    op("permute"),
)
_where, _ne, _neg, _div, _copy = op("where"), op("ne"), op("neg"), op("div"), op("copy")
_index_select, _add, _mean = op("index_select"), op("add"), op("mean")

REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}


def _reduction(name: str, reduction: str) -> int:
    if reduction not in REDUCTIONS:
        raise ValueError(
            f"{name}: expected reduction 'none', 'mean' or 'sum', got {reduction!r}"
        )
    return REDUCTIONS[reduction]


def _over(row: Op, input: Tensor, dim: int) -> Tensor:
    at = dimension(row.name, dim, max(input.ndim, 1))
    if input.ndim == 0:
        return reshape(row(reshape(input, (1,))), ())
    if at == input.ndim - 1:
        return row(input)
    return transpose(row(transpose(input, at, -1)), at, -1)


@public(method=True)
def softmax(input: Tensor, dim: int = -1) -> Tensor:
    """e^x_i / sum_j e^x_j along dim, computed against the maximum.

    Parameters: input : float Tensor. dim : int.
    Returns: input's shape and dtype; fresh.
    Gradient: y (gy - sum gy y).
    """
    return _over(_softmax, input, dim)


@public(method=True)
def log_softmax(input: Tensor, dim: int = -1) -> Tensor:
    """x_i - log sum_j e^x_j along dim. Gradient: gy - e^y sum gy."""
    return _over(_log_softmax, input, dim)


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
        target : integer Tensor (n,), (n, d1, ...) or (), class indices.
        weight : (classes,), factor of each class's loss. ignore_index : label without loss.
        reduction : "mean" (over the weights of the labels), "sum" or "none".
        label_smoothing : share spread evenly over the classes, 0 to 1.
    Returns: a scalar, or target's shape for "none"; fresh.
    Gradient: weight (softmax - target) over the divisor; weight's own by plain ops.
    Raises: IndexError for a label out of range; ValueError for shapes that do not fit.
    Example:
        >>> logits = fastnn.tensor([[0.0, 0.0]])
        >>> fastnn.cross_entropy(logits, fastnn.tensor([1]))
        tensor(0.6931)
    """
    code = _reduction("cross_entropy", reduction)
    for name, x in (("input", input), ("target", target)):
        if not isinstance(x, Tensor):
            raise TypeError(
                f"cross_entropy: expected {name} as a tensor, got {type(x).__name__}"
            )
    shape = target.shape
    if input.ndim == 1:
        input, target = reshape(input, (1, -1)), reshape(target, (1,))
    elif input.ndim > 2:
        if shape != (input.shape[0], *input.shape[2:]):
            raise ValueError(
                f"cross_entropy: expected target of shape "
                f"{(input.shape[0], *input.shape[2:])}, got {shape}"
            )
        last = _permute(input, (0, *range(2, input.ndim), 1))
        input = reshape(last, (target.numel(), last.shape[-1]))
        target = reshape(target, (target.numel(),))
    if input.ndim == 2 and input.shape[1] > 1 and input.stride(1) != 1:
        input = _copy(input)
    loss = _cross_entropy(input, target, weight, code, ignore_index, label_smoothing)[0]
    return reshape(loss, shape) if code == 0 and loss.shape != shape else loss


@public(composite=True)
def mse_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """(input - target)^2, averaged, summed or as it is.

    Parameters: input, target : float Tensors of one shape. reduction : as cross_entropy.
    Gradient: 2 (input - target) gy, over the count for "mean".
    Raises: ValueError for different shapes, which would broadcast unseen.
    """
    code = _reduction("mse_loss", reduction)
    if input.shape != target.shape:
        raise ValueError(
            f"mse_loss: expected equal shapes, got {input.shape} and {target.shape}"
        )
    difference = _sub(input, target)
    square = _mul(difference, difference)
    return square if code == 0 else _mean(square) if code == 1 else _sum(square)


@gradient("softmax", saves={"y": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    (y,) = node.saved
    return (_mul(y, _sub(gy, _sum(_mul(gy, y), -1, True))),)


@gradient("log_softmax", saves={"y": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    (y,) = node.saved
    return (_sub(gy, _mul(_exp(y), _sum(gy, -1, True))),)


def _composite(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None,
    reduction: int,
    ignore: int,
    smoothing: float,
) -> Tensor:
    """Cross entropy in plain ops, for higher derivatives."""
    counted = _ne(target, ignore)
    label = _where(counted, target, 0).long()
    logp = _log_softmax(x)
    loss = _neg(take_along_last(logp, label))
    factor = (
        counted.to(x.dtype)
        if weight is None
        else _where(counted, _index_select(weight, label, 0), 0.0)
    )
    loss = _mul(loss, factor)
    if smoothing > 0:
        each = logp if weight is None else _mul(logp, weight)
        spread = _where(counted, _neg(_sum(each, -1)), 0.0)
        loss = _add(_mul(loss, 1 - smoothing), _mul(spread, smoothing / x.shape[1]))
    if reduction == 0:
        return loss
    return _sum(loss) if reduction == 2 else _div(_sum(loss), _sum(factor))


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


@reference("softmax")
def _(x: Any) -> Any:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@reference("log_softmax")
def _(x: Any) -> Any:
    z = x - x.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


@reference("mse_loss")
def _(x: Any, y: Any, *, reduction: str = "mean") -> Any:
    square = (x - y) ** 2
    return square if reduction == "none" else getattr(np, reduction)(square)


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
