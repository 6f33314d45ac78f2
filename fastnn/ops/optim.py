"""Fused optimizer updates: all state of many tensors read and written once, in one call.

The rows take lists, one entry for each parameter. Step counts and hyperparameters are
float64 tensors that the kernel reads, so a recorded call stays true when they change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastnn._core import RowGradient
from fastnn.ops._registry import Op, Tensor, no_gradient, op, reference

_copy_ = op("copy_")

ROWS: dict[str, Op] = {
    name: op(f"{name}_step")
    for name in ("sgd", "adagrad", "adadelta", "rmsprop", "adam", "nadam", "radam")
}
for _name in ("sgd_rows", "adagrad_rows", "adam_rows", "sparse_adam_rows"):
    ROWS[_name] = op(f"{_name}_step")
no_gradient(*(row.name for row in ROWS.values()))


def optimizer_step(
    algorithm: str,
    hyper: Tensor,
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    states: Sequence[Sequence[Tensor] | None],
    *flags: bool,
    active: Tensor | None = None,
) -> None:
    """One step of an optimizer on many tensors, in place.

    Parameters:
        algorithm : "sgd", "adagrad", "adadelta", "rmsprop", "adam", "nadam" or "radam".
        hyper : float64 tensor, in the order that ops.def names.
        params, grads : tensors of equal shapes and dtypes in pairs; any strides.
        states : the row's further lists, each with a contiguous tensor for each parameter;
            None where one is absent.
        flags : the row's attributes.
        active : bool tensor (): where it is false the call changes nothing, not even
            step counts; None: it does its work.

    Raises: ValueError, TypeError for shapes, dtypes or lengths that do not fit.
    """
    dense = [p.contiguous() for p in params]
    grads = [g.contiguous() for g in grads]
    ROWS[algorithm](hyper, active, dense, grads, *states, *flags)
    _put_back(params, dense)


def rows_step(
    algorithm: str,
    hyper: Tensor,
    params: Sequence[Tensor],
    grads: Sequence[RowGradient],
    states: Sequence[Sequence[Tensor]],
    *flags: bool,
    active: Tensor | None = None,
) -> None:
    """One step of an optimizer on the rows that have gradients, in place.

    Each row is stepped once, with its gradients added up in order; its bits are those of
    optimizer_step. The cost is that of these rows, but for a parameter of other strides.

    Parameters:
        algorithm : "sgd_rows", "adagrad_rows", "adam_rows" or "sparse_adam_rows".
        hyper, params, states, flags, active : as in optimizer_step.
        grads : one for each parameter, of its shape.

    Raises: IndexError for a row that is not there, before anything has changed; ValueError,
        TypeError for shapes, dtypes or lengths that do not fit.
    """
    dense = [p.contiguous() for p in params]
    indices = [g.indices.contiguous() for g in grads]
    values = [g.values.contiguous() for g in grads]
    ROWS[algorithm](hyper, active, indices, dense, values, *states, *flags)
    _put_back(params, dense)


def _put_back(params: Sequence[Tensor], dense: list[Tensor]) -> None:
    for p, q in zip(params, dense, strict=True):
        if q is not p:
            _copy_(p, q)


# ---- references, one tensor at a time ---------------------------------------------------

Array = Any
Step = Callable[..., "list[Array]"]


def _of_lists(one: Step) -> Callable[..., Any]:
    """The row's reference: what is written, in the row's order, from lists."""

    def of_lists(
        hyper: Array,
        active: Array,
        params: list[Array],
        grads: list[Array],
        *rest: Any,
    ) -> Any:
        lists = [x for x in rest if isinstance(x, list) or x is None]
        flags = rest[len(lists) :]
        if active is not None and not active:
            return (params, *lists)
        columns = []
        for k, (p, g) in enumerate(zip(params, grads, strict=True)):
            state = [None if x is None else x[k] for x in lists]
            columns.append(one(hyper, p, g, *state, *flags))
        return tuple(list(column) for column in zip(*columns, strict=True))

    return of_lists


def _decayed(p: Array, g: Array, lr: float, decay: float, apart: bool) -> Any:
    return (p * (1 - lr * decay), g) if apart else (p, g + decay * p)


def _sgd(
    hyper: Array,
    p: Array,
    g: Array,
    buffer: Array,
    nesterov: bool = False,
    maximize: bool = False,
    first: bool = False,
) -> list[Array]:
    lr, momentum, dampening, decay = hyper
    g = (-g if maximize else g) + decay * p
    if buffer is not None and momentum:
        buffer = g if first else momentum * buffer + (1 - dampening) * g
        g = g + momentum * buffer if nesterov else buffer
    return [p - lr * g, buffer]


def _adagrad(
    hyper: Array, p: Array, g: Array, total: Array, t: Array, maximize: bool = False
) -> list[Array]:
    lr, lr_decay, decay, eps = hyper
    g = (-g if maximize else g) + decay * p
    total = total + g * g
    rate = lr / (1 + t * lr_decay)
    return [p - rate * g / (np.sqrt(total) + eps), total, t + 1]


def _adadelta(
    hyper: Array,
    p: Array,
    g: Array,
    v: Array,
    u: Array,
    t: Array,
    maximize: bool = False,
) -> list[Array]:
    lr, rho, eps, decay = hyper
    g = (-g if maximize else g) + decay * p
    v = rho * v + (1 - rho) * g * g
    delta = np.sqrt(u + eps) / np.sqrt(v + eps) * g
    u = rho * u + (1 - rho) * delta * delta
    return [p - lr * delta, v, u, t + 1]


def _rmsprop(
    hyper: Array,
    p: Array,
    g: Array,
    v: Array,
    buffer: Array,
    mean: Array,
    t: Array,
    maximize: bool = False,
) -> list[Array]:
    lr, alpha, eps, decay, momentum = hyper
    g = (-g if maximize else g) + decay * p
    v = alpha * v + (1 - alpha) * g * g
    spread = v
    if mean is not None:
        mean = alpha * mean + (1 - alpha) * g
        spread = v - mean * mean
    way = g / (np.sqrt(spread) + eps)
    if buffer is not None:
        way = buffer = momentum * buffer + way
    return [p - lr * way, v, buffer, mean, t + 1]


def _averages(
    hyper: Array, p: Array, g: Array, m: Array, v: Array, apart: bool, maximize: bool
) -> Any:
    lr, beta1, beta2, _, decay = hyper[:5]
    p, g = _decayed(p, -g if maximize else g, lr, decay, apart)
    return p, g, beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g


def _adam(
    hyper: Array,
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    largest: Array,
    t: Array,
    decoupled: bool = False,
    maximize: bool = False,
) -> list[Array]:
    lr, beta1, beta2, eps, _ = hyper
    t = t + 1
    p, g, m, v = _averages(hyper, p, g, m, v, decoupled, maximize)
    largest = None if largest is None else np.maximum(largest, v)
    w = v if largest is None else largest
    way = m / (1 - beta1**t) / (np.sqrt(w / (1 - beta2**t)) + eps)
    return [p - lr * way, m, v, largest, t]


def _nadam(
    hyper: Array,
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    t: Array,
    product: Array,
    decoupled: bool = False,
    maximize: bool = False,
) -> list[Array]:
    lr, beta1, beta2, eps, _, momentum_decay = hyper
    t = t + 1
    p, g, m, v = _averages(hyper, p, g, m, v, decoupled, maximize)
    mu, following = (
        beta1 * (1 - 0.5 * 0.96 ** (k * momentum_decay)) for k in (t, t + 1)
    )
    product = product * mu
    way = (1 - mu) / (1 - product) * g + following / (1 - product * following) * m
    return [p - lr * way / (np.sqrt(v / (1 - beta2**t)) + eps), m, v, t, product]


def _radam(
    hyper: Array,
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    t: Array,
    decoupled: bool = False,
    maximize: bool = False,
) -> list[Array]:
    lr, beta1, beta2, eps, _ = hyper
    t = t + 1
    p, g, m, v = _averages(hyper, p, g, m, v, decoupled, maximize)
    limit = 2 / (1 - beta2) - 1
    rho = limit - 2 * t * beta2**t / (1 - beta2**t)
    way = m / (1 - beta1**t)
    if rho > 5:
        r = (rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho)
        way = way * math.sqrt(r) * math.sqrt(1 - beta2**t) / (np.sqrt(v) + eps)
    return [p - lr * way, m, v, t]


_STEPS: dict[str, Step] = {
    "sgd": _sgd,
    "adagrad": _adagrad,
    "adadelta": _adadelta,
    "rmsprop": _rmsprop,
    "adam": _adam,
    "nadam": _nadam,
    "radam": _radam,
}
for _name, _one in _STEPS.items():
    reference(f"{_name}_step")(_of_lists(_one))


def _of_rows(one: Step) -> Callable[..., Any]:
    """The reference on rows: a dense step, of which the rows that are named are kept."""
    of_lists = _of_lists(one)

    def of_rows(
        hyper: Array,
        active: Array,
        indices: list[Array],
        params: list[Array],
        values: list[Array],
        *rest: Any,
    ) -> Any:
        dense = [np.zeros_like(p) for p in params]
        for g, index, v in zip(dense, indices, values, strict=True):
            np.add.at(g, index, v)
        made = of_lists(hyper, active, params, dense, *rest)
        before = (params, *(x for x in rest if isinstance(x, list)))
        for new, old in zip(made, before, strict=False):
            for y, x, index in zip(new, old, indices, strict=True):
                if y.ndim:  # no counter
                    rests = np.setdiff1d(np.arange(len(y)), index)
                    y[rests] = x[rests]
        return made

    return of_rows


def _sgd_rows(hyper: Array, p: Array, g: Array, maximize: bool = False) -> list[Array]:
    return _sgd(hyper, p, g, None, False, maximize)[:1]


def _adam_rows(
    hyper: Array,
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    t: Array,
    maximize: bool = False,
) -> list[Array]:
    p, m, v, _, t = _adam(hyper, p, g, m, v, None, t, False, maximize)
    return [p, m, v, t]


def _sparse_adam_rows(
    hyper: Array,
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    t: Array,
    maximize: bool = False,
) -> list[Array]:
    lr, beta1, beta2, eps = hyper
    root = np.sqrt(1 - beta2 ** (t + 1))
    scaled = np.array([lr, beta1, beta2, eps / root, 0.0])
    return _adam_rows(scaled, p, g, m, v, t, maximize)


_ROW_STEPS: dict[str, Step] = {
    "sgd": _sgd_rows,
    "adagrad": _adagrad,
    "adam": _adam_rows,
    "sparse_adam": _sparse_adam_rows,
}
for _name, _one in _ROW_STEPS.items():
    reference(f"{_name}_rows_step")(_of_rows(_one))
