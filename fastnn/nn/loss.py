"""Losses as modules."""

from __future__ import annotations

from fastnn._core import Tensor
from fastnn.nn import functional as F
from fastnn.nn.module import Module


class CrossEntropyLoss(Module):
    """-log softmax(logits)[target], averaged over the batch.

    Parameters:
        weight : Tensor (classes,), or None: the weight of each class.
        ignore_index : int: a target that counts for nothing.
        reduction : "mean", "sum" or "none".
        label_smoothing : float in [0, 1]: share of each target spread over all classes.

    Example:
        >>> import fastnn
        >>> loss = fastnn.nn.CrossEntropyLoss()
        >>> logits = fastnn.tensor([[0.0, 0.0]])
        >>> round(loss(logits, fastnn.tensor([1])).item(), 4)
        0.6931
    """

    weight: Tensor | None  # (classes,)

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(
                "CrossEntropyLoss: expected reduction 'mean', 'sum' or 'none', got "
                f"{reduction!r}"
            )
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.reduction = reduction
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Logits (batch, classes) and class indices (batch,) to a scalar."""
        return F.cross_entropy(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )

    def extra_repr(self) -> str:
        """Options that differ from their defaults."""
        shown = []
        if self.ignore_index != -100:
            shown.append(f"ignore_index={self.ignore_index}")
        if self.reduction != "mean":
            shown.append(f"reduction={self.reduction!r}")
        if self.label_smoothing:
            shown.append(f"label_smoothing={self.label_smoothing}")
        return ", ".join(shown)
