"""Fused optimizer updates."""

from __future__ import annotations

from typing import Any

from fastnn.ops._registry import Tensor, no_gradient, op, reference

_sgd_step, _copy_ = op("sgd_step"), op("copy_")


def sgd_step(
    param: Tensor,
    grad: Tensor,
    buffer: Tensor | None,
    hyper: Tensor,
    *,
    nesterov: bool = False,
    maximize: bool = False,
    first: bool = False,
) -> None:
    """One step of stochastic gradient descent, in place, in one pass.

    g = grad (or -grad to maximize) + weight_decay param; buffer = momentum buffer +
    (1 - dampening) g (or g the first time); param -= lr (buffer, or g + momentum buffer
    for nesterov; g without a buffer).

    Parameters: param, grad, buffer : one shape and dtype. hyper : float64 (4,): lr,
        momentum, dampening, weight_decay, read when the kernel runs.
    Source: Sutskever et al., "On the importance of initialization and momentum", ICML 2013;
        PyTorch's form.
    """
    grad = grad.contiguous()
    if param.is_contiguous():
        _sgd_step(param, grad, buffer, hyper, nesterov, maximize, first)
        return
    dense = param.contiguous()
    _sgd_step(dense, grad, buffer, hyper, nesterov, maximize, first)
    _copy_(param, dense)


no_gradient("sgd_step")


@reference("sgd_step")
def _(
    p: Any,
    g: Any,
    buffer: Any,
    hyper: Any,
    nesterov: bool = False,
    maximize: bool = False,
    first: bool = False,
) -> Any:
    lr, momentum, dampening, decay = hyper
    g = (-g if maximize else g) + decay * p
    if buffer is not None:
        buffer = g if first else momentum * buffer + (1 - dampening) * g
        g = g + momentum * buffer if nesterov else buffer
    return p - lr * g, buffer
