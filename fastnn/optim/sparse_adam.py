"""SparseAdam: Adam on the rows of a table that took part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from fastnn._core import Tensor
from fastnn.optim.optimizer import Optimizer, ParamGroup


class SparseAdam(Optimizer):
    """m = β₁ m + (1 − β₁) g;  v = β₂ v + (1 − β₂) g²;
    p = p − lr √(1 − β₂ᵗ) / (1 − β₁ᵗ) m / (√v + eps), for rows that have a gradient.

    What the other rows are, and their moments, stays as it is: a step costs the rows that
    took part, and a row that rests keeps its momentum instead of moving on by it. t counts
    steps of the whole table. Unlike in Adam, eps is added to the root of the plain average,
    as in PyTorch.

    Parameters:
        params : iterable of Tensors, or of groups {"params": ..., "lr": ...}; their
            gradients must be RowGradients, see nn.Embedding's `sparse`. (Adam takes
            these and dense ones.)
        lr : float >= 0: learning rate.
        betas : two floats in [0, 1): decay of m and of v.
        eps : float >= 0.
        maximize : bool: ascend.

    Source: Kingma, Ba, "Adam: A Method for Stochastic Optimization", arXiv:1412.6980, the
        remark after algorithm 1.

    Example:
        >>> import fastnn
        >>> table = fastnn.nn.Embedding(1000, 2, sparse=True)
        >>> optimizer = fastnn.optim.SparseAdam(table.parameters())
        >>> table(fastnn.tensor([7, 7, 400])).sum().backward()
        >>> before = table.weight.detach().clone()
        >>> optimizer.step()
        >>> (table.weight.detach() != before).any(1).nonzero().flatten().tolist()
        [7, 400]
    """

    hyperparameters = ("lr", "betas", "eps")
    states: ClassVar[Mapping[str, str]] = {"exp_avg": "", "exp_avg_sq": ""}
    counters: ClassVar[Mapping[str, float]] = {"step": 0.0}
    rows_algorithm = "sparse_adam_rows"

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize}
        super().__init__(params, defaults)

    def update(self, params: list[Tensor], group: ParamGroup) -> None:
        """Dense gradients are refused."""
        raise RuntimeError(
            "SparseAdam: expected gradients of rows, got a dense one for a parameter of "
            f"shape {params[0].shape} (hint: Embedding(sparse=True); Adam takes both)"
        )
