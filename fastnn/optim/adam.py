"""Adam and AdamW: steps scaled by running moments of the gradient."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from fastnn._core import Tensor
from fastnn.optim.optimizer import Optimizer


class Adam(Optimizer):
    """m = β₁ m + (1 − β₁) g;  v = β₂ v + (1 − β₂) g²;  p = p − lr m̂ / (√v̂ + eps).

    g = ∇p + weight_decay p; m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ) undo the start from
    zero. With amsgrad the largest v so far takes v's place.

    Parameters:
        params : iterable of Tensors, or of groups {"params": ..., "lr": ...}.
        lr : float >= 0: learning rate.
        betas : two floats in [0, 1): decay of m and of v.
        eps : float >= 0.
        weight_decay : float >= 0: L2 penalty, or the share of p that a step of lr 1 takes
            away where it is decoupled.
        amsgrad : bool.
        decoupled_weight_decay : bool: p = p − lr weight_decay p instead of the penalty.
        maximize : bool: ascend.
        foreach, fused : as in PyTorch, to choose an implementation; there is one here, fused.

    Gradients of rows (nn.Embedding's `sparse`), which PyTorch's Adam refuses: rows that have
    one step as they do here, the others and their moments stay as they are, so that a step
    costs the rows that took part. Not with weight_decay or amsgrad. SparseAdam is PyTorch's.

    Source: Kingma, Ba, "Adam: A Method for Stochastic Optimization", arXiv:1412.6980, algorithm
        1; amsgrad: Reddi, Kale, Kumar, "On the Convergence of Adam and Beyond", 2018.

    Example:
        >>> import fastnn
        >>> w = fastnn.nn.Parameter(fastnn.tensor([1.0]))
        >>> optimizer = fastnn.optim.Adam([w])
        >>> (w * w).sum().backward()
        >>> optimizer.step()
        >>> w.item() < 1
        True
    """

    algorithm = "adam"
    hyperparameters = ("lr", "betas", "eps", "weight_decay")
    states: ClassVar[Mapping[str, str]] = {
        "exp_avg": "",
        "exp_avg_sq": "",
        "max_exp_avg_sq": "amsgrad",
    }
    flags = ("decoupled_weight_decay", "maximize")
    counters: ClassVar[Mapping[str, float]] = {"step": 0.0}
    rows_algorithm = "adam_rows"
    dense_options = ("weight_decay", "amsgrad")

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
        fused: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)


class AdamW(Adam):
    """Adam with decoupled weight decay: p = p − lr weight_decay p, then Adam's step.

    Parameters:
        params : iterable of Tensors, or of groups {"params": ..., "lr": ...}.
        lr, betas, eps, amsgrad, maximize, foreach, fused : as in Adam.
        weight_decay : float >= 0: the share of p that a step of lr 1 takes away.

    Source: Loshchilov, Hutter, "Decoupled Weight Decay Regularization",
        arXiv:1711.05101, algorithm 2.

    Example:
        >>> import fastnn
        >>> w = fastnn.nn.Parameter(fastnn.tensor([1.0]))
        >>> optimizer = fastnn.optim.AdamW([w], lr=0.1, weight_decay=0.5)
        >>> optimizer.param_groups[0]["betas"]
        (0.9, 0.999)
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            decoupled_weight_decay=True,
        )
