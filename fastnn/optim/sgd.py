"""SGD: stochastic gradient descent, with momentum."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from fastnn._core import Tensor
from fastnn.optim.optimizer import Optimizer, ParamGroup


class SGD(Optimizer):
    """g = ∇p + weight_decay p;  b = momentum b + (1 − dampening) g;  p = p − lr b.

    In the first step b = g. With nesterov the step is along g + momentum b, with
    maximize the gradient's sign is turned. One fused kernel reads and writes it all.

    Parameters:
        params : iterable of Tensors, or of groups {"params": ..., "lr": ...}.
        lr : float >= 0: learning rate.
        momentum : float >= 0.
        dampening : float: of the gradient's part in the momentum.
        weight_decay : float >= 0: L2 penalty.
        nesterov : bool: needs momentum > 0 and dampening = 0.
        maximize : bool: ascend.
        foreach, fused : as in PyTorch, to choose an implementation; there is one here, fused.

    Gradients of rows (nn.Embedding's `sparse`): a step costs these rows, and has the bits of
    the dense step. Not with momentum or weight_decay.

    Source: Sutskever, Martens, Dahl, Hinton, "On the importance of initialization and
        momentum in deep learning", 2013, section 2; lr outside of b, as in PyTorch.

    Example:
        >>> import fastnn
        >>> w = fastnn.nn.Parameter(fastnn.tensor([1.0]))
        >>> sgd = fastnn.optim.SGD([w], lr=0.5)
        >>> (w * w).sum().backward()
        >>> sgd.step()
        >>> w.tolist()
        [0.0]
    """

    algorithm = "sgd"
    hyperparameters = ("lr", "momentum", "dampening", "weight_decay")
    states: ClassVar[Mapping[str, str]] = {"momentum_buffer": "momentum"}
    flags = ("nesterov", "maximize")
    rows_algorithm = "sgd_rows"
    dense_options = ("momentum", "weight_decay")

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check(self, group: Mapping[str, Any]) -> None:
        """The ranges; nesterov needs momentum without dampening."""
        super().check(group)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(
                "SGD: nesterov expects momentum > 0 and dampening = 0, got momentum "
                f"{group['momentum']} and dampening {group['dampening']}"
            )

    def update(self, params: list[Tensor], group: ParamGroup) -> None:
        """One fused step; momentum buffers begin as the gradient."""
        if group.peek("momentum") == 0:
            self.fused(params, group, False)
            return
        begun = [p for p in params if self.state[p].get("momentum_buffer") is not None]
        ids = {id(p) for p in begun}
        fresh = [p for p in params if id(p) not in ids]
        if fresh and group.peek("dampening") and self.active is not None:
            # Buffers of zeros would dampen the first gradient of the next step.
            fresh = fresh if self.active.item() else []
        for part, first in ((begun, False), (fresh, True)):
            if part:
                self.fused(part, group, first)
