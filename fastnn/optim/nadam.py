"""NAdam: Adam with Nesterov's momentum."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from fastnn._core import Tensor
from fastnn.optim.optimizer import Optimizer


class NAdam(Optimizer):
    """p = p − lr ((1 − μₜ) ĝ + μₜ₊₁ m̂) / (√v̂ + eps),  μₜ = β₁ (1 − 0.96^(t d) / 2).

    m and v are Adam's, d is momentum_decay; ĝ and m̂ are divided by one minus the product
    of the μ up to t, and up to t + 1.

    Parameters:
        params : iterable of Tensors, or of groups {"params": ..., "lr": ...}.
        lr : float >= 0: learning rate.
        betas : two floats in [0, 1): decay of m and of v.
        eps : float >= 0.
        weight_decay : float >= 0: L2 penalty, or as in AdamW where it is decoupled.
        momentum_decay : float >= 0.
        decoupled_weight_decay : bool.
        maximize : bool: ascend.
        foreach : as in PyTorch, to choose an implementation; there is one here, fused.

    Source: Dozat, "Incorporating Nesterov Momentum into Adam", ICLR workshop 2016, algorithm 2.

    Example:
        >>> import fastnn
        >>> w = fastnn.nn.Parameter(fastnn.tensor([1.0]))
        >>> optimizer = fastnn.optim.NAdam([w])
        >>> (w * w).sum().backward()
        >>> optimizer.step()
        >>> w.item() < 1
        True
    """

    algorithm = "nadam"
    hyperparameters = ("lr", "betas", "eps", "weight_decay", "momentum_decay")
    states: ClassVar[Mapping[str, str]] = {"exp_avg": "", "exp_avg_sq": ""}
    flags = ("decoupled_weight_decay", "maximize")
    counters: ClassVar[Mapping[str, float]] = {"step": 0.0, "mu_product": 1.0}

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)
