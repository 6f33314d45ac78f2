"""Losses between an input and a target of one shape: regression, binary, divergence.

Each is a loss of every element, then its mean, its sum, or neither. Shapes that differ
raise: broadcasting (n, 1) against (n,) would compare everything with everything, unseen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn.ops._checks import expect_pair, expect_tensors, number, reduction_code
from fastnn.ops._registry import (
    Gradients,
    Node,
    Tensor,
    gradient,
    op,
    public,
    reference,
)

_add, _sub, _mul, _div, _neg = op("add"), op("sub"), op("mul"), op("div"), op("neg")
_abs, _exp, _log, _log1p = op("abs"), op("exp"), op("log"), op("log1p")
_where, _eq, _lt, _gt = op("where"), op("eq"), op("lt"), op("gt")
_maximum = op("maximum")
_sum, _mean = op("sum"), op("mean")
_sigmoid, _sigmoid_backward = op("sigmoid"), op("sigmoid_backward")
_softplus = op("softplus")
_squared_error = op("squared_error")
_squared_error_backward = op("squared_error_backward")
_huber, _huber_backward = op("huber"), op("huber_backward")
_bce, _bce_backward = (
    op("binary_cross_entropy"),
    op("binary_cross_entropy_backward"),
)
_bce_with_logits = op("bce_with_logits")
_bce_with_logits_backward = op("bce_with_logits_backward")


def _reduce(name: str, loss: Tensor, code: int, weight: Any = None) -> Tensor:
    """The losses of the elements, reduced; the mean of weighted ones is over weight."""
    if weight is None:
        return loss if code == 0 else _mean(loss) if code == 1 else _sum(loss)
    total = _scaled(name, loss, weight, 0 if code == 0 else 2, broadcast=False)
    return _div(total, _sum(weight)) if code == 1 else total


def _scaled(
    name: str, loss: Tensor, weight: Any, code: int, *, broadcast: bool = True
) -> Tensor:
    """The losses times weight, reduced; the mean is over their number."""
    if weight is not None:
        expect_tensors(name, weight=weight)
        shape = loss.shape
        if not broadcast and weight.shape != shape:
            raise ValueError(
                f"{name}: expected weight of shape {shape}, got {weight.shape}"
            )
        loss = _mul(loss, weight)
        _expect_shape(name, "weight", loss, shape)
    return loss if code == 0 else _mean(loss) if code == 1 else _sum(loss)


def _expect_shape(name: str, factor: str, loss: Tensor, shape: tuple[int, ...]) -> None:
    if loss.shape != shape:
        raise ValueError(
            f"{name}: expected {factor} of a shape that broadcasts to {shape}, got one "
            f"that makes it {loss.shape}"
        )


@public(composite=True)
def mse_loss(
    input: Tensor,
    target: Tensor,
    *,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """(input - target)^2, averaged, summed or as it is.

    Parameters: input, target : float Tensors of one shape. reduction : "mean", "sum" or
        "none". weight : Tensor of that shape, factors of the elements; the mean then
        divides by their sum.
    Returns: a scalar, or the shape for "none"; fresh.
    Gradient: 2 (input - target) gy, over the count for "mean".
    Raises: ValueError for different shapes, which would broadcast unseen.
    Example:
        >>> fastnn.mse_loss(fastnn.tensor([1.0, 2.0]), fastnn.tensor([0.0, 4.0]))
        tensor(2.5)
    """
    code = reduction_code("mse_loss", reduction)
    expect_pair("mse_loss", input, target)
    return _reduce("mse_loss", _squared_error(input, target), code, weight)


@public(composite=True)
def l1_loss(
    input: Tensor,
    target: Tensor,
    *,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """|input - target|, averaged, summed or as it is. As mse_loss.

    Gradient: sign(input - target) gy, 0 where they are equal.
    """
    code = reduction_code("l1_loss", reduction)
    expect_pair("l1_loss", input, target)
    return _reduce("l1_loss", _abs(_sub(input, target)), code, weight)


@public(composite=True)
def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """z^2 / 2 where z = |input - target| is at most delta, else delta (z - delta / 2).

    Parameters: input, target, reduction : as mse_loss. delta : number above 0.
        weight : Tensor of input's shape, factors of the elements; the mean is still over
        their number, as in PyTorch.
    Returns: a scalar, or the shape for "none"; fresh.
    Gradient: (input - target) gy, the difference held within delta.
    Raises: ValueError for different shapes, or delta not above 0.
    Source: Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical
        Statistics 35 (1964), 73-101.
    Example:
        >>> fastnn.huber_loss(fastnn.tensor([0.5, 4.0]), fastnn.zeros(2), "none")
        tensor([0.125, 3.5  ])
    """
    code = reduction_code("huber_loss", reduction)
    expect_pair("huber_loss", input, target)
    d = number("huber_loss", "delta", delta)
    if not d > 0:
        raise ValueError(f"huber_loss: expected delta above 0, got {delta}")
    loss = _huber(input, target, d)
    return _scaled("huber_loss", loss, weight, code, broadcast=False)


@public(composite=True)
def smooth_l1_loss(
    input: Tensor, target: Tensor, *, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """z^2 / (2 beta) where z = |input - target| is below beta, else z - beta / 2.

    Parameters: input, target, reduction : as mse_loss. beta : number from 0; with 0 it is
        l1_loss.
    Returns: a scalar, or the shape for "none"; fresh.
    Gradient: (input - target) / beta gy held within 1.
    Raises: ValueError for different shapes, or beta below 0.
    Source: Girshick, "Fast R-CNN", arXiv:1504.08083, equation 3.
    """
    code = reduction_code("smooth_l1_loss", reduction)
    expect_pair("smooth_l1_loss", input, target)
    b = number("smooth_l1_loss", "beta", beta)
    if not b >= 0:
        raise ValueError(f"smooth_l1_loss: expected beta from 0, got {beta}")
    if b == 0:
        return _reduce("smooth_l1_loss", _abs(_sub(input, target)), code)
    loss = _reduce("smooth_l1_loss", _huber(input, target, b), code)
    return loss if b == 1 else _div(loss, b)


@public()
def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
) -> Tensor:
    """-(t log(p) + (1 - t) log(1 - p)) of probabilities p and targets t.

    Parameters: input : float Tensor, probabilities in [0, 1]. target : Tensor of its shape,
        usually in [0, 1]. weight : factors of the elements, broadcast. reduction : "mean"
        (over the number of elements), "sum" or "none".
    Returns: a scalar, or the shape for "none"; fresh. A logarithm counts as -100 at least.
    Gradient: gy (p - t) / max(p (1 - p), 1e-12).
    Raises: ValueError for different shapes, or input outside [0, 1] (NaN too).
    Example:
        >>> p = fastnn.tensor([0.75, 0.5])
        >>> fastnn.binary_cross_entropy(p, fastnn.tensor([1.0, 0.0]), reduction="none")
        tensor([0.2877, 0.6931])
    """
    code = reduction_code("binary_cross_entropy", reduction)
    expect_pair("binary_cross_entropy", input, target)
    return _scaled("binary_cross_entropy", _bce(input, target), weight, code)


@public(composite=True)
def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """-(w t log s + (1 - t) log(1 - s)), s = sigmoid(input), accurate in both tails.

    Parameters: input : float Tensor, logits. target : Tensor t of its shape, usually in
        [0, 1]. weight : factors of the elements, broadcast. pos_weight : w, broadcast.
        reduction : "mean" (over the number of elements), "sum" or "none".
    Returns: a scalar, or the shape for "none"; fresh.
    Gradient: gy ((1 - t) s - w t (1 - s)); target's and pos_weight's too.
    Raises: ValueError for shapes that do not fit.
    Example:
        >>> x, t = fastnn.tensor([0.0, 30.0]), fastnn.tensor([1.0, 1.0])
        >>> fastnn.binary_cross_entropy_with_logits(x, t, reduction="none")
        tensor([6.9315e-01, 9.3576e-14])
    """
    name = "binary_cross_entropy_with_logits"
    code = reduction_code(name, reduction)
    expect_pair(name, input, target)
    if pos_weight is None:
        return _scaled(name, _bce_with_logits(input, target, 1.0), weight, code)
    expect_tensors(name, pos_weight=pos_weight)
    loss = _bce_with_logits(input, target, pos_weight)
    _expect_shape(name, "pos_weight", loss, input.shape)
    return _scaled(name, loss, weight, code)


@public(composite=True)
def kl_div(
    input: Tensor,
    target: Tensor,
    *,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """t (log t - input): the Kullback-Leibler divergence from log-probabilities input.

    Parameters: input : float Tensor, log-probabilities. target : Tensor of its shape,
        probabilities t (0 log 0 counts as 0), or their logarithms with log_target.
        reduction : "batchmean" (the sum over input.shape[0], the divergence itself),
        "mean" (over the number of elements), "sum" or "none".
    Returns: a scalar, or the shape for "none"; fresh.
    Gradient: -t gy; target's too (log t counts as 0 where t is 0).
    Raises: ValueError for different shapes.
    Source: Kullback and Leibler, "On Information and Sufficiency", Annals of Mathematical
        Statistics 22 (1951), 79-86.
    Example:
        >>> q, p = fastnn.tensor([[0.5, 0.5]]), fastnn.tensor([[1.0, 0.0]])
        >>> fastnn.kl_div(q.log(), p, reduction="batchmean")
        tensor(0.6931)
    """
    batch = reduction == "batchmean"
    if not batch and reduction not in ("mean", "sum", "none"):
        raise ValueError(
            "kl_div: expected reduction 'none', 'batchmean', 'mean' or 'sum', got "
            f"{reduction!r}"
        )
    expect_pair("kl_div", input, target)
    if log_target:
        loss = _mul(_exp(target), _sub(target, input))
    else:
        log = _log(_where(_eq(target, 0), 1.0, target))
        loss = _mul(target, _sub(log, input))
    if batch:
        total = _sum(loss)
        return _div(total, input.shape[0]) if input.ndim else total
    return _reduce("kl_div", loss, reduction_code("kl_div", reduction))


# ---- gradients ---------------------------------------------------------------------------


@gradient("squared_error", saves={"x": "x target", "target": "x target"})
def _(node: Node, gy: Tensor) -> Gradients:
    g = _squared_error_backward(gy, *node.saved)
    return g, _neg(g) if node.needs(1) else None


@gradient(
    "squared_error_backward",
    saves={"gy": "x target", "x": "gy", "target": "gy"},
)
def _(node: Node, g: Tensor) -> Gradients:
    gy, x, target = node.saved
    gx = None
    if node.needs(1) or node.needs(2):
        gx = _mul(_mul(g, gy), 2)
    return (
        _squared_error_backward(g, x, target) if node.needs(0) else None,
        gx,
        _neg(gx) if node.needs(2) else None,
    )


@gradient("huber", saves={"x": "x target", "target": "x target", "delta": "x target"})
def _(node: Node, gy: Tensor) -> Gradients:
    g = _huber_backward(gy, *node.saved)
    return g, _neg(g) if node.needs(1) else None, None


@gradient(
    "huber_backward",
    saves={
        "gy": "x target",
        "x": "gy x target",
        "target": "gy x target",
        "delta": "gy x target",
    },
)
def _(node: Node, g: Tensor) -> Gradients:
    gy, x, target, delta = node.saved
    gx = None
    if node.needs(1) or node.needs(2):
        gx = _where(_lt(_abs(_sub(x, target)), delta), _mul(g, gy), 0.0)
    return (
        _huber_backward(g, x, target, delta) if node.needs(0) else None,
        gx,
        _neg(gx) if node.needs(2) else None,
        None,
    )


@gradient("binary_cross_entropy", saves={"x": "x target", "target": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    p, t = node.saved
    gt = None
    if node.needs(1):
        hit, miss = _maximum(_log(p), -100.0), _maximum(_log1p(_neg(p)), -100.0)
        gt = _mul(gy, _sub(miss, hit))
    return _bce_backward(gy, p, t) if node.needs(0) else None, gt


@gradient(
    "binary_cross_entropy_backward",
    saves={"gy": "x target", "x": "gy x target", "target": "gy x"},
)
def _(node: Node, g: Tensor) -> Gradients:
    # (p - t) / v, v = max(p (1 - p), 1e-12)
    gy, p, t = node.saved
    gp = gt = None
    spread = _mul(p, _sub(1, p))
    v = _maximum(spread, 1e-12)
    if node.needs(1):
        bend = _where(_gt(spread, 1e-12), _sub(1, _mul(p, 2)), 0.0)
        slope = _div(_sub(1, _mul(_div(_sub(p, t), v), bend)), v)
        gp = _mul(_mul(g, gy), slope)
    if node.needs(2):
        gt = _neg(_div(_mul(g, gy), v))
    return _bce_backward(g, p, t) if node.needs(0) else None, gp, gt


@gradient(
    "bce_with_logits",
    saves={
        "x": "x target pos_weight",
        "target": "x pos_weight",
        "pos_weight": "x target",
    },
)
def _(node: Node, gy: Tensor) -> Gradients:
    x, t, w = node.saved
    gx = gt = gw = None
    if node.needs(0):
        gx = _bce_with_logits_backward(gy, x, t, w)
    if node.needs(1) or node.needs(2):
        hit = _softplus(_neg(x), 1.0, math.inf)
        if node.needs(1):
            gt = _mul(gy, _sub(_mul(hit, w), _softplus(x, 1.0, math.inf)))
        if node.needs(2):
            gw = _mul(gy, _mul(t, hit))
    return gx, gt, gw


@gradient(
    "bce_with_logits_backward",
    saves={
        "gy": "x target pos_weight",
        "x": "gy x target pos_weight",
        "target": "gy x pos_weight",
        "pos_weight": "gy x target",
    },
)
def _(node: Node, g: Tensor) -> Gradients:
    # (1 - t) s(x) - w t s(-x)
    gy, x, t, w = node.saved
    gx = gt = gw = None
    if node.needs(1):
        both = _add(_sub(1, t), _mul(t, w))
        gx = _mul(_sigmoid_backward(_mul(g, gy), _sigmoid(x)), both)
    if node.needs(2):
        slope = _add(_sigmoid(x), _mul(_sigmoid(_neg(x)), w))
        gt = _neg(_mul(_mul(g, gy), slope))
    if node.needs(3):
        gw = _neg(_mul(_mul(g, gy), _mul(t, _sigmoid(_neg(x)))))
    return (
        _bce_with_logits_backward(g, x, t, w) if node.needs(0) else None,
        gx,
        gt,
        gw,
    )


# ---- references --------------------------------------------------------------------------


def _np_huber(x: Any, y: Any, delta: float) -> Any:
    z = np.abs(x - y)
    return np.where(z <= delta, z * z / 2, delta * (z - delta / 2))


def _np_bce(p: Any, t: Any) -> Any:
    hit, miss = np.maximum(np.log(p), -100), np.maximum(np.log1p(-p), -100)
    return -(t * hit + (1 - t) * miss)


def _np_softplus(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _np_sigmoid(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1.0) / (1 + e)


def _np_bce_with_logits(x: Any, t: Any, w: Any = 1.0) -> Any:
    return w * t * _np_softplus(-x) + (1 - t) * _np_softplus(x)


def _np_kl(x: Any, t: Any, log_target: bool = False) -> Any:
    if log_target:
        return np.exp(t) * (t - x)
    return t * (np.log(np.where(t == 0, 1, t)) - x)


_ROWS: dict[str, Callable[..., Any]] = {
    "squared_error": lambda x, y: (x - y) ** 2,
    "squared_error_backward": lambda gy, x, y: gy * 2 * (x - y),
    "huber": _np_huber,
    "huber_backward": lambda gy, x, y, delta: gy * np.clip(x - y, -delta, delta),
    "binary_cross_entropy": _np_bce,
    "binary_cross_entropy_backward": lambda gy, p, t: (
        gy * (p - t) / np.maximum(p * (1 - p), 1e-12)
    ),
    "bce_with_logits": _np_bce_with_logits,
    "bce_with_logits_backward": lambda gy, x, t, w: (
        gy * ((1 - t) * _np_sigmoid(x) - w * t * _np_sigmoid(-x))
    ),
}
for _name, _function in _ROWS.items():
    reference(_name)(_function)


def _reduced(
    element: Callable[..., Any], *, over_weight: bool = True
) -> Callable[..., Any]:
    """The NumPy form of a loss, from that of its elements."""

    def loss(
        x: Any, y: Any, weight: Any = None, reduction: str = "mean", **options: Any
    ) -> Any:
        each = element(x, y, **options)
        count: Any = each.size
        if weight is not None:
            each = each * weight
            count = np.sum(weight) if over_weight else count
        if reduction == "none":
            return each
        total = each.sum()
        if reduction == "batchmean":
            return total / x.shape[0]
        return total / count if reduction == "mean" else total

    return loss


_REDUCED: dict[str, Callable[..., Any]] = {
    "mse_loss": _reduced(lambda x, y: (x - y) ** 2),
    "l1_loss": _reduced(lambda x, y: np.abs(x - y)),
    "huber_loss": _reduced(lambda x, y, delta=1.0: _np_huber(x, y, delta)),
    "smooth_l1_loss": _reduced(
        lambda x, y, beta=1.0: (
            np.abs(x - y) if beta == 0 else _np_huber(x, y, beta) / beta
        )
    ),
    "binary_cross_entropy_with_logits": _reduced(
        lambda x, y, pos_weight=1.0: _np_bce_with_logits(x, y, pos_weight),
        over_weight=False,
    ),
    "kl_div": _reduced(_np_kl),
}
for _name, _function in _REDUCED.items():
    reference(_name)(_function)
