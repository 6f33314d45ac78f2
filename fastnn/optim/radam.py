"""RAdam: Adam with a rectified start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from fastnn._core import Tensor
from fastnn.optim.optimizer import Optimizer


class RAdam(Optimizer):
    """p = p − lr m̂ rₜ / (√v̂ + eps) once v is of use (ρₜ > 5), p = p − lr m̂ before.

    m, m̂ and v are Adam's; ρₜ = ρ∞ − 2 t β₂ᵗ / (1 − β₂ᵗ) with ρ∞ = 2 / (1 − β₂) − 1 is the
    length of the average behind v, and rₜ² = (ρₜ − 4)(ρₜ − 2) ρ∞ / ((ρ∞ − 4)(ρ∞ − 2) ρₜ).
    eps is added before the correction of v, as in PyTorch.

    Parameters:
        params : iterable of Tensors, or of groups {"params": ..., "lr": ...}.
        lr : float >= 0: learning rate.
        betas : two floats in [0, 1): decay of m and of v.
        eps : float >= 0.
        weight_decay : float >= 0: L2 penalty, or as in AdamW where it is decoupled.
        decoupled_weight_decay : bool.
        maximize : bool: ascend.
        foreach : as in PyTorch, to choose an implementation; there is one here, fused.

    Source: Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond",
        arXiv:1908.03265, algorithm 2.

    Example:
        >>> import fastnn
        >>> w = fastnn.nn.Parameter(fastnn.tensor([1.0]))
        >>> optimizer = fastnn.optim.RAdam([w])
        >>> (w * w).sum().backward()
        >>> optimizer.step()
        >>> w.item() < 1
        True
    """

    algorithm = "radam"
    hyperparameters = ("lr", "betas", "eps", "weight_decay")
    states: ClassVar[Mapping[str, str]] = {"exp_avg": "", "exp_avg_sq": ""}
    flags = ("decoupled_weight_decay", "maximize")
    counters: ClassVar[Mapping[str, float]] = {"step": 0.0}

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
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
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)
