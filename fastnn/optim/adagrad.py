"""Adagrad: steps divided by the size of all gradients so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import fastnn
from fastnn._core import Tensor
from fastnn.optim.optimizer import Optimizer


class Adagrad(Optimizer):
    """s = s + g²;  p = p − lr / (1 + (t − 1) lr_decay) g / (√s + eps).

    g = ∇p + weight_decay p.

    Parameters:
        params : iterable of Tensors, or of groups {"params": ..., "lr": ...}.
        lr : float >= 0: learning rate.
        lr_decay : float >= 0.
        weight_decay : float >= 0: L2 penalty.
        initial_accumulator_value : float >= 0: where s begins.
        eps : float >= 0.
        maximize : bool: ascend.
        foreach, fused : as in PyTorch, to choose an implementation; there is one here, fused.

    Gradients of rows (nn.Embedding's `sparse`): a step costs these rows, and has the bits of
    the dense step where eps > 0. Not with weight_decay.

    Source: Duchi, Hazan, Singer, "Adaptive Subgradient Methods", JMLR 12 (2011), 2121-2159,
        figure 1, the diagonal form.

    Example:
        >>> import fastnn
        >>> w = fastnn.nn.Parameter(fastnn.tensor([1.0]))
        >>> optimizer = fastnn.optim.Adagrad([w])
        >>> (w * w).sum().backward()
        >>> optimizer.step()
        >>> w.item() < 1
        True
    """

    algorithm = "adagrad"
    hyperparameters = ("lr", "lr_decay", "weight_decay", "eps")
    states: ClassVar[Mapping[str, str]] = {"sum": ""}
    counters: ClassVar[Mapping[str, float]] = {"step": 0.0}
    rows_algorithm = "adagrad_rows"
    dense_options = ("weight_decay",)

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        fused: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "eps": eps,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check(self, group: Mapping[str, Any]) -> None:
        """The ranges, and that of the start."""
        super().check(group)
        if not group["initial_accumulator_value"] >= 0:
            raise ValueError(
                "Adagrad: expected initial_accumulator_value >= 0, got "
                f"{group['initial_accumulator_value']}"
            )

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """As every optimizer's; the sums of squares begin here, as in PyTorch."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        start = group["initial_accumulator_value"]
        for p in group["params"]:
            self.state[p]["step"] = fastnn.zeros((), dtype=fastnn.float64)
            self.state[p]["sum"] = fastnn.full(p.shape, start, dtype=p.dtype)
