"""Adadelta: steps in the units of the parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from fastnn._core import Tensor
from fastnn.optim.optimizer import Optimizer


class Adadelta(Optimizer):
    """v = ρ v + (1 − ρ) g²;  Δ = g √(u + eps) / √(v + eps);  u = ρ u + (1 − ρ) Δ².

    Then p = p − lr Δ, with g = ∇p + weight_decay p.

    Parameters:
        params : iterable of Tensors, or of groups {"params": ..., "lr": ...}.
        lr : float >= 0: learning rate.
        rho : float in [0, 1]: decay of the averages.
        eps : float >= 0.
        weight_decay : float >= 0: L2 penalty.
        maximize : bool: ascend.
        foreach : as in PyTorch, to choose an implementation; there is one here, fused.

    Source: Zeiler, "ADADELTA: An Adaptive Learning Rate Method", arXiv:1212.5701, algorithm 1.

    Example:
        >>> import fastnn
        >>> w = fastnn.nn.Parameter(fastnn.tensor([1.0]))
        >>> optimizer = fastnn.optim.Adadelta([w])
        >>> (w * w).sum().backward()
        >>> optimizer.step()
        >>> w.item() < 1
        True
    """

    algorithm = "adadelta"
    hyperparameters = ("lr", "rho", "eps", "weight_decay")
    states: ClassVar[Mapping[str, str]] = {"square_avg": "", "acc_delta": ""}
    counters: ClassVar[Mapping[str, float]] = {"step": 0.0}

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)
