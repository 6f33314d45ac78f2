"""RMSprop: steps divided by a running size of the gradient."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from fastnn._core import Tensor
from fastnn.optim.optimizer import Optimizer


class RMSprop(Optimizer):
    """v = α v + (1 − α) g²;  p = p − lr g / (√v + eps).

    g = ∇p + weight_decay p. Centered, the square of the gradient's average is taken from v;
    with momentum, b = momentum b + g / (√v + eps) and p = p − lr b.

    Parameters:
        params : iterable of Tensors, or of groups {"params": ..., "lr": ...}.
        lr : float >= 0: learning rate.
        alpha : float in [0, 1]: decay of the averages.
        eps : float >= 0.
        weight_decay : float >= 0: L2 penalty.
        momentum : float >= 0.
        centered : bool.
        maximize : bool: ascend.
        foreach : as in PyTorch, to choose an implementation; there is one here, fused.

    Source: Tieleman, Hinton, "Neural Networks for Machine Learning", lecture 6.5, 2012;
        centered: Graves, "Generating Sequences With Recurrent Neural Networks",
        arXiv:1308.0850, section 4.

    Example:
        >>> import fastnn
        >>> w = fastnn.nn.Parameter(fastnn.tensor([1.0]))
        >>> optimizer = fastnn.optim.RMSprop([w])
        >>> (w * w).sum().backward()
        >>> optimizer.step()
        >>> w.item() < 1
        True
    """

    algorithm = "rmsprop"
    hyperparameters = ("lr", "alpha", "eps", "weight_decay", "momentum")
    states: ClassVar[Mapping[str, str]] = {
        "square_avg": "",
        "momentum_buffer": "momentum",
        "grad_avg": "centered",
    }
    counters: ClassVar[Mapping[str, float]] = {"step": 0.0}

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "centered": centered,
            "maximize": maximize,
        }
        super().__init__(params, defaults)
